"""Reading stored streams again, for tools that look back; never for the hot path."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RawStreamMsg
from nats.js.errors import NotFoundError

from connectors.jetstream.streams import is_fence

_WAIT_S = 10.0


class HistoryError(RuntimeError):
    """The stream stopped answering before its end was read."""


async def bounds(client: Client, stream: str) -> tuple[int, int]:
    """Returns the first and the last sequence number that a stream holds; (1, 0) when it is empty."""
    state = (await client.jetstream().stream_info(stream)).state
    return (state.first_seq, state.last_seq) if state.messages else (state.last_seq + 1, state.last_seq)


async def messages(client: Client, stream: str, first: int, last: int, *subjects: str) -> AsyncIterator[Msg]:
    """Yields what a stream holds between two sequence numbers, both included; without the fences of its writers.

    Only for subjects (all, where none is named) on which nobody writes who is not trusted: the client library stops at
    a subject that is not UTF-8 and at a header that is none, and `HistoryError` is all that it says.

    Raises:
        HistoryError: The server stopped sending.
    """
    if last < max(first, 1):
        return
    jetstream = client.jetstream()
    subscription = await jetstream.subscribe(
        ">",
        stream=stream,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        config=ConsumerConfig(opt_start_seq=first, filter_subjects=list(subjects) or None),
        pending_msgs_limit=-1,
        pending_bytes_limit=-1,
    )
    try:
        consumer = await subscription.consumer_info()
        if consumer.num_pending == 0 and consumer.delivered and consumer.delivered.consumer_seq == 0:
            return
        while True:
            try:
                message = await subscription.next_msg(_WAIT_S)
            except NatsTimeoutError:
                # Nothing more on this subject, or nobody there any more: the consumer knows.
                if (await subscription.consumer_info()).num_pending == 0:
                    return
                text = f"stream {stream} stopped sending after {_WAIT_S:.0f} s"
                raise HistoryError(text) from None
            if message.metadata.sequence.stream > last:
                return
            if not is_fence(message.subject):
                yield message
            if message.metadata.sequence.stream == last or message.metadata.num_pending == 0:
                return
    finally:
        await subscription.unsubscribe()


async def stored(client: Client, stream: str, subject: str) -> AsyncIterator[RawStreamMsg]:
    """Yields what a stream holds on a subject, message by message, in a form that always parses: slow.

    A work list allows no second consumer, and so nothing is taken off it either.
    """
    jetstream = client.jetstream()
    seq, last = await bounds(client, stream)
    while seq <= last:
        try:
            message = await jetstream.get_msg(stream, seq, subject, next=True)
        except NotFoundError:
            return
        yield message
        seq = (message.seq or seq) + 1


async def seq_at(client: Client, stream: str, at_ns: int) -> int:
    """Returns the first sequence number that was stored at or after a time; one past the end when there is none."""
    jetstream = client.jetstream()
    first, last = await bounds(client, stream)
    # The server says where a consumer begins. The message itself is not asked for: it could be one that the client
    # library cannot read.
    consumer = await jetstream.add_consumer(
        stream,
        deliver_policy=DeliverPolicy.BY_START_TIME,
        opt_start_time=datetime.fromtimestamp(at_ns / 1e9, UTC),
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_WAIT_S,
        mem_storage=True,
        num_replicas=1,
    )
    await jetstream.delete_consumer(stream, consumer.name)
    begins = (consumer.delivered.stream_seq if consumer.delivered else last) + 1
    return min(max(first, begins), last + 1)
