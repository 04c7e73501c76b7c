"""The whole pipeline on one machine: how many patients it holds in real time, and what a replay of the log costs.

`python bench/pipeline.py --patients 100 1000 --seconds 300` starts NATS, QuestDB and the flow, publishes ECG at 250 Hz
and SpO2 at 1 Hz for each patient, and prints rates, CPU and memory per process, the lag, and the time from the decision
in log time to the alert, both by the server's clock. `--drain` replays a filled stream through the flow without storage
and prints CPU-seconds per 1,000 patient-seconds; with `--storage` the rows go to QuestDB as well. `--durability
power-loss` runs the servers so that what they acknowledge is on the disk. Settings that matter for latency: snapshot
interval 1 s, ack timeout of rows 500 ms.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from report import percentile, publish
from traffic import NS, Ward, fill, publisher

from connectors.jetstream.connection import connect
from connectors.jetstream.history import bounds, messages
from connectors.local.flow import FlowProcess, settings_environment
from connectors.local.own import own_stack
from connectors.local.ports import free_ports
from connectors.local.stack import Stack
from connectors.questdb.reads import QuestDBReader
from dataflows.settings import Settings

TICKS = os.sysconf("SC_CLK_TCK")
CATCH_UP_S = 180.0


def stack_settings(folder: Path, *, questdb: bool, durability: str = "default") -> tuple[Settings, int]:
    """Settings of a stack of its own on free ports, and a port for the flow's metrics."""
    *ports, metrics = free_ports(5)
    settings = own_stack(Settings(), folder, ports)
    settings = settings.model_copy(update={"stack": settings.stack.model_copy(update={"durability": durability})})
    return settings.model_copy(update={"questdb": settings.questdb.model_copy(update={"enabled": questdb})}), metrics


def cpu_s(pid: int) -> float:
    """CPU-seconds of a process and its threads, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def peak_mb(pid: int) -> float:
    """Largest resident memory so far, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


class LagWatch(threading.Thread):
    """Asks the flow once a second how far behind the log it is."""

    def __init__(self, flow: FlowProcess) -> None:
        super().__init__(daemon=True)
        self._flow = flow
        self._ended = threading.Event()
        self.worst_s = 0.0

    def run(self) -> None:
        """Until stopped."""
        while not self._ended.wait(1.0):
            self.worst_s = max(self.worst_s, *self._flow.metrics().get("nats_lag_seconds", [0.0]))

    def stop(self) -> None:
        """Ends the watch."""
        self._ended.set()
        self.join()


