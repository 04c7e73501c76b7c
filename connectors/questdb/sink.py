"""The sink that stores rows: each is acknowledged by QuestDB or by the stream SPILL before its epoch is committed.

Bytewax commits an epoch only after `snapshot()` of every FixedPartitionedSink that wrote in it has returned (a
DynamicSink has no such say), so that is where this sink waits. Between snapshots the rows of many `write_batch` calls
share a transaction: QuestDB pays per transaction, not per row (bench/storage.py), and alerts never wait for storage.
A flow that is killed in between resumes at the last committed epoch and makes the same rows again; DEDUP keeps one.
"""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from prometheus_client import Counter, Gauge, Histogram

from connectors.questdb.ilp import Outcome
from connectors.questdb.link import StorageLink
from connectors.questdb.reject import rejected_row
from connectors.questdb.spill import Message, spill_messages
from dataflows.monitor.rows import RowSource
from dataflows.settings import QuestDBSettings

logger = logging.getLogger(__name__)

ROWS = Counter("vitals_questdb_rows", "Rows by what became of them", ["result"])
WRITE_SECONDS = Histogram(
    "vitals_questdb_write_seconds",
    "Duration of write_batch",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
)
SETTLE_SECONDS = Histogram(
    "vitals_questdb_settle_seconds",
    "Wait for storage at the end of an epoch",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0),
)
OUTSTANDING = Gauge("vitals_questdb_outstanding_rows", "Rows that are not acknowledged yet; 0 after each epoch")
CIRCUIT_OPEN = Gauge("vitals_questdb_circuit_open", "1 while rows go to SPILL instead of QuestDB")


class Publisher(Protocol):
    """Publishes to JetStream and waits for every acknowledgement: `dataflows._native.Publisher`."""

    def publish_all(self, messages: list[Message], /) -> list[int]:
        """Publishes (subject, headers, payload) each, returns their stream sequences; raises if any is refused."""

    def close(self) -> None:
        """Closes the connection."""


class QuestDBSinkPartition(StatefulSinkPartition[RowSource, None]):
    """One writer to QuestDB with SPILL as the way out. Stateless: DEDUP makes writing again harmless."""

    def __init__(self, settings: QuestDBSettings, publisher: Publisher) -> None:
        self._publisher = publisher
        self._waits = settings.group_ms == 0
        self._link = StorageLink(settings)
        self._link.start()

    def write_batch(self, values: list[RowSource]) -> None:
        """Hands the rows of the batch over; with `group_ms` 0 returns after their acknowledgement by QuestDB or SPILL.

        Raises:
            Exception: SPILL or REJECTED refused (whatever the publisher raises): the flow must stop.
        """
        started = time.perf_counter()
        self._forward(
            self._link.add([(table, row) for value in values for table, some in value.rows() for row in some])
        )
        if self._waits:
            self._forward(self._link.settle())
        WRITE_SECONDS.observe(time.perf_counter() - started)

    def snapshot(self) -> None:
        """Returns once every row of the epoch is acknowledged by QuestDB or SPILL: the epoch is committed after this.

        Raises:
            Exception: As `write_batch`.
        """
        started = time.perf_counter()
        self._forward(self._link.settle())
        SETTLE_SECONDS.observe(time.perf_counter() - started)

    def close(self) -> None:
        """Writes what is left, on finite input, and ends the writing thread."""
        self._forward(self._link.settle())
        self._link.stop()
        self._publisher.close()

    def _forward(self, outcome: Outcome) -> None:
        """Sends rows that QuestDB did not take where they are safe, and waits for the acknowledgement."""
        ROWS.labels("written").inc(outcome.written)
        ROWS.labels("rejected").inc(len(outcome.rejected))
        ROWS.labels("spilled").inc(len(outcome.pending))
        CIRCUIT_OPEN.set(self._link.is_open)
        OUTSTANDING.set(self._link.outstanding)
        letters = [rejected_row(row, why) for row, why in outcome.rejected]
        if letters:
            logger.error("questdb: %d rows cannot be stored, first: %s", len(letters), letters[0][1]["Vitals-Detail"])
        messages = letters + list(spill_messages(outcome.pending))
        if messages:
            self._publisher.publish_all(messages)


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
