"""Reads the log into the flow: one source partition for each partition of VITALS."""

import threading
import time
from datetime import UTC, datetime, timedelta

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from prometheus_client import Counter, Gauge

from connectors.jetstream.connection import native_options
from dataflows._native import Messages, Puller
from dataflows.monitor.state import refusing
from dataflows.settings import Settings

Item = tuple[str, Messages]
"""Key `tenant/patient` and what the log held for the patient since the last batch, in log order."""

_LABELS = ["step_id", "partition"]
PENDING = Gauge("nats_pending_messages", "Messages of the partition behind the last one taken", _LABELS)
LAG = Gauge("nats_lag_seconds", "Age of the last message taken, 0 when nothing is pending", _LABELS)
LAST_SEQ = Gauge("nats_last_seq", "Stream sequence up to which the partition was taken", _LABELS)
SNAPSHOT_SEQ = Gauge("nats_snapshot_seq", "Stream sequence up to which the recovery state is durable", _LABELS)
ROSTER = Gauge("nats_roster_patients", "Patients of the partition that get ticks", _LABELS)
LOG_TIME = Gauge("nats_log_time_seconds", "Log time of the partition, s since 1970", _LABELS)
EPOCHS = Counter("nats_epochs", "Epochs of the partition that every worker committed", _LABELS)
_METRICS_S = 1.0

DRAIN = threading.Event()
"""Set by whoever wants this process's flow to end: every source partition then reports its end, Bytewax closes the
epoch, snapshots everything and stops. A later start goes on from there."""


class JetStreamPartition(StatefulSourcePartition[Item, bytes]):
    """One partition of the log.

    Resume state is the puller's snapshot alone: consumers are ephemeral and acknowledge nothing. Whatever breaks the
    connection raises from `next_batch`; the flow ends and starts anew from its recovery state.
    """

    def __init__(self, puller: Puller, settings: Settings, step_id: str, partition: str) -> None:
        self._puller = puller
        self._batch_messages = settings.flow.batch_messages
        self._poll = timedelta(milliseconds=settings.flow.poll_ms)
        self._awake: datetime | None = None
        self._snapshot_seq: int | None = None
        self._metrics_at = 0.0
        self._pending, self._lag, self._last_seq, self._durable_seq, self._roster, self._log_time = (
            metric.labels(step_id, partition) for metric in (PENDING, LAG, LAST_SEQ, SNAPSHOT_SEQ, ROSTER, LOG_TIME)
        )
        self._epochs = EPOCHS.labels(step_id, partition)

    def next_batch(self) -> list[Item]:
        """Returns what arrived, one item a patient.

        Raises:
            StopIteration: `DRAIN` is set.
            JetStreamError: The log cannot be read any further.
            LostRangeError: Retention removed messages before they were read.
        """
        if self._snapshot_seq is not None:
            # Bytewax polls again only after the epoch of the snapshot is committed by every worker.
            self._durable_seq.set(self._snapshot_seq)
            self._snapshot_seq = None
            self._epochs.inc()
        if DRAIN.is_set():
            raise StopIteration
        batch = self._puller.poll(self._batch_messages)
        # All partitions of a worker wake in the same slots: one activation serves them all.
        self._awake = None if batch else self._next_slot()
        now = time.monotonic()
        if now - self._metrics_at >= _METRICS_S:
            self._metrics_at = now
            self._pending.set(self._puller.pending)
            self._lag.set(self._puller.lag_s)
            self._last_seq.set(self._puller.last_seq)
            self._roster.set(self._puller.roster_size)
            self._log_time.set(self._puller.log_ns / 1e9)
        return batch

    def _next_slot(self) -> datetime:
        now = datetime.now(UTC)
        return now + self._poll - timedelta(microseconds=now.microsecond) % self._poll

    def next_awake(self) -> datetime | None:
        """When to be polled next: at once after a batch, else in the next slot of `poll_ms`."""
        return self._awake

    def snapshot(self) -> bytes:
        """Position, log time and roster."""
        self._snapshot_seq = self._puller.last_seq
        return self._puller.snapshot()

    def close(self) -> None:
        """Removes the consumer from the server."""
        self._puller.close()


class JetStreamSource(FixedPartitionedSource[Item, bytes]):
    """The log as a source of (`tenant/patient`, `Messages`).

    Args:
        settings: Addresses, names and limits. The stream must exist with this number of partitions.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list_parts(self) -> list[str]:
        """Names of the partitions: `VITALS/p<n>`, permanent, they are the recovery key."""
        streams = self._settings.streams
        return [f"{streams.vitals}/p{n}" for n in range(streams.partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> JetStreamPartition:
        """Starts reading at the recovery state, or at the stream's first message.

        Raises:
            JetStreamError: No server, no such stream, or another number of partitions.
            LostRangeError: The stream no longer holds the position of the recovery state.
            StateRefusedError: The recovery state cannot be read.
        """
        puller = open_puller(self._settings, step_id, for_part, resume_state)
        return JetStreamPartition(puller, self._settings, step_id, for_part)


def open_puller(
    settings: Settings,
    step_id: str,
    for_part: str,
    resume_state: bytes | None,
    *,
    start_seq: int = 0,
    until_seq: int = 2**64 - 1,
) -> Puller:
    """Opens the reader of the partition `VITALS/p<n>`, from `start_seq` on where there is no state, to `until_seq`.

    Raises:
        JetStreamError: No server, no such stream, or another number of partitions.
        LostRangeError: The stream no longer holds the position of the recovery state.
        StateRefusedError: The recovery state cannot be read.
    """
    with refusing(step_id):
        return Puller(
            native_options(settings.nats, f"{step_id} {for_part}"),
            settings.streams.vitals,
            int(for_part.rpartition("/p")[2]),
            settings.streams.partitions,
            state=resume_state,
            start_seq=start_seq,
            until_seq=until_seq,
            roster_h=settings.flow.roster_h,
            heartbeat_s=settings.nats.heartbeat_s,
        )