def resident_mb(pid: int) -> float:
    """Resident memory now, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return float("nan")


async def alert_times(settings: Settings) -> list[tuple[float, float, str]]:
    """When each alert was in ALERTS, how long after its decision in log time (s, server's clock), and of whom.

    A decision is the arrival of the deciding message, or a deadline that passes: then a tick has to come first.
    """
    connection = await connect(settings.nats, "bench")
    stream = settings.streams.alerts
    times: list[tuple[float, float, str]] = []
    async for message in messages(connection, stream, *await bounds(connection, stream), "alerts.v1.>"):
        body, alert_s = json.loads(message.data), message.metadata.timestamp.timestamp()
        times.append((alert_s, alert_s - body["log_ns"] / 1e9, body["patient"]))
    await connection.close()
    return times


def wait_rows(reader: QuestDBReader, frames: int, flow: FlowProcess) -> float:
    """Waits until every frame is a visible row; returns how long that took."""
    started = time.monotonic()
    while reader.count("waveforms") < frames:
        if not flow.alive or time.monotonic() - started > CATCH_UP_S:
            found = reader.count("waveforms")
            sys.exit(f"only {found} of {frames} waveform rows arrived; the flow says:\n{flow.log_tail()}")
        time.sleep(0.25)
    return time.monotonic() - started


def live(patients: int, seconds: int, durability: str = "default") -> dict[str, Any]:
    """One real-time run."""
    with tempfile.TemporaryDirectory(prefix="vitals-bench-") as folder:
        settings, api = stack_settings(Path(folder), questdb=True, durability=durability)
        with Stack(settings) as stack:
            flow = FlowProcess(settings, Path(folder) / "flow", stack.environment(), api)
            flow.start()
            flow.wait_until(lambda: bool(flow.metrics().get("nats_last_seq")), 30)
            pids = {"flow": flow.pid, **stack.pids()}
            before = {name: cpu_s(pid) for name, pid in pids.items()}
            watch = LagWatch(flow)
            watch.start()
            started = time.monotonic()
            command = [sys.executable, str(Path(__file__).with_name("traffic.py"))]
            command += ["--patients", str(patients), "--seconds", str(seconds)]
            environment = {**os.environ, **settings_environment(settings)}
            load = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            elapsed_s = time.monotonic() - started
            watch.stop()
            used = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
            memory = {name: peak_mb(pid) for name, pid in pids.items()}
            reader = QuestDBReader(settings.questdb)
            behind_s = wait_rows(reader, patients * seconds, flow)
            latencies = [delay_s * 1000 for _, delay_s, _ in asyncio.run(alert_times(settings))]
            reader.wait_applied()
            missing = 2 * patients * seconds - reader.count("waveforms") - reader.count("observations")
            late = reader.count("late_frames")
            flow.stop()
        return {
            "durability": durability,
            "patients": patients,
            "seconds": seconds,
            "messages_per_s": patients * 2,
            "samples_per_s": patients * 251,
            "worst_lag_s": watch.worst_s,
            "rows_behind_s": behind_s,
            "frames_missing": missing,
            "frames_late": late,
            "alerts": len(latencies),
            "p50_ms": percentile(latencies, 50),
            "p99_ms": percentile(latencies, 99),
            **{f"{name}_cpu": round(value / elapsed_s, 3) for name, value in used.items()},
            **{f"{name}_mb": round(value) for name, value in memory.items()},
            "load": load.stdout.strip(),
        }


@dataclass(frozen=True)
class Work:
    """What a flow took until it had done a log; CPU and wall time in s, of both the start of the interpreter."""

    cpu_s: float
    start_cpu_s: float
    wall_s: float
    start_s: float


def work_off(flow: FlowProcess, last_seq: int) -> Work:
    """Starts a flow and waits until what it has done of the log is durable up to a sequence."""
    began = time.monotonic()
    flow.start()
    flow.wait_until(lambda: bool(flow.metrics().get("nats_last_seq")), 30)
    start_cpu_s, start_s = cpu_s(flow.pid), time.monotonic() - began
    flow.wait_until(lambda: min(flow.metrics().get("nats_snapshot_seq", [0])) >= last_seq, CATCH_UP_S)
    return Work(cpu_s(flow.pid), start_cpu_s, time.monotonic() - began, start_s)


def drain(patients: int, seconds: int, durability: str = "default", *, storage: bool = False) -> dict[str, Any]:
    """Replays a filled stream through the flow, without storage unless it is asked for."""
    with tempfile.TemporaryDirectory(prefix="vitals-bench-") as folder:
        settings, api = stack_settings(Path(folder), questdb=storage, durability=durability)
        with Stack(settings) as stack:
            ward = Ward(patients, time.time_ns() - seconds * NS)
            began = time.monotonic()
            messages, last_seq = fill(ward, seconds, publisher(settings))
            filled_s = time.monotonic() - began
            flow = FlowProcess(settings, Path(folder) / "flow", stack.environment(), api)
            work = work_off(flow, last_seq)
            memory = peak_mb(flow.pid)
            flow.stop()
        patient_s = patients * seconds
        return {
            "durability": durability,
            "storage": storage,
            "patients": patients,
            "seconds": seconds,
            "messages": messages,
            "published_per_s": messages / filled_s,
            "wall_s": work.wall_s,
            "cpu_s": work.cpu_s,
            "start_cpu_s": work.start_cpu_s,
            "cpu_s_per_1000_patient_s": work.cpu_s / patient_s * 1000,
            "messages_per_wall_s": messages / work.wall_s,
            "rss_mb": round(memory),
        }


def main() -> None:
    """Runs what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--drain", action="store_true", help="replay a filled stream with null storage instead")
    parser.add_argument("--storage", action="store_true", help="with --drain: rows go to QuestDB")
    parser.add_argument("--durability", nargs="+", choices=["default", "power-loss"], default=["default"])
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    runs = [(patients, durability) for patients in arguments.patients for durability in arguments.durability]
    if arguments.drain:
        rows = [
            drain(patients, arguments.seconds, durability, storage=arguments.storage) for patients, durability in runs
        ]
    else:
        rows = [live(patients, arguments.seconds, durability) for patients, durability in runs]
    publish({"rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
