"""Scores as the judge drives them: frames and commands in, alerts and rows out, however the log is cut."""

import json

import pytest

from dataflows._native import Messages, Validator
from dataflows.alerts.rules import BUILTIN
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import (
    NumericFramer,
    Origin,
    Reading,
    command_frame,
    questionnaire_frame,
    subject_of,
)
from dataflows.contracts.tables import TABLES
from dataflows.monitor.patient import Patient, run
from dataflows.scores.scorers import rule_names

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
WELL = {
    pb.CODE_RESP_RATE: (16.0, pb.UNIT_PER_MIN),
    pb.CODE_SPO2: (97.0, pb.UNIT_PERCENT),
    pb.CODE_O2_FLOW: (0.0, pb.UNIT_L_PER_MIN),
    pb.CODE_SBP: (120.0, pb.UNIT_MM_HG),
    pb.CODE_HR: (70.0, pb.UNIT_PER_MIN),
    pb.CODE_CONSCIOUSNESS: (0.0, pb.UNIT_ONE),
    pb.CODE_TEMP: (37.0, pb.UNIT_CEL),
}


class Log:
    """A patient's log, written in log order."""

    def __init__(self):
        self.entries = []
        self._monitor = NumericFramer(Origin("p1", "monitor"))
        self._sensor = NumericFramer(Origin("p1", "cgm"))
        self._answers = 0

    def _add(self, frame, at_ns):
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        self.entries.append((subject, len(self.entries) + 1, at_ns + 20_000_000, frame.SerializeToString()))

    def round(self, at_ns, **changed):
        """A round of observations; changed values by code in lower case."""
        values = {code: changed.get(pb.Code.Name(code)[5:].lower(), value) for code, (value, _) in WELL.items()}
        readings = [Reading(code, value, WELL[code][1]) for code, value in values.items()]
        self._add(self._monitor.frame(readings, at_ns), at_ns)

    def glucose(self, at_ns, mmol_l):
        readings = [Reading(pb.CODE_GLUCOSE, mmol_l, pb.UNIT_MMOL_PER_L)]
        self._add(self._sensor.frame(readings, at_ns), at_ns)

    def answers(self, at_ns, instrument, values):
        items = [(f"item_{at}", float(value)) for at, value in enumerate(values, 1)]
        frame = questionnaire_frame(Origin("p1", "app"), instrument, items, seq=self._answers, device_ns=at_ns)
        self._answers += 1
        self._add(frame, at_ns)

    def command(self, at_ns, name, **argument):
        key = f"{name}{len(self.entries)}"
        frame = command_frame(
            "p1", name, actor="dr-1", idempotency_key=key, argument_json=json.dumps(argument), device_ns=at_ns
        )
        self._add(frame, at_ns)

    def tick(self, at_ns):
        self.entries.append((b"", 0, at_ns, b""))


def day(start_ns=START_NS):
    """A day of a patient who gets worse, with a low, answers and commands."""
    log = Log()
    log.round(start_ns)
    log.answers(start_ns + MINUTE_NS, "phq_9", [0, 1, 0, 1, 0, 0, 0, 0, 1])
    log.answers(start_ns + MINUTE_NS, "pain_nrs", [2])
    log.round(start_ns + HOUR_NS, hr=115.0, resp_rate=22.0, temp=39.2)
    log.round(start_ns + 2 * HOUR_NS, hr=115.0, resp_rate=26.0, temp=39.2)
    log.command(start_ns + 3 * HOUR_NS, "threshold", rule="news2_high", limit=9)
    log.command(start_ns + 3 * HOUR_NS, "threshold", rule="news2_high", limit=1)
    log.command(start_ns + 3 * HOUR_NS, "threshold", rule="phq_9_self_harm", limit=3)
    log.round(start_ns + 3 * HOUR_NS + MINUTE_NS, hr=115.0, resp_rate=26.0, temp=39.2, spo2=90.0)
    log.command(start_ns + 4 * HOUR_NS, "profile", profile="copd")
    log.round(start_ns + 4 * HOUR_NS + MINUTE_NS, spo2=90.0)
    for at, value in enumerate([5.5, 5.0, 4.2, 3.4, 2.9, 2.9, 2.9, 2.9, 4.0, 4.5, 5.0, 5.2]):
        log.glucose(start_ns + 5 * HOUR_NS + at * 5 * MINUTE_NS, value)
    for hour in range(6, 36):
        log.tick(start_ns + hour * HOUR_NS)
    return log.entries


