"""The graph of the live flow between the log's history and files: `connectors.history.graph:replay('SCRATCH')`."""

from pathlib import Path

import msgspec
from bytewax.dataflow import Dataflow

from connectors.history.capture import CaptureSink, encode_messages, encode_rows
from connectors.history.source import HistorySource
from dataflows.settings import Settings
from dataflows.vitals import Ends, build

PLAN = "plan.json"
ALERTS, REJECTED, ROWS = "alerts", "rejected", "rows"


class Range(msgspec.Struct, frozen=True):
    """What to replay.

    Attributes:
        first: Sequence of the log at which partitions without a recovery state begin.
        last: Last sequence.
    """

    first: int
    last: int


def replay(scratch: str) -> Dataflow:
    """Builds the graph; `<scratch>/plan.json` holds the range, captured outputs go to `<scratch>/out`."""
    folder = Path(scratch)
    plan = msgspec.json.decode((folder / PLAN).read_bytes(), type=Range)
    settings = Settings()
    out = folder / "out"
    ends = Ends(
        HistorySource(settings, plan.first, plan.last),
        CaptureSink(out, ALERTS, encode_messages),
        CaptureSink(out, REJECTED, encode_messages),
        CaptureSink(out, ROWS, encode_rows),
        prefix="captured_",
    )
    return build(settings, ends)
