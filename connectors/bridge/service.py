"""A bridge that goes on: one session after the other, each from what the queue and the log have confirmed.

Nothing reconnects inside a session. Whatever breaks ends it, and the next one takes up where the acknowledgements are:
the same path as after a kill, so it is walked often.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError

from connectors.bridge.inbound import Inbound
from connectors.bridge.outbound import GapError
from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.ids import MessageIds
from dataflows._native import JetStreamError, Publisher
from dataflows.monitor.checking import validator
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
Session = Callable[[Settings], Coroutine[Any, Any, None]]
_FIRST_S, _LONGEST_S, _HEALTHY_S = 0.5, 30.0, 60.0


class BridgeError(RuntimeError):
    """A queue is not what it should be; says which."""


async def keep_running(settings: Settings, session: Session, errors: tuple[type[Exception], ...]) -> None:
    """Runs sessions until cancelled.

    Args:
        settings: Of the bridge, the log and the queue.
        session: Runs until something fails.
        errors: What the queue's library raises when the queue is away.
    """
    pause_s = _FIRST_S
    expected: tuple[type[Exception], ...] = (
        *errors,
        BridgeError,
        GapError,
        NatsError,
        JetStreamError,
        OSError,
        TimeoutError,
    )
    while True:
        started = time.monotonic()
        try:
            await session(settings)
        except* expected as failed:
            first: BaseException = failed
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            if time.monotonic() - started > _HEALTHY_S:
                pause_s = _FIRST_S
            logger.warning("bridge: %s; again in %g s", str(first) or type(first).__name__, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_S)


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs the parts of a session until one of them ends; none of them ends by itself.

    Raises:
        ExceptionGroup: Why.
    """
    async with asyncio.TaskGroup() as group:
        for part in parts:
            group.create_task(_endless(part))


async def _endless(part: Coroutine[Any, Any, None]) -> None:
    try:
        await part
    except asyncio.CancelledError:
        # A library that cancels its own futures when a connection is lost must not pass for an end that was asked for.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
    message = "the queue's connection was lost"
    raise BridgeError(message)


@contextlib.contextmanager
def inbound(settings: Settings, queue: str) -> Any:
    """The way in for the time of a `with`: (inbound, an executor that all its blocking calls share, one at a time)."""
    publisher = Publisher(native_options(settings.nats, f"vitals bridge {queue}"))
    with contextlib.closing(publisher), ThreadPoolExecutor(1, f"bridge-{queue}") as executor:
        ids, rules = MessageIds(settings.nats), validator(settings, models=False)
        yield Inbound(publisher, ids, rules, settings.bridge.tenant, queue), executor


@contextlib.asynccontextmanager
async def alerts_client(settings: Settings, queue: str) -> AsyncIterator[Client]:
    """A connection for the way out."""
    client = await connect(settings.nats, f"vitals bridge {queue} alerts")
    try:
        yield client
    finally:
        with contextlib.suppress(Exception):
            await client.close()
