"""Ten times the usual load for a minute: is memory bounded, does the lag come back to 0, do alerts go first?

`python bench/surge.py --patients 100 --seconds 60` runs NATS, QuestDB and the flow with so many patients in real time,
adds nine times as many for so many seconds, and goes on with the usual ones as long again. It prints, for the time
before, during and after: the flow's largest lag and memory, and how long the usual patients' alerts took from
their decision in log time to ALERTS, by the server's clock.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pipeline import alert_times, resident_mb, stack_settings, wait_rows
from report import percentile, publish

from connectors.local.flow import FlowProcess, settings_environment
from connectors.local.stack import Stack
from connectors.questdb.reads import QuestDBReader
from dataflows.settings import Settings

TIMES = 10
QUIET_S = 30


class Look(threading.Thread):
    """Notes lag and memory of the flow once a second: (wall clock s, lag s, messages behind, resident MB)."""

    def __init__(self, flow: FlowProcess) -> None:
        super().__init__(daemon=True)
        self._flow = flow
        self._ended = threading.Event()
        self.seen: list[tuple[float, float, float, float]] = []

    def run(self) -> None:
        """Until stopped."""
        while not self._ended.wait(1.0):
            metrics = self._flow.metrics()
            lag_s = max(metrics.get("nats_lag_seconds", [0.0]))
            behind = sum(metrics.get("nats_pending_messages", [0.0]))
            self.seen.append((time.time(), lag_s, behind, resident_mb(self._flow.pid)))

    def stop(self) -> None:
        """Ends the watch."""
        self._ended.set()
        self.join()

    def between(self, from_s: float, to_s: float) -> list[tuple[float, float, float, float]]:
        """What was seen in a span of wall-clock time."""
        return [one for one in self.seen if from_s <= one[0] < to_s]


def traffic(settings: Settings, patients: int, seconds: int, first: int) -> subprocess.Popen[bytes]:
    """Starts a load of its own process."""
    command = [sys.executable, str(Path(__file__).with_name("traffic.py")), "--patients", str(patients)]
    command += ["--seconds", str(seconds), "--first", str(first)]
    return subprocess.Popen(command, env={**os.environ, **settings_environment(settings)}, stdout=subprocess.DEVNULL)


def surge(patients: int, seconds: int) -> list[dict[str, Any]]:
    """One run: a row for each of before, during and after."""
    with tempfile.TemporaryDirectory(prefix="vitals-bench-") as folder:
        settings, api = stack_settings(Path(folder), questdb=True)
        with Stack(settings) as stack:
            flow = FlowProcess(settings, Path(folder) / "flow", stack.environment(), api)
            flow.start()
            flow.wait_until(lambda: bool(flow.metrics().get("nats_last_seq")), 30)
            look = Look(flow)
            look.start()
            usual = traffic(settings, patients, QUIET_S + 2 * seconds, 0)
            began_s = time.time()
            time.sleep(QUIET_S)
            more_s = time.time()
            more = traffic(settings, (TIMES - 1) * patients, seconds, patients)
            if more.wait() or usual.wait():
                sys.exit("the load could not be published")
            ended_s = time.time()
            reader = QuestDBReader(settings.questdb)
            frames = patients * (QUIET_S + 2 * seconds) + (TIMES - 1) * patients * seconds
            behind_s = wait_rows(reader, frames, flow)
            look.stop()
            alerts = asyncio.run(alert_times(settings))
            flow.stop()
    calm_s = more_s + seconds + 2.0  # the load's start and its last second
    spans = {"before": (began_s, more_s), "during": (more_s, calm_s), "after": (calm_s, ended_s + behind_s)}
    rows = []
    for name, (from_s, to_s) in spans.items():
        seen = look.between(from_s, to_s)
        own = [(at_s, delay_s) for at_s, delay_s, patient in alerts if patient < f"p{patients:05d}"]
        delays_ms = [delay_s * 1000 for at_s, delay_s in own if from_s <= at_s < to_s]
        rows.append(
            {
                "span": name,
                "patients": patients * (TIMES if name == "during" else 1),
                "worst_lag_s": max(one[1] for one in seen),
                "last_behind": seen[-1][2],
                "largest_mb": round(max(one[3] for one in seen)),
                "alerts_of_usual": len(delays_ms),
                "p50_ms": percentile(delays_ms, 50),
                "p99_ms": percentile(delays_ms, 99),
            }
        )
    rows[-1]["rows_behind_s"] = behind_s
    return rows


def main() -> None:
    """Runs what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    publish({"rows": surge(arguments.patients, arguments.seconds)}, arguments.json)


if __name__ == "__main__":
    main()
