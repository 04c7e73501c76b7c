"""The sink that stores rows: acknowledged by QuestDB, or after `ack_timeout_ms` by the stream SPILL.

It is a FixedPartitionedSink, because only that kind holds the recovery frontier back until it has written, and it keeps
nothing between two `write_batch` calls. Alerts never wait for it longer than one timeout per outage (link.py).
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from prometheus_client import Counter, Gauge, Histogram

from connectors.questdb.ilp import TableRow
from connectors.questdb.link import StorageLink
from connectors.questdb.reject import rejected_row
from connectors.questdb.spill import Message, spill_messages
from dataflows.settings import QuestDBSettings

logger = logging.getLogger(__name__)

MAX_ROWS_PER_REQUEST = 1000
"""A second of 1,000 patients' waveforms takes the server some 30 ms: far from the timeout, so that catching up after an
outage is not taken for a slow database. Larger batches are several requests, each with its own timeout."""

ROWS = Counter("vitals_questdb_rows", "Rows by what became of them", ["result"])
WRITE_SECONDS = Histogram(
    "vitals_questdb_write_seconds",
    "Duration of write_batch",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
)
CIRCUIT_OPEN = Gauge("vitals_questdb_circuit_open", "1 while rows go to SPILL instead of QuestDB")


class RowSource(Protocol):
    """Anything with rows for storage."""

    def rows(self) -> Iterable[tuple[str, Sequence[tuple[Any, ...]]]]:
        """Yields (table name, rows in the column order of dataflows/contracts/tables.py)."""


class Publisher(Protocol):
    """Publishes to JetStream and waits for every acknowledgement."""

    def publish_all(self, messages: list[Message]) -> list[int]:
        """Publishes (subject, headers, payload) each, returns their stream sequences; raises if any is refused."""


class QuestDBSinkPartition(StatefulSinkPartition[RowSource, None]):
    """One writer to QuestDB with SPILL as the way out. Stateless: DEDUP makes writing again harmless."""

    def __init__(self, settings: QuestDBSettings, publisher: Publisher) -> None:
        self._publisher = publisher
        self._link = StorageLink(settings)
        self._link.start()

    def write_batch(self, values: list[RowSource]) -> None:
        """Stores all rows of the batch; returns after QuestDB's acknowledgement or SPILL's.

        Raises:
            Exception: SPILL or REJECTED refused (whatever the publisher raises): the flow must stop.
        """
        started = time.perf_counter()
        rows = [(table, row) for value in values for table, some in value.rows() for row in some]
        letters: list[Message] = []
        pending: list[TableRow] = []
        for chunk in _chunks(rows):
            outcome = self._link.write(chunk)
            pending += outcome.pending
            letters += [rejected_row(row, why) for row, why in outcome.rejected]
        ROWS.labels("written").inc(len(rows) - len(pending) - len(letters))
        ROWS.labels("rejected").inc(len(letters))
        ROWS.labels("spilled").inc(len(pending))
        CIRCUIT_OPEN.set(self._link.is_open)
        if letters:
            logger.error("questdb: %d rows cannot be stored, first: %s", len(letters), letters[0][1]["Vitals-Detail"])
        messages = letters + list(spill_messages(pending))
        if messages:
            self._publisher.publish_all(messages)
        WRITE_SECONDS.observe(time.perf_counter() - started)

    def snapshot(self) -> None:
        """Returns nothing: there is no position to resume from."""
        return

    def close(self) -> None:
        """Ends the writing thread."""
        self._link.stop()


class QuestDBSink(FixedPartitionedSink[RowSource, None]):
    """Sink of everything with rows.

    Args:
        settings: Where QuestDB is and how long to wait for it.
        publisher: Makes the publisher for SPILL and REJECTED, once per partition, in the worker that runs it.
        parts: Writers; each has a connection of its own. One is enough for a process.
    """

    def __init__(self, settings: QuestDBSettings, publisher: Callable[[], Publisher], parts: int = 1) -> None:
        self._settings = settings
        self._publisher = publisher
        self._parts = parts

    def list_parts(self) -> list[str]:
        """Names of the partitions."""
        return [f"questdb/{n}" for n in range(self._parts)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> QuestDBSinkPartition:
        """Opens one writer."""
        return QuestDBSinkPartition(self._settings, self._publisher())


def _chunks(rows: list[TableRow]) -> Iterator[list[TableRow]]:
    for start in range(0, len(rows), MAX_ROWS_PER_REQUEST):
        yield rows[start : start + MAX_ROWS_PER_REQUEST]
