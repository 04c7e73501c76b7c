"""Panels and dashboards of Grafana as dictionaries: https://grafana.com/docs/grafana/latest/dashboards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
_COLUMNS, _HEIGHT = 24, 8
SCHEMA_VERSION = 39
"""Of the dashboard's JSON: Grafana 10.4 and newer read it, and migrate it themselves."""
PROMETHEUS = {"type": "prometheus", "uid": "vitals-prometheus"}


@dataclass(frozen=True)
class Source:
    """Where SQL panels ask: QuestDB's own plugin, or Grafana's PostgreSQL data source on the same server."""

    type: str
    uid: str

    def reference(self) -> Json:
        """As panels name it."""
        return {"type": self.type, "uid": self.uid}


QUESTDB = Source("questdb-questdb-datasource", "vitals-questdb")
POSTGRES = Source("grafana-postgresql-datasource", "vitals-postgres")
SOURCES = {"questdb": QUESTDB, "postgres": POSTGRES}


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        title: What it shows.
        kind: `timeseries`, `table` or `stat`.
        sql: Query, with the macro `$__timeFilter(ts)`; a series has columns `time`, values and at most one text.
        expr: Query of Prometheus, in place of `sql`.
        unit: Of Grafana (`short`, `s`, `percent`).
        width: Of 24 columns.
        legend: Of Prometheus, as `{{partition}}`.
    """

    title: str
    kind: str = "timeseries"
    sql: str = ""
    expr: str = ""
    unit: str = "short"
    width: int = 12
    legend: str = ""

    def json(self, number: int, place: Json, source: Source) -> Json:
        """As Grafana has it."""
        reference = source.reference() if self.sql else PROMETHEUS
        target: Json = {"refId": "A", "datasource": reference}
        if self.sql:
            form = "time_series" if self.kind == "timeseries" else "table"
            target |= {"rawSql": self.sql, "rawQuery": True, "editorMode": "code"}
            # The plugin of QuestDB counts its forms: 0 is a series, 1 a table.
            target["format"] = (0 if form == "time_series" else 1) if source is QUESTDB else form
        else:
            target |= {"expr": self.expr, "legendFormat": self.legend}
        # A gap in the data is a gap in the picture.
        custom = {"spanNulls": False, "showPoints": "auto"} if self.kind == "timeseries" else {}
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "gridPos": place,
            "datasource": reference,
            "targets": [target],
            "fieldConfig": {"defaults": {"unit": self.unit, "custom": custom}, "overrides": []},
            "options": {},
        }


def variable(name: str, sql: str, source: Source) -> Json:
    """A choice that people make at the top of a dashboard."""
    return {
        "name": name,
        "type": "query",
        "datasource": source.reference(),
        "query": sql,
        "definition": sql,
        "refresh": 2,
        "includeAll": False,
        "multi": False,
    }


def dashboard(uid: str, title: str, panels: Sequence[Panel], variables: Sequence[Json], source: Source) -> Json:
    """A dashboard with its panels in rows from the left to the right."""
    placed, left, top = [], 0, 0
    for number, panel in enumerate(panels, 1):
        if left + panel.width > _COLUMNS:
            left, top = 0, top + _HEIGHT
        place = {"x": left, "y": top, "w": panel.width, "h": _HEIGHT}
        placed.append(panel.json(number, place, source))
        left += panel.width
    return {
        "uid": uid,
        "title": title,
        "tags": ["vitals"],
        "timezone": "browser",
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(variables)},
        "annotations": {"list": []},
        "panels": placed,
    }
