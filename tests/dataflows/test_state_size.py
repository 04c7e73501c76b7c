"""How large the state of a patient can become in the step `judge`: names of 64 characters, everything at once.

A patient with every sensor and every questionnaire gets worse in all of them, each under its longest names and largest
numbers; somebody has set every limit there is, and devices invent names. Typical patients are measured too.
"""

import json
import random

import msgspec

from dataflows.alerts.alert import Alert
from dataflows.alerts.commands import RecordedCommand
from dataflows.alerts.finding import Context, Finding, RecordedAnswers, RecordedReading
from dataflows.alerts.rules import BUILTIN
from dataflows.monitor.judge import Judge
from dataflows.scores import instruments
from dataflows.scores.scorers import Scores
from tests.dataflows.alerts.story import START_NS

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOURS = 15 * 24
ILL_FROM_H = HOURS - 10
LARGE = 2**62
SCORES_BYTES = 16 * 1024
REST_BYTES = 24 * 1024
USUAL = {
    "hr": 71.0, "pulse_rate": 71.0, "spo2": 97.0, "resp_rate": 15.0, "sbp": 120.0, "temp": 37.0, "consciousness": 0.0,
    "o2_flow": 0.0, "glucose": 110.0,
}  # fmt: skip
AN_HOUR = {"hr": 8, "pulse_rate": 8, "spo2": -1.1, "resp_rate": 2.2, "sbp": -7, "temp": 0.3, "glucose": -9}
CONTINUOUS = {"hr", "pulse_rate", "spo2", "resp_rate"}


def name(kind, number=0):
    return f"{kind}-{number}-".ljust(64, "x")


class Ward:
    """Numbers what a patient's devices and people say, in log order."""

    def __init__(self, *, long_names):
        self.seeded = random.Random(1)
        self.log_seq, self.long_names = 10**9, long_names
        self.context = Context("main", "p1", 1, frozenset(), {}, self.log_seq)

    def source(self, kind, number=0):
        self.log_seq += 1
        if not self.long_names:
            return {"device": f"{kind}{number}", "boot": 1, "seq": self.log_seq % 1000, "log_seq": self.log_seq}
        return {"device": name(kind, number), "boot": LARGE, "seq": LARGE, "log_seq": self.log_seq}

    def reading(self, code, value, at_ns, number=0, **changes):
        times = {"ts_ns": at_ns, "log_ns": at_ns} | changes
        return RecordedReading(code=code, value=value, **times, **self.source(code, number))

    def answers(self, instrument, at_ns, *, ill):
        value = instrument.highest if ill else min(1.0, instrument.highest)
        items = [(f"item_{number}", value) for number in range(1, 10)]
        return RecordedAnswers(
            instrument=instrument.name, answers=items, ts_ns=at_ns, log_ns=at_ns, **self.source("phone")
        )

    def hour(self, hour, codes, sensors, asked):
        """The events of an hour; sparse until the last two days, dense while the patient gets worse."""
        start_ns, worse_h = START_NS + hour * 60 * MINUTE_NS, max(0.0, hour - ILL_FROM_H)
        every_s = 30 if worse_h else 300 if hour > HOURS - 48 else 900
        for second in range(0, 3600, every_s):
            at_ns = start_ns + second * SECOND_NS
            for code in codes:
                if code not in CONTINUOUS and second % 900:
                    continue
                drift = AN_HOUR.get(code, 0.2) * (worse_h + (second / 3600 if worse_h else 0))
                value = USUAL[code] + drift + self.seeded.random()
                for number in range(sensors if code == "glucose" else 1):
                    yield self.reading(code, max(value, 0.0), at_ns, number)
        if worse_h and "glucose" in codes:
            for minute in range(60):
                for number in range(sensors):
                    yield self.reading("glucose", 50.0 - minute / 20, start_ns + minute * MINUTE_NS + number, number)
        if hour % 8 == 0 or worse_h:
            for place, one in enumerate(asked):
                yield self.answers(one, start_ns + 59 * MINUTE_NS + place, ill=worse_h > 0)

    def largest(self, codes=tuple(USUAL), sensors=3, asked=None):
        """The largest state of the scores, each hour looked at, by part."""
        scores, sizes = Scores(), {}
        asked = list(instruments.load().values()) if asked is None else [instruments.load()[one] for one in asked]
        for hour in range(HOURS):
            for event in sorted(self.hour(hour, codes, sensors, asked), key=lambda one: one.log_ns):
                while (due := scores.deadline()) is not None and due[0] <= event.log_ns:
                    scores.on_deadline(due[0], self.context)
                take = scores.on_answers if isinstance(event, RecordedAnswers) else scores.on_reading
                take(event, self.context)
            now = {part: size(state) for part, state in scores.state().items()}
            sizes = max(sizes, now, key=lambda one: sum(one.values()))
        return sizes


def size(state):
    return len(msgspec.msgpack.encode(state))


def test_the_scores_of_a_patient_who_has_everything_stay_within_their_budget():
    sizes = Ward(long_names=True).largest()
    print(sizes, sum(sizes.values()))  # the figures of docs/scores.md
    assert 12 * 1024 < sum(sizes.values()) <= SCORES_BYTES


