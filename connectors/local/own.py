"""Settings of a stack of its own beside whatever else runs here: for the demo, benchmarks and tests."""

from collections.abc import Sequence
from pathlib import Path

from connectors.local.ports import LOOPBACK
from dataflows.settings import Settings

SMALL_STREAMS = {"vitals_max_bytes": 1 << 30, "rejected_max_bytes": 1 << 28, "spill_max_bytes": 1 << 28}
"""JetStream reserves what a stream may hold, and the usual sizes are a ward's: a laptop's disk may not have them."""


def own_stack(base: Settings, folder: Path, ports: Sequence[int]) -> Settings:
    """Returns settings of a stack with its data in `folder` and the servers on other ports.

    Args:
        base: Everything else.
        folder: Data, logs, recovery store.
        ports: NATS, QuestDB's HTTP, PostgreSQL wire, health and metrics.
    """
    nats, http, pg, health = ports
    questdb = {
        "http_url": f"http://{LOOPBACK}:{http}",
        "pg_dsn": f"host={LOOPBACK} port={pg} user=admin password=quest dbname=qdb",
    }
    # Open on loopback: whatever identities `base` has are another server's.
    stack = {
        "data_dir": folder, "questdb_health_port": health, "snapshot_interval_s": 1,
        "security": False, "host": LOOPBACK, "mqtt_port": 0, "websocket_port": 0,
    }  # fmt: skip
    nobody = dict.fromkeys(("credentials", "tls_ca", "tls_cert", "tls_key"))
    return base.model_copy(
        update={
            "nats": base.nats.model_copy(update={"url": f"nats://{LOOPBACK}:{nats}", **nobody}),
            "questdb": base.questdb.model_copy(update=questdb),
            "stack": base.stack.model_copy(update=stack),
        }
    )
