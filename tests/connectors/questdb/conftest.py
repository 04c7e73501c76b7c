"""NATS with the streams of the pipeline, as storage sees them."""

import asyncio

import pytest

from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.streams import ensure_streams
from dataflows._native import Publisher


class Broker:
    """The streams of one nats-server, and what they hold."""

    def __init__(self, server):
        self.server = server
        self.settings = server.settings()
        self._publisher = None

    def make_streams(self, **streams):
        self.settings = self.server.settings(**streams)
        ensure_streams(self.settings)

    def publisher(self):
        return Publisher(native_options(self.settings.nats, "test"))

    def publish_all(self, messages):
        """Publishes over a connection of its own: the native publisher never reconnects."""
        publisher = self.publisher()
        publisher.publish_all(list(messages))
        publisher.close()

    def waiting(self, stream="SPILL"):
        """Number of messages in a stream, counting those that were deleted between others."""
        if self._publisher is None:
            self._publisher = self.publisher()
        _, first_seq, last_seq = self._publisher.stream_state(stream)
        return last_seq - first_seq + 1 if last_seq else 0

    def restart(self):
        self.server.restart()
        self._publisher = None

    def count(self, stream):
        """Number of messages in a stream."""

        async def read():
            connection = await connect(self.settings.nats, "test")
            info = await connection.jetstream().stream_info(stream)
            await connection.close()
            return info.state.messages

        return asyncio.run(read())

    def rejected(self):
        async def read():
            connection = await connect(self.settings.nats, "test")
            jetstream = connection.jetstream()
            last = (await jetstream.stream_info("REJECTED")).state.last_seq
            messages = [await jetstream.get_msg("REJECTED", seq) for seq in range(1, last + 1)]
            await connection.close()
            return messages

        return asyncio.run(read())


@pytest.fixture
def broker(nats_server):
    return Broker(nats_server)
