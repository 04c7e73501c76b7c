"""Rhythm alarms of the live flow itself, on the alarms of the PhysioNet/CinC Challenge 2015.

`python -m bench.rhythm_live DIR` sends each record through the validator and the step `signals` as a bedside device
would, a frame a second and signal. Nobody raises an alarm for it: the flow's own rules do, and its other signals are
asked. An alarm of the record's kind counts when it stands at any time in the last 20 s. Printed twice: as announced,
and as it would be if no finding were ever withheld; the difference is what the witnesses do.

`python -m bench.rhythm_live DIR --beats` on a folder of annotated records (MIT-BIH Arrhythmia) sends the first lead
alone, so that no witness helps, and holds what is found against the reference: an asystole is true when no beat and no
flutter wave lies inside, a ventricular tachycardia when four of five beats of its run are ventricular.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import wfdb

from bench.qrs_scoring import BEAT_CODES
from bench.rhythm_alarms import PULSE_WAVES, Alarm, alarms, report
from dataflows._native import Detection, Messages, Output, Signals, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer, subject_of

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
RECENT_S = 20
"""The event begins within 10 s before the alarm, and may take 10 s to announce."""
LEADS = (pb.SIGNAL_ECG_II, pb.SIGNAL_ECG_V5, pb.SIGNAL_ECG_I, pb.SIGNAL_ECG_III)
COUNTS = 30_000
"""A signal's range in counts."""
RULES = {
    "Asystole": {"asystole"},
    "Bradycardia": {"extreme_bradycardia", "asystole"},
    "Tachycardia": {"extreme_tachycardia", "ventricular_tachycardia", "ventricular_fibrillation"},
    "Ventricular_Flutter_Fib": {"ventricular_fibrillation", "ventricular_tachycardia"},
    "Ventricular_Tachycardia": {"ventricular_tachycardia", "ventricular_fibrillation"},
}
"""Rules that announce a kind: its own, and a graver one."""


@dataclass
class Channel:
    """A signal of a record as frames."""

    framer: WaveFramer
    counts: np.ndarray
    fs_hz: float


def channels_of(path: Path) -> list[Channel]:
    """ECG leads and pulse waves of a record."""
    record: Any = wfdb.rdrecord(str(path))
    signals = zip(record.sig_name, record.units, record.p_signal.T, strict=True)
    return as_channels(signals, float(record.fs))


def as_channels(signals: Iterable[tuple[str, str, np.ndarray]], fs_hz: float) -> list[Channel]:
    """ECG leads and pulse waves among signals (name, unit, samples)."""
    found, leads = [], iter(LEADS)
    for name, unit, values in signals:
        if name.upper() in PULSE_WAVES:
            signal = pb.SIGNAL_PLETH if name.upper() in PULSE_WAVES[:2] else pb.SIGNAL_ABP
        elif unit.lower() == "mv":
            signal = next(leads)
        else:
            continue
        valid = values[np.isfinite(values)]
        lsb = float(np.ptp(valid)) / COUNTS if len(valid) and np.ptp(valid) > 0 else 1.0
        counts = np.where(np.isfinite(values), np.round((values - (valid.mean() if len(valid) else 0)) / lsb), -32768)
        framer = WaveFramer(Origin("p1", "bedside"), signal, round(fs_hz * 1000), lsb, START_NS)
        found.append(Channel(framer, counts.astype(np.int16), fs_hz))
    return found


def output_of(path: Path) -> tuple[Output, int]:
    """What the step `signals` says of a record, and how long it is, s."""
    return heard(channels_of(path))


