"""An organisation's own streams: copies of its messages in its account, for programs that the pipeline's is closed to.

JetStream itself copies, from where the copy ends and in the order of the original: what a crash cuts off is caught up
with.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, ExternalStream, StreamConfig, StreamSource
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from connectors.identity.authority import Authority, IdentityError
from connectors.identity.copies import API, COPIES, ROOT, Copy
from connectors.jetstream.connection import connect
from dataflows.settings import NatsSettings

_CATCH_UP_S = 60.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Reader:
    """A program that reads an organisation's own streams.

    Attributes:
        name: Of its consumers.
        reads: Names of the copies that get one.
        pipeline: Connection of the pipeline's account, which knows how far a copy has to come.
    """

    name: str
    reads: Sequence[str]
    pipeline: Client


async def ensure_own_streams(
    nats: NatsSettings, authority: Authority, tenant: str, reader: Reader | None = None
) -> None:
    """Makes an organisation's streams as large as it was given, and a reader's consumers; others stay as they are.

    Args:
        nats: Where the server is.
        authority: Has the organisation's account, which the server knows.
        tenant: The organisation.
        reader: Who gets consumers; a new one begins with what comes from now on.

    Raises:
        IdentityError: The server cannot be reached or refuses, or the organisation has no such copy.
    """
    sizes = {copy: copy.max_bytes or authority.granted(tenant).frames_bytes for copy in COPIES}
    wanted = _wanted(reader.reads, sizes, tenant) if reader else []
    own = {"credentials": authority.credentials(f"owner-{tenant}"), "user": None, "password": None}
    try:
        client = await connect(nats.model_copy(update=own), "vitals own streams")
        try:
            js = client.jetstream(timeout=nats.ack_timeout_s)
            for copy, max_bytes in sizes.items():
                await _ensure(js, copy, tenant, max_bytes)
            if reader is not None:
                for copy in wanted:
                    await _ensure_consumer(js, copy, tenant, reader)
        finally:
            await client.close()
    except (OSError, NatsError) as error:
        message = f"the streams of {tenant}'s own were not made: {error or type(error).__name__}"
        raise IdentityError(message) from error


def _wanted(reads: Sequence[str], sizes: Mapping[Copy, int], tenant: str) -> list[Copy]:
    if unknown := set(reads) - {copy.name for copy in COPIES}:
        message = f"{', '.join(sorted(unknown))}: an organisation's own are {', '.join(copy.name for copy in COPIES)}"
        raise IdentityError(message)
    wanted = [copy for copy in COPIES if copy.name in reads]
    for copy in wanted:
        if not sizes[copy]:
            message = f"{tenant} keeps no {copy.name} of its own: `vitals tenants limit {tenant} --frames-bytes N`"
            raise IdentityError(message)
    return wanted


async def _ensure(js: JetStreamContext, copy: Copy, tenant: str, max_bytes: int) -> None:
    try:
        found = (await js.stream_info(copy.stream)).config
    except NotFoundError:
        if max_bytes:
            external = ExternalStream(API, f"{ROOT}.{tenant}")
            mirror = StreamSource(name=copy.stream, filter_subject=copy.of(tenant), external=external)
            await js.add_stream(StreamConfig(name=copy.stream, mirror=mirror, max_bytes=max_bytes))
        return
    if not max_bytes:
        await js.delete_stream(copy.stream)
    elif found.max_bytes != max_bytes:
        await js.update_stream(found.evolve(max_bytes=max_bytes))


async def _ensure_consumer(js: JetStreamContext, copy: Copy, tenant: str, reader: Reader) -> None:
    try:
        await js.consumer_info(copy.stream, reader.name)
    except NotFoundError:
        await _caught_up(js, copy, tenant, reader.pipeline)
        config = ConsumerConfig(
            durable_name=reader.name, ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.NEW,
            max_ack_pending=10_000,
        )  # fmt: skip
        await js.add_consumer(copy.stream, config)


async def _caught_up(js: JetStreamContext, copy: Copy, tenant: str, pipeline: Client) -> None:
    """Waits until a copy has what was there before: to a new consumer all that would be new."""
    try:
        last = await pipeline.jetstream().get_last_msg(copy.stream, copy.of(tenant))
    except NotFoundError:
        return
    # The mirror's own lag is 0 too before it knows how far it has to go. Its messages keep their numbers.
    deadline = time.monotonic() + _CATCH_UP_S
    while (await js.stream_info(copy.stream)).state.last_seq < (last.seq or 0):
        if time.monotonic() > deadline:
            message = f"the copy of {tenant}'s {copy.name} is still being made: try again later"
            raise IdentityError(message)
        await asyncio.sleep(_POLL_S)
