"""Alerts out to a queue, in the order of ALERTS, from where the queue's end or the stored position says.

The position is written after the queue has confirmed. A bridge that dies in between sends the last group again; a
queue that knows what it holds (Kafka) tells so at the start, and then nothing is sent twice.
"""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from connectors.jetstream.connection import inbox_prefix, raise_if_cancelled
from connectors.jetstream.streams import ORIGIN
from dataflows.contracts.frames import is_token
from dataflows.settings import Settings

_GROUP = 200
_IDLE_S = 1.0
_FORGOTTEN_S = 60.0


class GapError(RuntimeError):
    """An alert did not arrive; the next session asks for it again."""


class Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in ALERTS.

    Attributes:
        created_ns: When the stream was made: the numbers of another one of its name mean nothing.
        seq: Sequence of the last alert that the queue has.
    """

    created_ns: int
    seq: int

    def encode(self) -> bytes:
        """For a header of the queue, or the bucket."""
        return f"{self.created_ns}/{self.seq}".encode()

    @classmethod
    def decode(cls, text: bytes) -> "Position":
        """The reverse.

        Raises:
            ValueError: It is none.
        """
        created, _, seq = text.decode("ascii").partition("/")
        return cls(int(created), int(seq))


@dataclass(frozen=True)
class OutAlert:
    """A transition of an alert on its way to a queue.

    Attributes:
        subject: `alerts.v1.<tenant>.<patient>.<rule>`.
        key: Its message id, `<alert id>.<n>`: the same whenever it is sent.
        payload: Its body, as in ALERTS.
        position: Its place there.
    """

    subject: str
    key: str
    payload: bytes
    position: Position


Send = Callable[[Sequence[OutAlert]], Awaitable[None]]


class Outbound:
    """Reads ALERTS for a queue.

    Args:
        client: Connection.
        settings: Names of streams, and whether a new queue gets what ALERTS holds already.
        queue: Kind of queue.
        name: Name of the queue.
    """

    def __init__(self, client: Client, settings: Settings, queue: str, name: str) -> None:
        self._settings = settings
        self._js = client.jetstream(timeout=settings.nats.ack_timeout_s)
        tenant, place = settings.bridge.tenant, f"{queue}-{name}"
        if not is_token(place):
            place = f"{queue}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        self._subject = f"bridges.v1.{tenant}.{place}"
        # With an identity the consumer has its name: the only one that its rights allow.
        own = (inbox_prefix(settings.nats) or "").rpartition(".")[2]
        self._consumer = f"bridge-{queue}-{own}" if own else f"bridge-{tenant}-{place}"

    async def run(self, send: Send, held: Position | None) -> None:
        """Sends alerts until it is cancelled or something fails.

        Args:
            send: Returns once the queue has confirmed all of a group.
            held: The last alert that the queue holds, where it can tell.

        Raises:
            nats.errors.Error: The log is away, or ALERTS was never made.
            GapError: An alert did not arrive.
        """
        created_ns = int(
            (await self._js.get_last_msg(self._settings.streams.bridges, ORIGIN, direct=True)).data or b"0"
        )
        position = await self._known(created_ns, held)
        try:
            position = await self._consume(created_ns, position)
            await self._note(position)  # also of a new queue that gets nothing of before: it has begun here
            async for group in self._groups(created_ns):
                await send(group)
                await self._note(group[-1].position)
        finally:
            with contextlib.suppress(NatsError, TimeoutError):
                await self._js.delete_consumer(self._settings.streams.alerts, self._consumer)

    async def _known(self, created_ns: int, held: Position | None) -> Position | None:
        """Where the queue stands; None when it is new."""
        known = [held] if held else []
        try:
            stored = await self._js.get_last_msg(self._settings.streams.bridges, self._subject, direct=True)
            known.append(Position.decode(stored.data or b""))
        except (NotFoundError, ValueError):
            if not held:
                return Position(created_ns, 0) if self._settings.bridge.history else None
        return Position(created_ns, max((one.seq for one in known if one.created_ns == created_ns), default=0))

    async def _consume(self, created_ns: int, position: Position | None) -> Position:
        """Makes the consumer; returns where it begins."""
        stream = self._settings.streams.alerts
        with contextlib.suppress(NotFoundError):
            await self._js.delete_consumer(stream, self._consumer)  # of a session that was killed
        config = ConsumerConfig(
            name=self._consumer,
            filter_subject=f"alerts.v1.{self._settings.bridge.tenant}.>",
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE if position else DeliverPolicy.NEW,
            opt_start_seq=position.seq + 1 if position else None,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=_FORGOTTEN_S,
            mem_storage=True,
            num_replicas=1,
        )
        made = await self._js.add_consumer(stream, config)
        if position is not None:
            return position
        return Position(created_ns, made.delivered.stream_seq if made.delivered else 0)

    async def _note(self, position: Position) -> None:
        await self._js.publish(self._subject, position.encode())

    async def _groups(self, created_ns: int) -> AsyncIterator[list[OutAlert]]:
        """Yields what is there as one group, then what comes."""
        alerts, taken = await self._js.pull_subscribe_bind(self._consumer, self._settings.streams.alerts), 0
        while True:
            raise_if_cancelled()
            try:
                messages = await alerts.fetch(1, timeout=_IDLE_S)
            except NatsTimeoutError:
                continue
            if more := min(messages[-1].metadata.num_pending, _GROUP - 1):
                messages += await alerts.fetch(more, timeout=self._settings.nats.ack_timeout_s)
            numbers = [message.metadata.sequence.consumer for message in messages]
            if numbers != list(range(taken + 1, taken + 1 + len(numbers))):
                text = f"alerts {numbers} came after {taken}"
                raise GapError(text)
            taken = numbers[-1]
            yield [_out(message, created_ns) for message in messages]


def _out(message: Msg, created_ns: int) -> OutAlert:
    key = (message.headers or {}).get("Nats-Msg-Id", "")
    return OutAlert(message.subject, key, message.data, Position(created_ns, message.metadata.sequence.stream))
