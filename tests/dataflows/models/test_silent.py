"""A model that falls silent is told, by the log alone; a patient without data is not the model's fault."""

import json

import pytest

from dataflows._native import Validator
from dataflows.alerts.rules import RuleError, RuleSet, builtin_files
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, subject_of
from dataflows.models.features import Window
from dataflows.models.scores import score_frame
from dataflows.models.spec import read_model
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


def told(entries, rules=None):
    steps = list(run(entries, Validator(), **({"rules": rules} if rules else {})))
    assert [one.reason for step in steps for one in step.rejects] == []
    bodies = [json.loads(alert.body()) for step in steps for alert in step.alerts]
    return [((body["log_ns"] - START) / S, body["rule"], body["event"]) for body in bodies]


def test_a_silent_model_is_told_after_three_steps():
    assert told(log(2000, 601, 2000)) == [(780.5, "model_silent", "raised")]
    assert told(log(2000, 1990, 2000)) == []


def test_it_is_over_with_the_next_score():
    entries = log(2000, 601, 1999)
    late = log(2000, 2000, 2000)
    resumed = entries[:-1] + [entry for entry in late if b"model-risk" in entry[0] and entry[2] > START + 1200 * S]
    resumed = [(one[0], number, *one[2:]) for number, one in enumerate(sorted(resumed, key=lambda one: one[2]), 1)]
    assert told(resumed)[:2] == [(780.5, "model_silent", "raised"), (1200.5, "model_silent", "cleared")]


def test_without_data_of_the_patient_the_devices_are_silent_and_not_the_model():
    assert [one[1:] for one in told(log(600, 601, 4000))][:1] == [("silence", "raised")]
    assert "model_silent" not in {one[1] for one in told(log(600, 601, 4000))}


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
