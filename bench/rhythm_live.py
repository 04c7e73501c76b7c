"""Rhythm alarms of the live flow itself, on the alarms of the PhysioNet/CinC Challenge 2015.

`python -m bench.rhythm_live DIR` sends each record through the validator and the step `signals` as a bedside device
would, a frame a second and signal. Nobody raises an alarm for it: the flow's own rules do, and its other signals are
asked. An alarm of the record's kind counts when it stands at any time in the last 20 s. Printed twice: as announced,
and as it would be if no finding were ever withheld; the difference is what the witnesses do.

`python -m bench.rhythm_live DIR --asystole` on a folder of annotated records (MIT-BIH Arrhythmia) sends the first lead
alone, so that no witness helps, and holds each asystole against the reference: it is true when no beat and no flutter
wave lies inside.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
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
MARGIN_S = 0.15
"""A reference beat so near to either end of a silence is the beat that bounds it."""


def asystoles(path: Path) -> list[tuple[float, float, int]]:
    """Asystoles of the first lead alone: onset and decision in s, and the reference's beats between them."""
    record: Any = wfdb.rdrecord(str(path), channels=[0])
    output, _ = heard(as_channels([(record.sig_name[0], "mV", record.p_signal[:, 0])], float(record.fs)))
    annotation: Any = wfdb.rdann(str(path), "atr")
    beats_s = annotation.sample[np.isin(annotation.symbol, sorted(BEAT_CODES | {FLUTTER_WAVE}))] / record.fs
    found = []
    for event in output.events:
        if isinstance(event, Detection) and event.rule == "asystole" and event.raised:
            onset_s, decided_s = ((ns - START_NS) / SECOND_NS for ns in (event.onset_ns, event.sample_ns))
            inside = (beats_s > onset_s + MARGIN_S) & (beats_s < decided_s - MARGIN_S)
            found.append((onset_s, decided_s, int(inside.sum())))
    return found


def against_beats(folder: Path, file: Path | None) -> None:
    """Prints the asystoles of every annotated record beside the reference."""
    records, true, false = {}, 0, 0
    for path in sorted(folder.glob("*.atr")):
        if found := asystoles(path.with_suffix("")):
            records[path.stem] = found
            print(path.stem, ", ".join(f"{onset_s:.1f} s: {beats} inside" for onset_s, _, beats in found))
            true += sum(beats == 0 for *_, beats in found)
            false += sum(beats > 0 for *_, beats in found)
    print(f"asystoles: {true} without a beat or flutter wave inside, {false} with")
    if file:
        file.write_text(json.dumps({"true": true, "false": false, "records": records}, indent=1))


def main() -> None:
    """Runs every record and prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--asystole", action="store_true", help="asystoles of the first lead against reference beats")
    options = parser.parse_args()
    if options.asystole:
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
