"""Scenario files: what a patient's devices and people send, and the transitions that one rule must make.

A file holds tables of cases. Times are seconds since the case began:

    [hr_high.fires]
    send = ["hr 0..60/5 = 131", "hr 65 = 125"]        code, first..last/every, value (several: in turn), and where it
                                                      applies `stored`, `off`, `quality 30` (%), `clock 70` (s ahead)
    ecg = ["0..20 rr 0.8", "20..24.2 rr 0"]           beats of a synthetic lead; rr 0 is a pause, `wide 0.4` ventricular
                                                      beats, `irregular 0.75` random intervals, `vf` fibrillation
    answers = ["phq_9 10 = 0 0 0 0 0 0 0 0 1"]        instrument, time, items
    commands = ['ack 70 {"rule": "hr_high"}']
    until = 120
    expect = ["60 raised active", "65 cleared cleared"]

Only transitions of the rule named by the table, up to `until`, are compared; a case may name others with `rule`.
"""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import (
    NumericFramer,
    Origin,
    Reading,
    WaveFramer,
    command_frame,
    end_ns,
    questionnaire_frame,
    subject_of,
)

FOLDER = Path(__file__).parent / "alerts"
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
FS_HZ = 250
UNITS = {
    "hr": pb.UNIT_PER_MIN, "pulse_rate": pb.UNIT_PER_MIN, "resp_rate": pb.UNIT_PER_MIN, "spo2": pb.UNIT_PERCENT,
    "battery": pb.UNIT_PERCENT, "temp": pb.UNIT_CEL, "sbp": pb.UNIT_MM_HG, "dbp": pb.UNIT_MM_HG, "map": pb.UNIT_MM_HG,
    "glucose": pb.UNIT_MG_PER_DL, "weight": pb.UNIT_KG, "consciousness": pb.UNIT_ONE, "o2_flow": pb.UNIT_L_PER_MIN,
}  # fmt: skip
_SEND = re.compile(
    r"(\w+) ([\d.]+)(?:\.\.([\d.]+)/([\d.]+))? = ([^a-z]+?)"
    r"(?: (stored))?(?: (off))?(?: quality (\d+))?(?: clock ([-\d.]+))?"
)
_ECG = re.compile(r"([\d.]+)\.\.([\d.]+) (rr|wide|irregular|vf) ?([\d.]*)")


@dataclass(frozen=True)
class Case:
    """One patient of a scenario file."""

    patient: str
    rules: frozenset[str]
    until_s: float
    expect: list[str]
    messages: list[tuple[int, str, bytes]]
    """(log_ns, subject, payload), in log order; the last one is a note that moves log time to `until`."""


def cases():
    """Every case of every file."""
    return [
        _case(f"{rule}-{name}", rule, spec)
        for path in sorted(FOLDER.glob("*.toml"))
        for rule, named in tomllib.loads(path.read_text()).items()
        for name, spec in named.items()
    ]


def short(body):
    """A transition as scenario files write it, from its JSON body."""
    at_s = (body["log_ns"] - START_NS) / SECOND_NS
    return f"{at_s:g} {body['event']} {body['state']}"


def _case(patient, rule, spec):
    frames = [*_numerics(patient, spec.get("send", [])), *_ecg(patient, spec.get("ecg", []))]
    frames += [*_answers(patient, spec.get("answers", [])), *_commands(patient, spec.get("commands", []))]
    note = command_frame(patient, "note", actor="scenario", idempotency_key="end", argument_json='{"text": "end"}')
    placed = [(log_ns, order, frame) for order, (log_ns, frame) in enumerate(frames)]
    placed.append((START_NS + round(spec["until"] * SECOND_NS), len(placed), note))
    messages = [(log_ns, subject_of(frame), frame.SerializeToString()) for log_ns, _, frame in sorted(placed, key=_key)]
    rules = frozenset(spec.get("rules", [rule]))
    return Case(patient, rules, spec["until"], spec["expect"], messages)


def _key(placed):
    return placed[:2]


def _numerics(patient, lines):
    """One device for each code, so that their frames are in order by themselves."""
    framers = {}
    for line in lines:
        code, first, last, every, values, stored, off, quality, clock_s = _SEND.fullmatch(line).groups()
        framer = framers.setdefault(code, NumericFramer(Origin(patient, f"{code}-device")))
        number = pb.Code.Value(f"CODE_{code.upper()}")
        steps = 1 if last is None else int((float(last) - float(first)) / float(every) + 1.5)
        numbers = [float(one) for one in values.split()]
        said = {"status": pb.STATUS_LEAD_OFF if off else 0, "quality_pct": int(quality or 0)}
        for step in range(steps):
            at_ns = START_NS + round((float(first) + step * float(every or 0)) * SECOND_NS)
            reading = Reading(number, numbers[step % len(numbers)], UNITS[code], **said)
            device_ns = at_ns + round(float(clock_s or 0) * SECOND_NS)
            yield at_ns + (3_600 * SECOND_NS if stored else 0), framer.frame([reading], device_ns, stored=bool(stored))


def _ecg(patient, lines):
    """A lead of beats on a little noise; the first beat of a part comes one interval after its beginning."""
    if not lines:
        return
    parts = [_ECG.fullmatch(line).groups() for line in lines]
    time_s = np.arange(round(float(parts[-1][1]) * FS_HZ)) / FS_HZ
    seeded = np.random.default_rng(1)
    wave = seeded.normal(0, 0.01, time_s.size)
    at_s = float(parts[0][0])
    for first, last, kind, interval in parts:
        rr, end_s = float(interval or 0), float(last)
        at_s = max(at_s, float(first))
        if kind == "vf":
            inside = (time_s >= float(first)) & (time_s < end_s)
            swell = 1 + 0.3 * np.sin(2 * np.pi * 0.7 * time_s[inside])
            wave[inside] += 0.6 * swell * np.sin(2 * np.pi * 5 * time_s[inside])
        while rr and at_s + rr <= end_s + 1e-9:
            at_s += rr * (seeded.uniform(0.6, 1.5) if kind == "irregular" else 1)
            width, height = (0.003, -1.5) if kind == "wide" else (0.0002, 1.0)
            wave += height * np.exp(-((time_s - at_s) ** 2) / width)
    framer = WaveFramer(Origin(patient, "patch"), pb.SIGNAL_ECG_II, FS_HZ * 1000, 0.005, START_NS)
    for frame in framer.cut((wave * 200).astype(np.int16)):
        yield end_ns(frame), frame


def _answers(patient, lines):
    for seq, line in enumerate(lines):
        head, values = line.split(" = ")
        instrument, at_s = head.split()
        at_ns = START_NS + round(float(at_s) * SECOND_NS)
        items = [(f"item_{number}", float(value)) for number, value in enumerate(values.split(), 1)]
        origin = Origin(patient, "phone")
        yield at_ns, questionnaire_frame(origin, instrument, items, seq=seq, device_ns=at_ns)


def _commands(patient, lines):
    for number, line in enumerate(lines):
        name, at_s, argument = line.split(" ", 2)
        frame = command_frame(patient, name, actor="nurse", idempotency_key=str(number), argument_json=argument)
        yield START_NS + round(float(at_s) * SECOND_NS), frame
