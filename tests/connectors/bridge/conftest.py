"""A log, and a bridge in a process of its own that can be killed."""

import asyncio
import json
import os
import sys
import time

import numpy as np
import pytest

from connectors.jetstream.connection import connect
from connectors.jetstream.history import messages
from connectors.jetstream.streams import ensure_streams
from connectors.local.process import ServerProcess
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer
from tests.servers import NatsServer

RULE = "extreme_bradycardia"


class Log:
    """The streams of a NATS server, read and written by tests."""

    def __init__(self, server):
        self.server = server
        self.settings = server.settings()
        ensure_streams(self.settings)

    def _run(self, act):
        async def run():
            client = await connect(self.settings.nats, "test")
            try:
                return await act(client)
            finally:
                await client.close()

        return asyncio.run(run())

    def count(self, stream, subject):
        async def act(client):
            info = await client.jetstream().stream_info(stream, subjects_filter=subject)
            return sum((info.state.subjects or {}).values())

        return self._run(act)

    def read(self, stream, subject):
        """(payload, headers) of what a stream holds."""

        async def act(client):
            last = (await client.jetstream().stream_info(stream)).state.last_seq
            return [(m.data, m.headers or {}) async for m in messages(client, stream, 1, last, subject)]

        return self._run(act)

    def raise_alerts(self, first, count):
        """Alerts of three patients in turn; identities `a<n>.0`."""

        async def act(client):
            js = client.jetstream()
            for n in range(first, first + count):
                body = json.dumps({"id": f"a{n}", "n": n}).encode()
                await js.publish(f"alerts.v1.main.q{n % 3}.{RULE}", body, headers={"Nats-Msg-Id": f"a{n}.0"})

        self._run(act)

    def forget_positions(self):
        async def act(client):
            await client.jetstream().purge_stream("BRIDGES", subject="bridges.v1.>")

        self._run(act)

    def bridge(self, queue, folder, **values):
        env = os.environ | {"VITALS_NATS__URL": self.server.url, "VITALS_BRIDGE__HISTORY": "true"}
        env |= {f"VITALS_BRIDGE__{name.upper()}": str(value) for name, value in values.items()}
        command = [sys.executable, "-m", "connectors.cli", "bridge", queue]
        return ServerProcess("bridge", command, folder / "bridge.log", folder / "bridge.pid", env=env)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    yield Log(server)
    server.stop()


def frames(patient, count, **origin):
    """Frames as bytes, each with a field that this version does not know, which must stay where it is."""
    framer = WaveFramer(Origin(patient, "d", **origin), pb.SIGNAL_PLETH, 100_000, 1.0, time.time_ns() - count * 10**9)
    made = [framer.frame(np.arange(100, dtype=np.int16) + n) for n in range(count)]
    return [frame.SerializeToString() + b"\xf8\x7f\x01" for frame in made]


def bad(patient):
    """Messages that are rejected, with the reason."""
    odd = pb.Frame.FromString(frames(patient, 1)[0])
    odd.waveform.samples += b"x"
    unnamed = pb.Frame.FromString(frames(patient, 1)[0])
    unnamed.patient = "../etc"
    command = pb.Frame(version=1, patient=patient, device="d", command=pb.Command(name="discharge", actor="x"))
    return [
        (b"\xff" * 50, "undecodable"),
        (odd.SerializeToString(), "odd_byte_count"),
        (frames(patient, 1, tenant="clinic")[0], "identity_mismatch"),
        (unnamed.SerializeToString(), "subject_invalid"),
        (command.SerializeToString(), "unknown_signal"),
        (b"\0" * 300_000, "too_large"),
    ]
