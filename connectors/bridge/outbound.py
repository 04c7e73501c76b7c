"""Alerts out to a queue, in the order of ALERTS, from where the queue's end or the stored position says.

The position is written after the queue has confirmed. A bridge that dies in between sends the last group again; a
queue that knows what it holds (Kafka) tells so at the start, and then nothing is sent twice.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import BucketNotFoundError, KeyNotFoundError
from nats.js.kv import KeyValue

from dataflows.settings import Settings

BUCKET = "BRIDGE"
_GROUP = 200
_IDLE_S = 1.0


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
        name: Of the queue; its position is stored by it.
    """

    def __init__(self, client: Client, settings: Settings, name: str) -> None:
        self._client, self._settings, self._name = client, settings, name
        self._js = client.jetstream(timeout=settings.nats.ack_timeout_s)

    async def run(self, send: Send, held: Position | None) -> None:
        """Sends alerts until it is cancelled or something fails.

        Args:
            send: Returns once the queue has confirmed all of a group.
            held: The last alert that the queue holds, where it can tell.
        """
        bucket = await self._bucket()
        position = await self._start(bucket, held)
        async for group in self._groups(position):
            await send(group)
            await bucket.put(self._name, group[-1].position.encode())

    async def _bucket(self) -> KeyValue:
        try:
            return await self._js.key_value(BUCKET)
        except BucketNotFoundError:
            return await self._js.create_key_value(bucket=BUCKET, replicas=self._settings.streams.replicas)

    async def _start(self, bucket: KeyValue, held: Position | None) -> Position:
        info = await self._js.stream_info(self._settings.streams.alerts)
        created_ns = int(info.created.timestamp() * 1e6) * 1000 if info.created else 0
        known = [held] if held else []
        try:
            known.append(Position.decode((await bucket.get(self._name)).value or b""))
        except (KeyNotFoundError, ValueError):
            if not held:
                # A new queue: what was before it is wanted only where the settings say so.
                first = Position(created_ns, 0 if self._settings.bridge.history else info.state.last_seq)
                await bucket.put(self._name, first.encode())
                return first
        return Position(created_ns, max((one.seq for one in known if one.created_ns == created_ns), default=0))

    async def _groups(self, position: Position) -> AsyncIterator[list[OutAlert]]:
        """Yields what is there as one group, then what comes."""
        subscription = await self._js.subscribe(
            f"alerts.v1.{self._settings.bridge.tenant}.>",
            stream=self._settings.streams.alerts,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            config=ConsumerConfig(opt_start_seq=position.seq + 1),
        )
        try:
            while self._client.is_connected:
                try:
                    group = [await subscription.next_msg(_IDLE_S)]
                except NatsTimeoutError:
                    continue
                while len(group) < _GROUP and subscription.pending_msgs:
                    group.append(await subscription.next_msg(_IDLE_S))
                yield [_out(message, position.created_ns) for message in group]
        finally:
            # On a connection that is gone there is nothing to unsubscribe from.
            if self._client.is_connected:
                await asyncio.shield(subscription.unsubscribe())


def _out(message: Msg, created_ns: int) -> OutAlert:
    key = (message.headers or {}).get("Nats-Msg-Id", "")
    return OutAlert(message.subject, key, message.data, Position(created_ns, message.metadata.sequence.stream))
