"""Writes to a stream exactly once: every acknowledgement is awaited, and a restart looks up what is there already."""

import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from prometheus_client import Counter, Histogram

from connectors.jetstream.connection import native_options
from connectors.jetstream.streams import FENCE
from dataflows._native import FencedError, Publisher, PublishError
from dataflows.monitor.state import refusing
from dataflows.settings import NatsSettings

logger = logging.getLogger(__name__)

VERSION = 1
WRITER = "Vitals-Writer"
"""Header that names the sink partition, so that it knows its own messages again."""
_PARTS = 4
_HOLD_BACK_S = 24 * 3600.0
_LABELS = ["step_id", "partition"]
ACK_SECONDS = Histogram("sink_ack_seconds", "Time until every message of a batch was acknowledged", _LABELS)
WRITTEN = Counter("nats_sink_messages", "Messages published, or present already", [*_LABELS, "result"])


@dataclass(frozen=True, slots=True)
class OutMessage:
    """A message for a stream.

    Attributes:
        subject: Where it goes.
        payload: Body, a function of the log alone.
        message_id: Identity, a function of the log alone; the same id is never stored twice.
        headers: More headers; what depends on the wall clock belongs here.
    """

    subject: str
    payload: bytes
    message_id: str
    headers: tuple[tuple[str, str], ...] = ()


class JetStreamSinkPartition(StatefulSinkPartition[OutMessage, bytes]):
    """One writer.

    Its state is the stream's creation time and a sequence number before which nothing will be written again. After a
    restart the flow writes again what followed its last durable epoch; what the stream holds since then is looked up by
    message id and left out, so neither the length of the outage nor the dedupe window matters.

    Before it looks, it raises a fence: a message on a subject of its own, whose sequence number every message that it
    writes expects to be the last on that subject. What a killed predecessor had sent and the server has not read yet
    carries an older fence and is refused, so nothing can arrive behind the look.
    """

    def __init__(
        self,
        publisher: Publisher,
        stream: str,
        step_id: str,
        partition: str,
        resume_state: bytes | None,
        *,
        fence: str,
        subjects: Sequence[str] = (),
    ) -> None:
        self._publisher, self._stream, self._subjects = publisher, stream, subjects
        self._writer = f"{step_id}/{partition}"
        self._fence_subject = fence
        self._ack_seconds = ACK_SECONDS.labels(step_id, partition)
        self._published, self._present = (WRITTEN.labels(step_id, partition, what) for what in ("published", "present"))
        self._created_ns, first_seq, last_seq = publisher.stream_state(stream)
        from_seq = first_seq
        if resume_state is None:
            if last_seq >= first_seq:
                logger.warning(
                    "%s: no recovery state, looking up all of stream %s (messages %d to %d): slow, still exact",
                    self._writer, stream, first_seq, last_seq,
                )  # fmt: skip
        else:
            with refusing(step_id):
                created_ns, seen = _read_state(resume_state)
            if created_ns == self._created_ns:
                from_seq = seen + 1
            else:
                logger.error("%s: stream %s was deleted and created anew, its messages are gone", self._writer, stream)
        # A replicated stream takes no second message that expects the same fence while the first is on its way to the
        # other servers (nats-server 2.15.1 refuses it), so there each waits for the one before.
        self._one_by_one = publisher.replicas(stream) > 1
        self._fence = self._raise_fence()
        self._last_seq = max(last_seq, self._fence)
        self._present_ids: set[str] = set()
        self._held: dict[str, int] = {}
        for seq, message_id, writer in publisher.scan(stream, from_seq, WRITER, subjects):
            if not message_id or (writer != self._writer and writer.startswith(f"{step_id}/")):
                continue  # a key has one writer for ever: what its neighbours wrote need not be kept in memory
            self._present_ids.add(message_id)
            if writer == self._writer:
                self._held[message_id] = seq
        logger.info("%s: stream %s holds %d messages since the recovery state", self._writer, stream, len(self._held))
        self._hold_until = time.monotonic() + _HOLD_BACK_S

    def _raise_fence(self) -> int:
        try:
            (fence,) = self._publisher.publish_all([(self._fence_subject, [], b"")])
        except PublishError as error:
            message = (
                f"{self._writer}: stream {self._stream} takes no fence ({error}): it is full, or it was made by an "
                f"older version: add the subject {self._fence_subject.rpartition('.')[0]}.* to it"
            )
            raise PublishError(message) from error
        return fence

    def write_batch(self, values: list[OutMessage]) -> None:
        """Publishes and returns once everything is acknowledged.

        Raises:
            FencedError: Another flow has taken this writer's place: this one must stop.
            PublishError: A message was refused or not acknowledged in time: the flow must stop.
            JetStreamError: The connection broke.
        """
        started = time.perf_counter()
        fresh = []
        for value in values:
            if value.message_id in self._present_ids:
                self._present_ids.discard(value.message_id)
                self._held.pop(value.message_id, None)
            else:
                fresh.append(value)
        self._present.inc(len(values) - len(fresh))
        if fresh:
            self._publish(fresh)
        self._ack_seconds.observe(time.perf_counter() - started)

    def _publish(self, fresh: list[OutMessage]) -> None:
        try:
            sequences = self._send(fresh)
        except FencedError as error:
            if self._publisher.last_on(self._stream, self._fence_subject):
                message = f"{self._writer}: another flow writes to stream {self._stream} in this one's place: {error}"
                raise FencedError(message) from error
            # Nobody took over: retention removed the fence, as a flood of messages or a year of quiet can.
            self._fence = self._raise_fence()
            there = {
                message_id
                for _, message_id, _ in self._publisher.scan(self._stream, self._last_seq + 1, "", self._subjects)
            }
            sequences = self._send([value for value in fresh if value.message_id not in there])
        self._last_seq = max(self._last_seq, self._fence, *sequences)
        self._published.inc(len(fresh))

    def _send(self, values: list[OutMessage]) -> list[int]:
        outgoing = [self._outgoing(value) for value in values]
        if self._one_by_one:
            return [seq for message in outgoing for seq in self._publisher.publish_all([message])]
        return self._publisher.publish_all(outgoing)

    def _outgoing(self, value: OutMessage) -> tuple[str, Sequence[tuple[str, str]], bytes]:
        headers = [
            ("Nats-Msg-Id", value.message_id),
            ("Vitals-Published-Ns", str(time.time_ns())),
            (WRITER, self._writer),
            ("Nats-Expected-Last-Subject-Sequence", str(self._fence)),
            ("Nats-Expected-Last-Subject-Sequence-Subject", self._fence_subject),
            *value.headers,
        ]
        return value.subject, headers, value.payload

    def snapshot(self) -> bytes:
        """Creation time of the stream, and the sequence number up to which nothing will be written again.

        What the stream held at the start and the flow has yet to write again holds the number back: a second crash
        before that must find it. What never comes again (other rules since, or a log that no longer reaches back) is
        let go after a day.
        """
        seen = self._last_seq
        if self._held and time.monotonic() < self._hold_until:
            seen = min(seen, next(iter(self._held.values())) - 1)
        return msgspec.msgpack.encode((VERSION, self._created_ns, seen))

    def close(self) -> None:
        """Closes the connection."""
        self._publisher.close()


