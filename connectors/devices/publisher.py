"""Publishing a replay on JetStream: in order, with a window of messages ahead of their acknowledgements, at a speed."""

import asyncio
import time
from collections.abc import Callable, Iterable

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import PubAck
from nats.js.client import JetStreamContext

from connectors.devices.replay import Publication
from dataflows.contracts.frames import LOG_TIME_HEADER

WINDOW = 1000
"""Messages that may wait for their acknowledgement."""
_NS_PER_S = 1_000_000_000


class PublishError(Exception):
    """The server refused a message, or does not answer; what was acknowledged before is stored."""


class Publisher:
    """Publishes in order and knows what was acknowledged.

    Args:
        client: A connection that does not reconnect by itself: after a disconnect it is not known what was stored.
        ack_timeout_s: How long the server may stay silent.
        with_log_time: Whether messages say their log time in the header.
    """

    def __init__(self, client: Client, ack_timeout_s: float, *, with_log_time: bool) -> None:
        self._client = client
        self._timeout_s = ack_timeout_s
        self._with_log_time = with_log_time
        self._js: JetStreamContext = client.jetstream(publish_async_max_pending=WINDOW)
        self._failed: BaseException | None = None
        self._pending = 0
        self.stored = 0
        self.duplicates = 0
        """Of `stored`, those that the server knew already."""

    async def publish(self, publication: Publication) -> None:
        """Sends one message; waits while the window is full.

        Raises:
            PublishError: An earlier message was refused, or the server does not answer.
        """
        headers = {"Nats-Msg-Id": publication.message_id}
        if self._with_log_time:
            headers[LOG_TIME_HEADER] = str(publication.log_ns)
        self._raise_failure()
        try:
            sent = await self._js.publish_async(
                publication.subject, publication.payload, wait_stall=self._timeout_s, headers=headers
            )
        except NatsError as error:
            raise self._error(error) from error
        self._pending += 1
        sent.add_done_callback(self._acknowledged)

    async def finish(self) -> None:
        """Waits until everything is acknowledged.

        Raises:
            PublishError: A message was refused, or the server does not answer.
        """
        before = -1
        while self._pending and self._failed is None:
            if self.stored == before:
                message = f"{self._pending} messages were not acknowledged within {self._timeout_s:g} s"
                raise PublishError(message)
            before = self.stored
            try:
                await asyncio.wait_for(self._js.publish_async_completed(), self._timeout_s)
            except TimeoutError:
                continue
            # The futures are done; their callbacks run in the next turn of the loop.
            await asyncio.sleep(0)
        self._raise_failure()

    def _acknowledged(self, future: asyncio.Future[PubAck]) -> None:
        self._pending -= 1
        if future.cancelled():
            self._failed = self._failed or asyncio.CancelledError()
        elif (error := future.exception()) is not None:
            self._failed = self._failed or error
        else:
            self.stored += 1
            self.duplicates += bool(future.result().duplicate)

    def _raise_failure(self) -> None:
        if self._failed is not None:
            raise self._error(self._failed) from self._failed
        if not self._client.is_connected:
            message = "the connection to NATS was lost"
            raise PublishError(message)

    def _error(self, cause: BaseException) -> PublishError:
        return PublishError(f"NATS did not store a message ({cause or type(cause).__name__})")


async def play(
    publications: Iterable[Publication],
    publisher: Publisher,
    *,
    speed: float,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Publishes everything, `speed` times as fast as it was recorded.

    Args:
        publications: In the order of their arrival.
        publisher: Where to.
        speed: 1 is real time; 0 is as fast as the server takes it.
        progress: Told how many messages have been sent.

    Returns:
        The log time of the last message, 0 when there was none.

    Raises:
        PublishError: A message was refused, or the server does not answer.
    """
    began_s, first_ns, last_ns = time.monotonic(), 0, 0
    for number, publication in enumerate(publications):
        first_ns = first_ns or publication.log_ns
        last_ns = publication.log_ns
        if speed > 0:
            due_s = began_s + (publication.log_ns - first_ns) / _NS_PER_S / speed
            if (wait_s := due_s - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
        await publisher.publish(publication)
        progress(number + 1)
    await publisher.finish()
    return last_ns
