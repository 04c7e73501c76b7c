"""What Grafana and Prometheus read at their start, as files. They are JSON, which every reader of YAML reads."""

import json
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from connectors.grafana.dashboards import operations, ward
from connectors.grafana.panels import POSTGRES, PROMETHEUS, QUESTDB, SOURCES, Json
from connectors.grafana.rules import document
from dataflows.settings import Settings


def datasources(settings: Settings, prometheus_url: str) -> Json:
    """The data sources; the password comes from Grafana's environment (`VITALS_READER_PASSWORD`)."""
    place = conninfo_to_dict(settings.questdb.pg_dsn)
    host, port = str(place.get("host", "127.0.0.1")), int(place.get("port") or 8812)
    database = str(place.get("dbname", "qdb"))
    secret = {"password": "$VITALS_READER_PASSWORD"}
    user = settings.questdb.reader
    plugin = {"server": host, "port": port, "username": user, "tlsMode": "disable", "maxOpenConnections": 4}
    wire = {"sslmode": "disable", "database": database, "postgresVersion": 1200, "timescaledb": False}
    return {
        "apiVersion": 1,
        "datasources": [
            {"name": "QuestDB", "type": QUESTDB.type, "uid": QUESTDB.uid, "jsonData": plugin, "secureJsonData": secret},
            {
                "name": "QuestDB by PostgreSQL",
                "type": POSTGRES.type,
                "uid": POSTGRES.uid,
                "url": f"{host}:{port}",
                "user": user,
                "jsonData": wire,
                "secureJsonData": secret,
            },
            {"name": "Prometheus", **PROMETHEUS, "url": prometheus_url},
        ],
    }


def provision(settings: Settings, out: Path, source: str, prometheus_url: str) -> list[Path]:
    """Writes every file; returns them.

    Args:
        settings: Where QuestDB is.
        out: Folder; `provisioning` in it is what Grafana calls by that name.
        source: `questdb` or `postgres`: which data source the SQL panels ask.
        prometheus_url: Where Prometheus is.
    """
    chosen = SOURCES[source]
    provider = {
        "name": "vitals",
        "type": "file",
        "options": {"path": str((out / "dashboards").absolute())},
    }
    files: dict[str, Json] = {
        "provisioning/datasources/vitals.yaml": datasources(settings, prometheus_url),
        "provisioning/dashboards/vitals.yaml": {"apiVersion": 1, "providers": [provider]},
        "dashboards/ward.json": ward(chosen),
        "dashboards/operations.json": operations(chosen),
        "prometheus/vitals.rules.yaml": document(),
    }
    for name, content in files.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n")
    return [out / name for name in files]