def test_the_scores_of_an_ordinary_patient_are_small():
    sizes = Ward(long_names=False).largest(
        codes=("hr", "spo2", "resp_rate", "sbp", "temp"), sensors=0, asked=["pain_nrs"]
    )
    print(sizes, sum(sizes.values()))
    assert sum(sizes.values()) <= 8 * 1024


def test_devices_that_invent_names_do_not_grow_the_scores():
    ward, scores = Ward(long_names=True), Scores()
    for number in range(300):
        at_ns = START_NS + number * MINUTE_NS
        for code, value in (USUAL | {"glucose": 50.0}).items():
            scores.on_reading(ward.reading(code, value, at_ns, number), ward.context)
        while (due := scores.deadline()) is not None and due[0] <= at_ns:
            scores.on_deadline(due[0], ward.context)
    assert size(scores.state()) <= 8 * 1024


def test_a_sensor_that_is_followed_no_more_leaves_no_alert_behind():
    ward, judge, said = Ward(long_names=False), Judge(), []
    for number in range(5):
        reading = ward.reading("glucose", 50.0, START_NS + number * MINUTE_NS, number)
        said += judge.on_events("main", "p1", [reading], reading.log_ns)
    lows = [one for one in said if isinstance(one, Alert) and one.rule == "glucose_below_54"]
    assert {one.limit for one in lows} == {54.0}
    assert [(one.device, one.event) for one in lows if one.event in ("raised", "cleared")] == [
        ("glucose0", "raised"), ("glucose1", "raised"), ("glucose2", "raised"), ("glucose0", "cleared"),
        ("glucose3", "raised"), ("glucose1", "cleared"), ("glucose4", "raised"),
    ]  # fmt: skip


def every_limit():
    """A `threshold` command for each rule that takes one, at a limit that it keeps."""
    detectors = {
        "asystole": 5, "pause": 5, "extreme_bradycardia": 30, "extreme_tachycardia": 150, "tachycardia": 125,
        "ventricular_tachycardia": 120, "ventricular_fibrillation": 5, "atrial_fibrillation": 60, "bradycardia": 45,
        "spo2_below_90": 89, "spo2_below_85": 84, "spo2_above_target": 97, "spo2_sat_seconds": 100, "spo2_no_data": 60,
    }  # fmt: skip
    for rule in BUILTIN.rules.values():
        if rule.bounds is not None:
            yield {"limit": rule.bounds.limit, "clear": rule.bounds.clear, "delay_s": 7.5, "rule": rule.name}
        elif rule.is_score:
            yield {"rule": rule.name, "limit": sum(rule.range) / 2}
        elif rule.name in detectors:
            yield {"rule": rule.name, "limit": detectors[rule.name]}


def test_what_is_no_score_stays_within_its_budget():
    ward, judge, told = Ward(long_names=True), Judge(scorers={}), []
    at_ns = START_NS

    def tell(build):
        nonlocal at_ns
        at_ns += SECOND_NS
        event = build(at_ns)
        told.extend(judge.on_events("main", "p1", [event], event.log_ns))

    def ask(name_, **argument):
        ward.log_seq += 1
        tell(
            lambda log_ns: RecordedCommand(
                name=name_, actor="dr a", idempotency_key=str(log_ns), log_ns=log_ns, log_seq=ward.log_seq,
                argument_json=json.dumps(argument),
            )
        )  # fmt: skip

    for argument in every_limit():
        ask("threshold", **argument)
    ask("context", ward="w" * 64, oxygen="supplemental", age_band="adult",
        placement={name("device", n): "s" * 64 for n in range(16)})  # fmt: skip
    ask("handover", to="h" * 128)
    points = dict.fromkeys(("resp_rate", "spo2", "oxygen", "sbp", "pulse", "consciousness", "temp"), 3)
    details = {"points": points, "values": dict.fromkeys(points, 12.5), "text": "t" * 90, "response": "high"}
    evidence = dict.fromkeys(("beats", "ventricular_beats", "quality", "pulses", "pulse_rate", "held_s"), 1.5)
    for number in range(40):
        said_of_it = {"details": details if number % 6 == 0 else evidence} | ward.source("patch", number)
        tell(lambda ns, said_of_it=said_of_it: Finding(
            rule="asystole", raised=True, code="news2", onset=ns, onset_ns=ns, value=4.0, limit=3.0, signal="ecg_ii",
            evidence_ns=(ns, ns), sample_ns=ns, log_ns=ns, **said_of_it,
        ))  # fmt: skip
    for number in range(200):
        tell(lambda ns, number=number: ward.reading("weight", 70 + number / 100, ns, number % 8))
        tell(lambda ns, number=number: ward.reading("sbp", 85.0, ns, number, ts_ns=ns - SECOND_NS, stored=True))
    alert = next(one.alert_id for one in reversed(told) if isinstance(one, Alert))
    for _ in range(70):
        ask("note", text="seen")
        ask("delivered", alert=alert, transition=0, target="ward")
    refused = [one.row[8] for one in told if not isinstance(one, Alert) and one.table == "commands" and one.row[8]]
    assert refused == []
    print(len(judge.snapshot()))
    assert 16 * 1024 < len(judge.snapshot()) <= REST_BYTES
