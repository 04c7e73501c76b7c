"""NATS with the streams of storage, and a publisher to them."""

import asyncio

import nats
import pytest
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig

from connectors.local.artefacts import nats_server_binary
from connectors.local.servers import nats_healthy, nats_process
from tests.servers import free_ports


class SpillStreams:
    """A NATS server of one test, with SPILL and REJECTED."""

    def __init__(self, folder):
        (self.port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{self.port}"
        self._folder = folder
        self._process = None
        self._loop = asyncio.new_event_loop()
        self._connection = None

    def start(self):
        self._process = nats_process(
            nats_server_binary(),
            self._folder,
            port=self.port,
            pid_file=self._folder / "nats.pid",
            log=self._folder / "nats.log",
        )
        self._process.start()
        self._process.wait_until(lambda: nats_healthy("127.0.0.1", self.port), 20.0)
        return self

    def kill(self):
        self._process.kill()

    def stop(self):
        if self._connection is not None:
            self.run(self._connection.close())
        self._loop.close()
        self._process.stop()

    def run(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def jetstream(self):
        if self._connection is None:
            self._connection = self.run(nats.connect(self.url))
        return self._connection.jetstream()

    def make_streams(self, spill_max_bytes=-1, retention=RetentionPolicy.WORK_QUEUE):
        for name, subject, options in (
            (
                "SPILL",
                "spill.v1.>",
                {"retention": retention, "discard": DiscardPolicy.NEW, "max_bytes": spill_max_bytes},
            ),
            ("REJECTED", "rejected.v1.>", {}),
        ):
            self.run(self.jetstream().add_stream(StreamConfig(name=name, subjects=[subject], **options)))

    def waiting(self, stream="SPILL"):
        return self.run(self.jetstream().stream_info(stream)).state.messages

    def publish_all(self, messages):
        async def publish():
            jetstream = self._connection.jetstream()
            return [
                (await jetstream.publish(subject, payload, headers=headers)).seq
                for subject, headers, payload in messages
            ]

        return self.run(publish())

    def rejected(self):
        async def read():
            return [
                await self._connection.jetstream().get_msg("REJECTED", seq)
                for seq in range(1, (await self._connection.jetstream().stream_info("REJECTED")).state.last_seq + 1)
            ]

        return self.run(read())


@pytest.fixture
def broker(tmp_path):
    folder = tmp_path / "nats"
    folder.mkdir()
    broker = SpillStreams(folder).start()
    yield broker
    broker.stop()
