"""The log between two sequence numbers as a source that ends."""

from datetime import datetime

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.jetstream.source import DRAIN, Item, JetStreamPartition, JetStreamSource, open_puller
from dataflows._native import Puller
from dataflows.settings import Settings


class HistoryPartition(StatefulSourcePartition[Item, bytes]):
    """One partition of the log up to a sequence number."""

    def __init__(self, inner: JetStreamPartition, puller: Puller, last: int) -> None:
        self._inner = inner
        self._puller = puller
        self._last = last

    def next_batch(self) -> list[Item]:
        """Returns what arrived; the puller takes nothing from behind the end.

        Raises:
            StopIteration: The end is reached, or the process drains.
        """
        if self._puller.last_seq >= self._last or DRAIN.is_set():
            raise StopIteration
        return self._inner.next_batch()

    def next_awake(self) -> datetime | None:
        """As the source of the live flow."""
        return self._inner.next_awake()

    def snapshot(self) -> bytes:
        """Position, log time and roster."""
        return self._inner.snapshot()

    def close(self) -> None:
        """Removes the consumer from the server."""
        self._inner.close()


class HistorySource(FixedPartitionedSource[Item, bytes]):
    """The log from `first` to `last`, under the partition names of the live flow, so that its snapshots fit.

    Args:
        settings: Addresses, names and limits.
        first: Sequence number at which partitions without a recovery state begin.
        last: Last sequence number.
    """

    def __init__(self, settings: Settings, first: int, last: int) -> None:
        self._settings = settings
        self._first = first
        self._last = last

    def list_parts(self) -> list[str]:
        """Names of the partitions."""
        return JetStreamSource(self._settings).list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> HistoryPartition:
        """Starts reading at the recovery state, or at `first`."""
        puller = open_puller(
            self._settings, step_id, for_part, resume_state, start_seq=self._first, until_seq=self._last
        )
        inner = JetStreamPartition(puller, self._settings, step_id, for_part)
        return HistoryPartition(inner, puller, self._last)
