"""CPU and state of all scores of a patient: pulse, SpO2 and respiration each second, with and without a CGM and rounds.

`python bench/scores.py [--json FILE]`. The series are random walks with a fixed seed. CPU time of this process alone,
median of five runs; readings are Python objects as from a file, not those of the Rust module.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from report import publish

from dataflows.alerts.finding import Context, RecordedReading
from dataflows.scores.scorers import Scores

START_NS = 1_700_000_000 * 1_000_000_000
SECOND_NS = 1_000_000_000
HOURS = 4
RUNS = 5
CONTEXT = Context("bench", "p", 1, frozenset(), {}, 0)
CONTINUOUS = {"hr": (70.0, 0.3, 40, 140), "spo2": (97.0, 0.1, 85, 100), "resp_rate": (15.0, 0.1, 6, 30)}
ROUND = {"sbp": 120.0, "temp": 37.0, "consciousness": 0.0, "o2_flow": 0.0}


def readings(*, rounds: bool) -> list[RecordedReading]:
    """Four hours of a patient; `rounds` adds a CGM each 5 minutes and observations by hand each hour."""
    seeded = random.Random(1)
    level = {code: usual for code, (usual, *_) in CONTINUOUS.items()}
    found: list[RecordedReading] = []

    def add(code: str, value: float, second: int) -> None:
        at_ns = START_NS + second * SECOND_NS
        found.append(RecordedReading(code=code, value=value, ts_ns=at_ns, log_ns=at_ns, log_seq=len(found)))

    for second in range(HOURS * 3600):
        for code, (_, step, low, high) in CONTINUOUS.items():
            level[code] = min(max(level[code] + seeded.gauss(0, step), low), high)
            add(code, float(round(level[code])), second)
        if rounds and second % 300 == 0:
            add("glucose", seeded.uniform(80, 180), second)
        if rounds and second % 3600 == 0:
            for code, value in ROUND.items():
                add(code, value, second)
    return found


def once(events: list[RecordedReading]) -> tuple[float, int, int]:
    """CPU seconds, rows and findings, and bytes of state, of one run."""
    scores, said = Scores(), 0
    begun = time.process_time()
    for event in events:
        while (due := scores.deadline()) is not None and due[0] <= event.log_ns:
            said += len(scores.on_deadline(due[0], CONTEXT))
        said += len(scores.on_reading(event, CONTEXT))
    return time.process_time() - begun, said, len(msgspec.msgpack.encode(scores.state()))


def measure(name: str, *, rounds: bool) -> dict[str, Any]:
    """One row of the table."""
    events = readings(rounds=rounds)
    runs = [once(events) for _ in range(RUNS)]
    return {
        "patient": name,
        "readings": len(events),
        "us a patient-second": 1e6 * median(cpu_s for cpu_s, _, _ in runs) / (HOURS * 3600),
        "rows and findings": runs[0][1],
        "state bytes": runs[0][2],
    }


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    rows = [measure("monitor", rounds=False), measure("monitor, CGM, rounds", rounds=True)]
    publish({"rows": rows}, options.json)


if __name__ == "__main__":
    main()
