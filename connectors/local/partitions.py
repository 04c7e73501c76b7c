"""How far each partition of the log is, from the metrics of the flow's processes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SAMPLE = re.compile(r'^(?P<name>\w+)\{.*partition="(?P<partition>[^"]*)"')
_FIELDS = {
    "nats_epochs_total": "epochs",
    "nats_log_time_seconds": "log_s",
    "nats_lag_seconds": "lag_s",
    "nats_pending_messages": "pending",
    "nats_last_seq": "last_seq",
    "nats_snapshot_seq": "durable_seq",
}


@dataclass(frozen=True)
class Partition:
    """One partition of the log.

    Attributes:
        epochs: Epochs committed since the process started.
        log_s: Log time, s since 1970.
        lag_s: Age of the last message taken, 0 when nothing is pending.
        pending: Messages behind the last one taken.
        last_seq: Stream sequence up to which messages were taken.
        durable_seq: Stream sequence up to which everything is done and will not be done again.
    """

    epochs: float = 0.0
    log_s: float = 0.0
    lag_s: float = 0.0
    pending: float = 0.0
    last_seq: float = 0.0
    durable_seq: float = 0.0


def partitions_of(samples: Mapping[str, float]) -> dict[str, Partition]:
    """Returns each partition that the metrics speak of, by its name (`VITALS/p3`)."""
    found: dict[str, dict[str, float]] = {}
    for sample, value in samples.items():
        match = _SAMPLE.match(sample)
        if match is not None and match["name"] in _FIELDS:
            found.setdefault(match["partition"], {})[_FIELDS[match["name"]]] = value
    return {name: Partition(**values) for name, values in found.items()}
