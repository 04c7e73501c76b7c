"""False arrhythmia alarms: the alarms of the PhysioNet/CinC Challenge 2015, replayed through the streaming detectors.

`python -m bench.rhythm_alarms DIR` judges every alarm that `DIR/ALARMS` lists (record, kind, 1 if true) from the
signals before it, then compares with the truth. Neither names, header comments nor the truth reach a decision. An alarm
whose leads cannot be read stands: what nobody can check is not suppressed.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
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
        for row in csv.reader(file):
            record, kind, truth = ([field.strip() for field in row] + [""] * 3)[:3]
            if record and kind and not record.startswith("#"):
                yield Alarm(record, kind, truth == "1")


def evidence_of(path: Path) -> dict[str, float]:
    """Features at the end of a record, whose last sample is the moment of the alarm."""
    fs_hz, signals = signals_of(path)
    channels = [(str(at), name, unit) for at, (name, unit, _) in enumerate(signals)]
    pulses = {key: fs_hz for key, name, _ in channels if name.upper() in PULSE_WAVES}
    leads = {key: fs_hz for key, _, unit in channels if unit.lower() == "mv" and key not in pulses}
    if not leads:
        message = f"{path.name}: no lead"
        raise ValueError(message)
    evidence = AlarmEvidence(leads, pulses)
    step = max(1, round(CHUNK_S * fs_hz))
    for key in [*leads, *pulses]:
        signal = signals[int(key)][2]
        for at in range(0, len(signal), step):
            evidence.push(key, signal[at : at + step])
    return evidence.features()


def signals_of(path: Path) -> tuple[float, list[tuple[str, str, npt.NDArray[np.float64]]]]:
    """Samples per second; name, unit and physical samples of each signal that can be read.

    Raises:
        ValueError, OSError: Nothing can.
    """
    try:
        record: Any = wfdb.rdrecord(str(path))
        columns = record.p_signal.T
    except (OSError, ValueError, IndexError, TypeError) as whole:
        # A file of one signal is missing or cut off: the others may still speak.
        record, columns = wfdb.rdheader(str(path)), []
        for channel in range(record.n_sig):
            try:
                columns.append(wfdb.rdrecord(str(path), channels=[channel]).p_signal[:, 0])
            except (OSError, ValueError, IndexError, TypeError):
                columns.append(np.zeros(0))
        if not any(map(len, columns)):
            message = f"{path.name}: no signal can be read ({whole})"
            raise ValueError(message) from whole
    named = zip(record.sig_name, record.units, columns, strict=True)
    return float(record.fs), [(name or "", unit or "", values) for name, unit, values in named if len(values)]


def decision(path: Path, kind: str) -> bool:
    """Whether an alarm of this kind at the end of a record stands."""
    try:
        found = evidence_of(path)
    except (OSError, ValueError, IndexError, TypeError) as error:
        print(f"{path.name}: {error}; the alarm stands", file=sys.stderr)
        return True
    return shipped().judge(kind, found).keep


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
    begun = time.perf_counter(), time.process_time()
    rows = [(alarm, decision(options.folder / alarm.record, alarm.kind)) for alarm in alarms(options.folder)]
    table = report(rows)
    spent = time.perf_counter() - begun[0], time.process_time() - begun[1]
    print(f"{len(rows)} records in {spent[0]:.0f} s, {spent[1]:.0f} s of CPU")
    if options.json:
        records = {a.record: {"alarm": a.kind, "truth": a.truth, "decision": keep} for a, keep in rows}
        options.json.write_text(json.dumps({**table, "records": records}, indent=1))


if __name__ == "__main__":
    main()