def _read_state(state: bytes) -> tuple[int, int]:
    try:
        version, created_ns, seen = msgspec.msgpack.decode(state, type=tuple[int, int, int])
    except msgspec.DecodeError as error:
        message = f"recovery state of a JetStreamSink cannot be read: {error}"
        raise ValueError(message) from error
    if version != VERSION:
        message = f"recovery state of a JetStreamSink has version {version}, this program reads version {VERSION}"
        raise ValueError(message)
    return created_ns, seen


class JetStreamSink(FixedPartitionedSink[OutMessage, bytes]):
    """Sink of keyed `OutMessage`s for one stream.

    Args:
        nats: Where the server is.
        stream: Name of the stream that holds the messages' subjects.
        parts: Writers, fixed for ever: their names are the recovery key.
        subjects: What is written, as the stream stores it, with wildcards: where others write too, a restart need not
            look at what they wrote, nor can it fail at that.
        writer: Who writes, where others do, too: their fences are apart.
    """

    def __init__(
        self, nats: NatsSettings, stream: str, parts: int = _PARTS, *, subjects: Sequence[str] = (), writer: str = ""
    ) -> None:
        self._nats = nats
        self._stream = stream
        self._parts = parts
        self._subjects = subjects
        self._fences = ".".join(filter(None, (FENCE, stream, writer)))

    def list_parts(self) -> list[str]:
        """Names of the writers."""
        return [f"{self._stream}/{n}" for n in range(self._parts)]

    def part_fn(self, item_key: str) -> int:
        """Writer of a key; Bytewax takes it modulo their number."""
        return zlib.crc32(item_key.encode())

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> JetStreamSinkPartition:
        """Connects and looks up what the stream holds since the recovery state.

        Raises:
            JetStreamError: No server, no such stream, or a stream without the subject for fences.
            StateRefusedError: The recovery state cannot be read.
        """
        publisher = Publisher(native_options(self._nats, f"{step_id} {for_part}"))
        fence = f"{self._fences}.{for_part.rpartition('/')[2]}"
        return JetStreamSinkPartition(
            publisher, self._stream, step_id, for_part, resume_state, fence=fence, subjects=self._subjects
        )
