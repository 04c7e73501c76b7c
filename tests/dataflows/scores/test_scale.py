"""SpO2 scale 2 and the limits of scores: chosen by a command with an author or by a profile, and said in the alert."""

import json

import pytest

from dataflows._native import Messages, Validator
from dataflows.alerts.rules import RuleSet, builtin_files
from dataflows.monitor.patient import Patient, run
from tests.dataflows.alerts.story import Story, command
from tests.dataflows.scores.test_judged import MINUTE_NS, START_NS, Log, told

WARD = """
[profiles.respiratory]
text = "Respiratory ward of this house"
spo2_scale = 2

[profiles.respiratory.limits]
news2_medium = { limit = 6 }
news2_high = { limit = 9 }
spo2_prolonged_low = { limit = 86, clear = 88 }
"""
RULES = RuleSet.load([*builtin_files(), ("ward.toml", WARD)])
CONFIRMED = {"scale": 2, "reason": "pCO2 8.1 kPa, Dr A"}


def heard(*steps):
    """Runs rounds of observations (dict) and commands (name, argument), a minute apart; alerts, scores, records."""
    log = Log()
    for number, step in enumerate(steps):
        at_ns = START_NS + number * MINUTE_NS
        if isinstance(step, dict):
            log.round(at_ns, **step)
        else:
            log.command(at_ns, step[0], **step[1])
    log.tick(START_NS + len(steps) * MINUTE_NS)
    alerts, _, records = told(run(log.entries, Validator(), rules=RULES))
    scores = [json.loads(one.row[7]) | {"total": one.row[5]} for one in records if one.row[4:5] == ("news2",)]
    return alerts, scores, records


def test_a_clinician_chooses_scale_2_and_the_next_round_is_scored_on_it():
    alerts, scores, records = heard({"spo2": 89.0}, ("spo2_scale", CONFIRMED), {"spo2": 89.0})
    assert [(one["spo2_scale"], one["points"]["spo2"]) for one in scores] == [(1, 3), (2, 0)]
    assert [(one["event"], one["limits_version"]) for one in alerts if one["rule"] == "news2_single_3"] == [
        ("raised", 0),
        ("cleared", 0),
    ]
    (chosen,) = [one.row for one in records if one.table == "thresholds" and one.row[13] == "dr-1"]
    assert (chosen[3], chosen[4], chosen[11], chosen[12]) == ("spo2_scale", 2.0, "command", 2)
    (asked,) = [one.row for one in records if one.table == "commands"]
    assert asked[3:5] == ("spo2_scale", "dr-1")
    assert (json.loads(asked[6]), asked[7]) == (CONFIRMED, "done")


def test_an_alert_says_scale_author_of_its_limits_and_the_points_that_follow():
    alerts, _, _ = heard(("spo2_scale", CONFIRMED), {"spo2": 83.0})
    (alert,) = [one for one in alerts if one["rule"] == "news2_single_3"]
    assert (alert["limits_version"], alert["details"]["spo2_scale"]) == (1, 2)
    assert alert["details"]["points"]["spo2"] == 3


def test_oxygen_decides_the_points_of_a_high_saturation_on_scale_2():
    _, scores, _ = heard(("spo2_scale", CONFIRMED), {"spo2": 97.0, "o2_flow": 2.0}, {"spo2": 97.0, "o2_flow": 0.0})
    assert [(one["points"]["spo2"], one["points"]["oxygen"]) for one in scores] == [(3, 2), (0, 0)]


@pytest.mark.parametrize(
    ("commands", "scale"),
    [
        ([], 1),
        ([("profile", {"profile": "copd"})], 2),
        ([("profile", {"profile": "respiratory"})], 2),
        ([("profile", {"profile": "copd"}), ("spo2_scale", {"scale": 1})], 1),
        ([("spo2_scale", {"scale": 1}), ("profile", {"profile": "copd"})], 1),
        ([("spo2_scale", CONFIRMED), ("profile", {"profile": "home"})], 2),
        ([("spo2_scale", {"scale": 2}), ("spo2_scale", {"scale": 7, "reason": "x"})], 1),
        ([("profile", {"profile": "copd"}), ("profile", {"profile": "adult"})], 1),
    ],
)
def test_what_a_clinician_chose_goes_before_the_profile(commands, scale):
    _, scores, _ = heard(*commands, {"spo2": 90.0})
    assert [one["spo2_scale"] for one in scores] == [scale]


@pytest.mark.parametrize(
    ("commands", "limits", "fires"),
    [
        ([], {"news2_medium": 5, "news2_high": 7}, {"news2_medium", "news2_high", "news2_single_3"}),
        ([("profile", {"profile": "respiratory"})], {"news2_medium": 6}, {"news2_medium", "news2_single_3"}),
        (
            [("threshold", {"rule": "news2_medium", "limit": 9}), ("profile", {"profile": "respiratory"})],
            {},
            {"news2_single_3"},
        ),
        (
            [("profile", {"profile": "respiratory"}), ("profile", {"profile": "adult"})],
            {"news2_medium": 5, "news2_high": 7},
            {"news2_medium", "news2_high", "news2_single_3"},
        ),
    ],
)
def test_a_profile_moves_the_limits_of_scores_and_a_command_goes_before_it(commands, limits, fires):
    ill = {"resp_rate": 26.0, "hr": 115.0, "temp": 39.2, "spo2": 97.0}
    alerts, scores, _ = heard(*commands, ill)
    assert [one["total"] for one in scores] == [7.0]
    raised = [one for one in alerts if one["rule"].startswith("news2_") and one["event"] == "raised"]
    assert {one["rule"] for one in raised} == fires
    assert {one["rule"]: one["limit"] for one in raised} == limits | {"news2_single_3": 3}
    assert {one["limits_version"] for one in raised} == {len(commands)}


def test_the_record_says_where_the_limit_of_a_score_comes_from():
    story = Story()
    story.judge = type(story.judge)(RULES, {})
    story.tell(
        command(0, "profile", profile="respiratory"), command(1, "threshold", rule="news2_high", limit=8),
        command(2, "profile", profile="adult"),
    )  # fmt: skip
    rows = [row for row in story.rows("thresholds") if row[3] in ("news2_high", "news2_medium", "spo2_scale")]
    assert [(row[3], row[4], row[11], row[12]) for row in rows] == [
        ("news2_high", 9, "profile", 0),
        ("news2_medium", 6, "profile", 0),
        ("spo2_scale", 2, "profile", 0),
        ("news2_high", 8, "command", 10),
        ("news2_high", 8, "command", 20),
        ("news2_medium", None, "rule", 20),
        ("spo2_scale", 1, "profile", 20),
    ]


def test_a_restart_after_every_message_changes_nothing():
    log, patient, said = Log(), Patient("main/p1", Validator(), rules=RULES), []
    for number, (name, argument) in enumerate([("spo2_scale", CONFIRMED), ("profile", {"profile": "respiratory"})]):
        log.round(START_NS + number * MINUTE_NS, spo2=89.0, hr=115.0)
        log.command(START_NS + number * MINUTE_NS, name, **argument)
    log.round(START_NS + 2 * MINUTE_NS, spo2=89.0, hr=115.0)
    for entry in log.entries:
        said += patient.on_messages(Messages.build([entry]))[1]
        snapshot = patient.snapshot()
        patient = Patient("main/p1", Validator(), rules=RULES)
        patient.restore(snapshot)
    whole = [one for step in run(log.entries, Validator(), rules=RULES) for one in step.verdicts]
    assert [one.rows() for one in said] == [one.rows() for one in whole]