def told(steps):
    """(rule, event) of each transition that says something of the condition, and the tables of what was recorded."""
    steps = list(steps)
    alerts = [json.loads(one.body()) for step in steps for one in step.alerts]
    said = ("raised", "worsened", "cleared", "ended")
    events = [(one["rule"], one["event"]) for one in alerts if one["event"] in said]
    return alerts, events, [record for step in steps for record in step.records]


def test_every_rule_of_a_score_is_announced():
    assert rule_names() <= BUILTIN.rules.keys()


def test_a_day_with_scores():
    alerts, events, records = told(run(day(), Validator()))
    happened = [one for one in events if one[0] in rule_names()]
    assert ("phq_9_self_harm", "raised") in happened
    assert [event for rule, event in happened if rule == "news2_medium" and event != "worsened"] == [
        "raised",
        "cleared",
    ]
    assert [event for rule, event in happened if rule == "news2_high"] == ["raised", "worsened", "cleared"]
    lows = [rule for rule, event in happened if rule.startswith("glucose") and event == "raised"]
    assert lows == ["glucose_predicted_low", "glucose_below_54", "glucose_below_70", "glucose_level_2_event"]
    assert ("pain_nrs_missed", "raised") in happened
    body = next(one for one in alerts if one["rule"] == "news2_medium")
    assert (body["value"], body["limit"], body["details"]["points"]["pulse"]) == (6.0, 5.0, 2)
    low = next(one for one in alerts if one["rule"] == "glucose_below_54")
    assert (low["value"], low["unit"]) == (52.0, "mg/dL")
    # Devices that were silent for half a day are taken off by themselves.
    commands = [record.row[7:9] for record in records if record.table == "commands" and record.row[4] != "silence"]
    assert [result for result, _ in commands] == ["done", "refused", "refused", "done"]
    assert "between 5 and 20" in commands[1][1]


def test_a_limit_of_the_patient_holds_for_what_comes_after_it():
    alerts, _, _ = told(run(day(), Validator()))
    highs = [one for one in alerts if one["rule"] == "news2_high"]
    assert [one["limit"] for one in highs if one["event"] in ("raised", "worsened")] == [7.0, 9.0]


def test_rows_of_scores_and_trends_fit_their_tables():
    _, _, records = told(run(day(), Validator()))
    tables = {record.table for record in records}
    assert {"scores", "commands"} <= tables
    for record in records:
        assert len(record.row) == len(TABLES[record.table].columns), record.table
    scores = [record.row for record in records if record.table == "scores"]
    assert {row[4] for row in scores} == {
        "news2", "mews", "phq_9", "pain_nrs", "glucose_level_2_event", "glucose_below_70", "glucose_day", "glucose_14d",
    }  # fmt: skip
    last = [row for row in scores if row[4] == "news2" and row[6] == "complete"][-1]
    assert (last[5], json.loads(last[7])["spo2_scale"]) == (0.0, 2)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_batch_size_changes_nothing(batch):
    whole, cut = told(run(day(), Validator())), told(run(day(), Validator(), batch=batch))
    assert (cut[0], [repr(one) for one in cut[2]]) == (whole[0], [repr(one) for one in whole[2]])


def test_a_restart_after_every_message_changes_nothing():
    whole = told(run(day(), Validator()))
    patient, bodies, records = Patient("main/p1", Validator()), [], []
    for entry in day():
        _, verdicts, _ = patient.on_messages(Messages.build([entry]))
        bodies += [json.loads(one.body()) for one in verdicts if hasattr(one, "body")]
        records += [repr(one) for one in verdicts if not hasattr(one, "body")]
        snapshot = patient.snapshot()
        patient = Patient("main/p1", Validator())
        patient.restore(snapshot)
        assert patient.snapshot() == snapshot
    assert bodies == whole[0]
    assert records == [repr(one) for one in whole[2]]