def heard(channels: list[Channel]) -> tuple[Output, int]:
    """What the step `signals` says of these signals, a frame a second of each, and how long they are, s."""
    log: list[tuple[bytes, int, int, bytes]] = []
    seconds = max(int(len(one.counts) / one.fs_hz) for one in channels)
    for second in range(seconds):
        for number, channel in enumerate(channels):
            part = channel.counts[round(second * channel.fs_hz) : round((second + 1) * channel.fs_hz)]
            if len(part):
                frame = channel.framer.frame(part)
                subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
                arrival_ns = START_NS + (second + 1) * SECOND_NS + number * 1_000_000
                log.append((subject, len(log), arrival_ns, frame.SerializeToString()))
    log.append((b"", len(log), START_NS + (seconds + 2) * SECOND_NS + SECOND_NS // 2, b""))
    items, _ = Validator().check("main/p1", Messages.build(log))
    return Signals().on_items(items), seconds


def announced(path: Path) -> tuple[set[str], set[str]]:
    """Rules whose alarm stands in the last seconds of a record, and those that are withheld there."""
    output, seconds = output_of(path)
    since_ns = START_NS + (seconds - RECENT_S) * SECOND_NS
    standing: set[tuple[str, str]] = set()
    said: set[str] = set()
    for event in output.events:
        if not isinstance(event, Detection):
            continue
        if event.log_ns >= since_ns:
            said |= {rule for rule, _ in standing}
        if event.raised:
            standing.add((event.rule, event.signal))
            said |= {event.rule} if event.log_ns >= since_ns else set()
        else:
            standing.discard((event.rule, event.signal))
    said |= {rule for rule, _ in standing}
    withheld = [row for table, rows in output.rows() if table == "withheld" for row in rows]
    return said, {row[7] for row in withheld if row[-1] >= since_ns}


FLUTTER_WAVE = "!"
VENTRICULAR = ("V", "E", "F", FLUTTER_WAVE)
"""Ventricular beats of the reference: premature, escape, fusion; and flutter waves."""
VENTRICULAR_SHARE = 0.8
"""Of the beats of a ventricular tachycardia: one in five may be another, as the rule says."""
MARGIN_S = 0.15
"""A reference beat so near to either end of a silence is the beat that bounds it."""


@dataclass(frozen=True)
class Finding:
    """An alarm beside the reference: onset and decision, s; the reference's beats between, and the ventricular ones."""

    rule: str
    onset_s: float
    decided_s: float
    beats: int
    ventricular: int

    @property
    def true(self) -> bool:
        """Whether the reference agrees."""
        if self.rule == "asystole":
            return self.beats == 0
        return self.ventricular > 0 and self.ventricular >= VENTRICULAR_SHARE * self.beats

    def __str__(self) -> str:
        return f"{self.rule} {self.onset_s:.1f} s: {self.beats} inside, {self.ventricular} ventricular"


def findings(path: Path) -> list[Finding]:
    """Asystoles and ventricular tachycardias of the first lead of a record alone."""
    record: Any = wfdb.rdrecord(str(path), channels=[0])
    output, _ = heard(as_channels([(record.sig_name[0], "mV", record.p_signal[:, 0])], float(record.fs)))
    annotation: Any = wfdb.rdann(str(path), "atr")
    symbols = np.array(annotation.symbol)
    known = np.isin(symbols, sorted(BEAT_CODES | {FLUTTER_WAVE}))
    beats_s, ventricular = annotation.sample[known] / record.fs, np.isin(symbols[known], VENTRICULAR)
    found = []
    for event in output.events:
        if not (isinstance(event, Detection) and event.raised):
            continue
        if event.rule not in {"asystole", "ventricular_tachycardia"}:
            continue
        onset_s, decided_s = ((ns - START_NS) / SECOND_NS for ns in (event.onset_ns, event.sample_ns))
        # A silence lies between two beats, a run is from its first beat to its last.
        margin_s = MARGIN_S if event.rule == "asystole" else -MARGIN_S
        inside = (beats_s > onset_s + margin_s) & (beats_s < decided_s - margin_s)
        counts = int(inside.sum()), int((inside & ventricular).sum())
        found.append(Finding(event.rule, onset_s, decided_s, *counts))
    return found


def against_beats(folder: Path, file: Path | None) -> None:
    """Prints asystoles and ventricular tachycardias of every annotated record beside the reference."""
    every: dict[str, list[Finding]] = {}
    for path in sorted(folder.glob("*.atr")):
        if found := findings(path.with_suffix("")):
            every[path.stem] = found
            print(path.stem, *found, sep="\n  ")
    totals: dict[str, dict[str, int]] = {}
    for one in (one for found in every.values() for one in found):
        total = totals.setdefault(one.rule, {"true": 0, "false": 0})
        total["true" if one.true else "false"] += 1
    for rule, total in sorted(totals.items()):
        print(f"{rule}: {total['true']} as in the reference, {total['false']} not")
    if file:
        records = {name: [asdict(one) for one in found] for name, found in every.items()}
        file.write_text(json.dumps({"total": totals, "records": records}, indent=1))


def main() -> None:
    """Runs every record and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--beats", action="store_true", help="the first lead alone, against the reference's beats")
    options = parser.parse_args()
    if options.beats:
        against_beats(options.folder, options.json)
        return
    begun = time.process_time()
    witnessed: list[tuple[Alarm, bool]] = []
    alone: list[tuple[Alarm, bool]] = []
    for alarm in alarms(options.folder):
        said, withheld = announced(options.folder / alarm.record)
        rules = RULES[alarm.kind]
        witnessed.append((alarm, bool(rules & said)))
        alone.append((alarm, bool(rules & (said | withheld))))
    print("as announced")
    tables = {"announced": report(witnessed)}
    print("without witnesses")
    tables["without_witnesses"] = report(alone)
    print(f"{len(witnessed)} records, {time.process_time() - begun:.0f} s of CPU")
    if options.json:
        options.json.write_text(json.dumps(tables, indent=1))


if __name__ == "__main__":
    main()
