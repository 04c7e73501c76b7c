"""False arrhythmia alarms: the alarms of the PhysioNet/CinC Challenge 2015, replayed through the streaming detectors.

`python -m bench.rhythm_alarms DIR` judges every alarm that `DIR/ALARMS` lists (record, kind, 1 if true) from the
signals before it, then compares with the truth. Neither names, header comments nor the truth reach a decision.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wfdb

from dataflows.alarm_score import shipped
from dataflows.rhythm import AlarmEvidence

PULSE_WAVES = ("PLETH", "PPG", "ART", "ABP")
CHUNK_S = 1.0
FN_COST = 5


@dataclass(frozen=True)
class Alarm:
    """A line of `ALARMS`."""

    record: str
    kind: str
    truth: bool


def alarms(folder: Path) -> Iterator[Alarm]:
    """Reads `ALARMS`."""
    with (folder / "ALARMS").open(newline="") as file:
        for record, kind, truth in csv.reader(file):
            yield Alarm(record.strip(), kind.strip(), truth.strip() == "1")


def evidence_of(path: Path) -> dict[str, float]:
    """Features at the end of a record, whose last sample is the moment of the alarm."""
    record: Any = wfdb.rdrecord(str(path))
    fs_hz = float(record.fs)
    channels = list(zip(map(str, range(record.n_sig)), record.sig_name, record.units, strict=True))
    pulses = {key: fs_hz for key, name, _ in channels if name.upper() in PULSE_WAVES}
    leads = {key: fs_hz for key, _, unit in channels if unit.lower() == "mv" and key not in pulses}
    evidence = AlarmEvidence(leads, pulses)
    step = round(CHUNK_S * fs_hz)
    for key in [*leads, *pulses]:
        signal = record.p_signal[:, int(key)]
        for at in range(0, len(signal), step):
            evidence.push(key, signal[at : at + step])
    return evidence.features()


def score(tp: int, fp: int, fn: int, tn: int) -> float:
    """Score of the challenge, percent: a lost true alarm counts five times."""
    whole = tp + tn + fp + FN_COST * fn
    return round(100.0 * (tp + tn) / whole, 2) if whole else 0.0


def summary(decided: list[tuple[bool, bool]]) -> dict[str, float]:
    """Counts and score of (truth, decision) pairs."""
    tp, fp = decided.count((True, True)), decided.count((False, True))
    fn, tn = decided.count((True, False)), decided.count((False, False))
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "score": score(tp, fp, fn, tn)}


def wilson(part: int, whole: int, z: float = 1.96) -> str:
    """95 % confidence interval of a share, percent (Wilson 1927)."""
    if not whole:
        return "-"
    p = part / whole
    middle, half = p + z * z / (2 * whole), z * ((p * (1 - p) + z * z / (4 * whole)) / whole) ** 0.5
    low, high = (middle - half) / (1 + z * z / whole), (middle + half) / (1 + z * z / whole)
    return f"{100 * low:.0f}-{100 * high:.0f}"


def report(rows: list[tuple[Alarm, bool]]) -> dict[str, Any]:
    """Prints the table and returns it."""
    kinds = {
        kind: summary([(alarm.truth, keep) for alarm, keep in rows if alarm.kind == kind])
        for kind in sorted({alarm.kind for alarm, _ in rows})
    }
    total = summary([(alarm.truth, keep) for alarm, keep in rows])
    print(f"{'kind':26}{'TP':>5}{'FP':>5}{'FN':>5}{'TN':>5}{'score':>8}  true kept, 95 %  false suppressed, 95 %")
    for kind, s in [*kinds.items(), ("total", total)]:
        kept, gone = wilson(int(s["tp"]), int(s["tp"] + s["fn"])), wilson(int(s["tn"]), int(s["tn"] + s["fp"]))
        print(f"{kind:26}{s['tp']:5}{s['fp']:5}{s['fn']:5}{s['tn']:5}{s['score']:8.2f}  {kept:>15}  {gone:>22}")
    lost = [f"{alarm.record} ({alarm.kind})" for alarm, keep in rows if alarm.truth and not keep]
    print("lost true alarms:", ", ".join(lost) or "none")
    return {"total": total, "kinds": kinds}


def main() -> None:
    """Judges all alarms and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    begun, judge = time.perf_counter(), shipped().judge
    rows = [
        (alarm, judge(alarm.kind, evidence_of(options.folder / alarm.record)).keep) for alarm in alarms(options.folder)
    ]
    table = report(rows)
    print(f"{len(rows)} records in {time.perf_counter() - begun:.0f} s")
    if options.json:
        records = {a.record: {"alarm": a.kind, "truth": a.truth, "decision": keep} for a, keep in rows}
        options.json.write_text(json.dumps({**table, "records": records}, indent=1))


if __name__ == "__main__":
    main()
