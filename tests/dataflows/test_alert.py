"""The alert's identity, body and schema."""

import json
from pathlib import Path

import pytest

from dataflows.alerts.alert import Alert, json_schema
from dataflows.alerts.finding import Finding
from dataflows.alerts.rules import RULES
from dataflows.monitor.judge import Judge

REPO = Path(__file__).parents[2]


def finding(**changes):
    values = {
        "rule": "asystole",
        "raised": True,
        "device": "patch7",
        "boot": 3,
        "signal": "ecg_ii",
        "seq": 42,
        "code": "",
        "onset": 10_500,
        "onset_ns": 1_700_000_042_000_000_000,
        "value": 4.0,
        "limit": 4.0,
        "evidence_ns": (1_700_000_042_000_000_000, 1_700_000_046_000_000_000),
        "sample_ns": 1_700_000_046_000_000_000,
        "stored": False,
        "log_seq": 99,
        "log_ns": 1_700_000_046_300_000_000,
    }
    return Finding(**values | changes)


def pause(**changes):
    """A finding of a rule that does not latch."""
    return finding(**{"rule": "pause", **changes})


def judged(judge, *events, log_ns=0):
    """What is said of events, without the rows that introduce a patient."""
    return [one for one in judge.on_events("main", "p1", events, log_ns) if isinstance(one, Alert)]


def test_a_condition_raises_once_and_clears_once():
    judge = Judge()
    raised = judged(judge, pause(), pause(onset=10_999))
    assert [(alert.event, alert.state, alert.transition) for alert in raised] == [("raised", "active", 0)]
    cleared = judged(judge, pause(raised=False, value=7.5), pause(raised=False))
    assert [(alert.event, alert.transition, alert.onset) for alert in cleared] == [("cleared", 1, 10_500)]
    assert cleared[0].alert_id == raised[0].alert_id
    assert cleared[0].message_id == f"{raised[0].alert_id}.1"


def test_a_condition_that_flickers_at_one_onset_is_one_alert_with_more_transitions():
    judge = Judge()
    alerts = judged(judge, pause(), pause(raised=False), pause(), pause(raised=False), pause(onset=99))
    assert [alert.transition for alert in alerts] == [0, 1, 2, 3, 0]
    assert len({alert.message_id for alert in alerts}) == 5


def test_devices_do_not_share_an_alert():
    judge = Judge()
    alerts = judged(judge, finding(), finding(device="other"), pause())
    assert len({alert.alert_id for alert in alerts}) == 3


def test_the_leads_of_a_device_speak_of_one_heart():
    judge = Judge()
    other = {"signal": "ecg_v5", "onset": 10_498}
    events = [pause(), pause(**other), pause(raised=False, **other), pause(raised=False), pause(**other)]
    alerts = judged(judge, *events)
    assert [(alert.signal, alert.event) for alert in alerts] == [
        ("ecg_ii", "raised"),
        ("ecg_ii", "cleared"),
        ("ecg_v5", "raised"),
    ]


def test_identity_and_body_are_a_function_of_the_log():
    first, again = (judged(Judge(), finding())[0] for _ in range(2))
    assert first.body() == again.body()
    assert first.alert_id == "a1558d22-e125-5a4f-a17a-562c801ef82a"
    assert first.subject() == "alerts.v1.main.p1.asystole"
    ((table, [row]),) = first.rows()
    assert table == "alerts"
    assert row[17].encode() == first.body()


def test_a_snapshot_carries_the_standing_alerts():
    judge = Judge()
    judged(judge, finding())
    restored = Judge.restore(judge.snapshot())
    assert restored.snapshot() == judge.snapshot()
    assert judged(restored, finding()) == []
    assert len(judged(restored, finding(raised=False))) == 1


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x01\x00\x80", b"\x02\x00\xc1", b"\x02\x00\x91\x91\x01"])
def test_a_damaged_or_unknown_snapshot_is_refused_in_words(damage):
    with pytest.raises(ValueError, match="snapshot of the judge"):
        Judge.restore(damage)


def test_the_committed_schema_is_current():
    assert json.loads((REPO / "docs" / "alert.schema.json").read_text()) == json_schema()


def test_every_rule_says_what_it_means():
    assert all(rule.text and rule.unit for rule in RULES.values())
