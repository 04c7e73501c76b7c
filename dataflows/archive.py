"""The data lake as a dataflow of its own: `python -m bytewax.run dataflows.archive`, or `vitals archive`.

The graph of `dataflows.vitals` with other ends: the same log, the same steps, and rows as Parquet files. What it writes
is therefore what the live flow writes to the database, decided by the log alone; it has its own recovery store and can
neither delay an alert nor be delayed by one.
"""

from connectors.jetstream import JetStreamSource
from connectors.lake.sink import LakeSink
from dataflows.settings import Settings
from dataflows.vitals import Ends, build


def archive_ends(settings: Settings) -> Ends:
    """The log, and the lake for everything with rows; alerts and rejects have their streams from the live flow."""
    return Ends(JetStreamSource(settings), alerts=None, rejected=None, rows=LakeSink(settings), prefix="lake_")


flow = build(Settings(), archive_ends(Settings()))
