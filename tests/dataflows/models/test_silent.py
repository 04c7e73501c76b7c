"""A model that falls silent is told once, by the log alone, and of no patient."""

import json
from dataclasses import replace

import pytest

from dataflows._native import Messages, Signals, Validator
from dataflows.alerts.rules import RuleError, RuleSet, builtin_files
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, subject_of
from dataflows.models.features import Window
from dataflows.models.scores import score_frame
from dataflows.models.spec import read_model
from dataflows.models.windows import Windows
from dataflows.monitor.patient import run

S = 1_000_000_000
START = 1_700_000_000 // 60 * 60 * S
MODEL = read_model(
    'name = "risk"\nversion = 1\nscorer = "a:b"\nfeatures = ["hr.last"]\nwindow_s = 300\nstep_s = 60\nsample_s = 60\n'
)


def log(device_until_s, model_until_s, until_s, score=lambda at_s: 0.5):
    framer, placed = NumericFramer(Origin("p1", "watch")), []
    for at_s in range(0, device_until_s, 10):
        frame = framer.frame([Reading(pb.CODE_HR, 70, pb.UNIT_PER_MIN)], START + at_s * S)
        placed.append((START + at_s * S, frame))
    for at_s in range(60, model_until_s, 60):
        window = Window("main", "p1", START + at_s * S, {}, ready=True)
        placed.append((START + at_s * S + S // 2, score_frame(MODEL, window, score(at_s))))
    placed.sort(key=lambda one: one[0])
    entries = [
        (subject_of(frame).replace("vitals.v1.", "vp.0.").encode(), log_ns, frame.SerializeToString())
        for log_ns, frame in placed
    ]
    entries.append((b"", START + until_s * S, b""))
    return [(subject, number, log_ns, payload) for number, (subject, log_ns, payload) in enumerate(entries, 1)]


def told(entries, rules=None, until_s=4000):
    steps = list(run(entries, Validator(), **({"rules": rules} if rules else {})))
    assert [one.reason for step in steps for one in step.rejects] == []
    bodies = [json.loads(alert.body()) for step in steps for alert in step.alerts]
    said = [((body["log_ns"] - START) / S, body["rule"], body["event"]) for body in bodies]
    return [one for one in said if one[0] <= until_s]


def beats(*spans, model=MODEL, patient="models", until_s=4000):
    """Signs of life each minute of the spans, as a model leaves them in the log; ticks each ten seconds."""
    placed = [(START + at_s * S, b"", b"") for at_s in range(0, until_s, 10)]
    for first, last in spans:
        for at_s in range(first, last, 60):
            frame = score_frame(model, Window("tick", patient, START + at_s * S, {}, ready=False), float("nan"))
            subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
            placed.append((START + at_s * S + S // 2, subject, frame.SerializeToString()))
    placed.sort(key=lambda one: one[0])
    return [(subject, number, log_ns, payload) for number, (log_ns, subject, payload) in enumerate(placed, 1)]


def test_a_model_that_is_silent_is_told_after_three_steps_and_is_over_with_the_next_sign_of_life():
    assert told(beats((60, 601))) == [(780.5, "model_silent", "raised"), (2580.5, "model_silent", "escalated")]
    assert told(beats((60, 3990))) == []
    assert told(beats((60, 601), (1200, 1500)), until_s=1500) == [
        (780.5, "model_silent", "raised"),
        (1200.5, "model_silent", "cleared"),
    ]


@pytest.mark.parametrize(("early_ns", "said"), [(0, ["raised", "cleared"]), (1, [])])
def test_three_steps_are_silence_and_a_nanosecond_less_is_none(early_ns, said):
    entries = [
        (subject, number, log_ns - early_ns * (subject != b"" and log_ns > START + 700 * S), body)
        for subject, number, log_ns, body in beats((60, 600), (720, 1500))
    ]
    assert [one[2] for one in told(entries, until_s=1500)] == said


def test_two_models_have_an_alert_each():
    other = replace(MODEL, name="other")
    entries = sorted([*beats((60, 601)), *beats((60, 1201), model=other)], key=lambda one: one[2])
    entries = [(one[0], number, *one[2:]) for number, one in enumerate(entries, 1)]
    assert told(entries, until_s=1500) == [(780.5, "model_silent", "raised"), (1380.5, "model_silent", "raised")]


def test_no_patient_hears_of_a_silent_model_and_its_own_devices_are_as_ever():
    assert told(log(2000, 601, 2000)) == []
    assert [one[1:] for one in told(log(600, 601, 4000))][:1] == [("silence", "raised")]
    assert "model_silent" not in {one[1] for one in told(log(600, 601, 4000))}


@pytest.mark.parametrize(("patient", "device"), [("p1", "model-risk"), ("models", "watch")])
def test_nobody_else_speaks_for_the_pipeline(patient, device):
    frame = score_frame(MODEL, Window("tick", patient, START, {}, ready=False), float("nan"))
    frame.device = device
    subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
    _, rejects = Validator().check(f"tick/{patient}", Messages.build([(subject, 1, START, frame.SerializeToString())]))
    assert [one.reason for one in rejects] == ["subject_invalid"]


def test_a_model_has_an_empty_window_each_step_where_it_says_that_it_lives():
    windows, items = Windows(MODEL, 0), []
    for entry in beats((60, 61), until_s=400):
        checked, _ = Validator().check("tick/models", Messages.build([entry]))
        items += windows.on_output(Signals().on_items(checked))
        windows = Windows.restore(windows.snapshot(), MODEL, 0)
    assert [(one.end_ns - START) // S for one in items] == [60, 120, 180, 240, 300, 360]
    assert {(one.tenant, one.patient, one.ready, len(one.series)) for one in items} == {("tick", "models", False, 0)}


RULE = """
[rules.risk_high]
text = "Risk"
unit = "1"
code = "model_score"
device = "model-risk"
above = 0.8
clear = 0.7
delay_s = 90
priority = "medium"
range = [0, 1]
"""


def with_rule(text=RULE):
    return RuleSet.load([*builtin_files(), ("own.toml", text)])


def test_a_rule_on_a_score_fires_beyond_its_limit_and_not_at_it():
    def scores(*values):
        return lambda at_s: values[min(at_s // 60 - 1, len(values) - 1)]

    fires = log(700, 700, 700, scores(0.1, 0.9, 0.9, 0.9, 0.1))
    assert told(fires, with_rule()) == [(210.5, "risk_high", "raised"), (300.5, "risk_high", "cleared")]
    assert told(log(700, 700, 700, scores(0.8)), with_rule()) == []
    # No score ends nothing and begins nothing.
    absent = log(700, 700, 700, scores(0.1, 0.9, 0.9, 0.9, float("nan")))
    assert [one[2] for one in told(absent, with_rule())] == ["raised", "escalated"]
    assert told(fires, with_rule(RULE.replace("model-risk", "model-other"))) == []


@pytest.mark.parametrize("change", [('device = "model-risk"\n', ""), ("model_score", "hr"), ("model-risk", "watch")])
def test_a_score_and_a_model_belong_together(change):
    with pytest.raises(RuleError, match="belong together"):
        with_rule(RULE.replace(*change))
