"""Limits of a patient: which numbers hold when, and which version fired."""

import pytest

from dataflows.alerts.limits import MAX_CHANGES, Change, Limits
from dataflows.alerts.rules import BUILTIN, Override
from tests.dataflows.alerts.story import Story, command, ns, reading


def test_an_override_holds_for_everything_after_it_and_the_alert_names_its_version():
    story = Story()
    story.tell(reading(0, "sbp", 95))
    story.tell(command(1, "threshold", rule="sbp_low", limit=100, clear=105, actor="dr a"))
    assert story.events(reading(2, "sbp", 95)) == [(2, "sbp_low", "raised", "active")]
    assert [(alert.limit, alert.limits_version) for alert in story.alerts] == [(100, 10)]
    ((*_, profile, source, version, actor, log_seq),) = story.rows("thresholds")
    assert (profile, source, version, actor, log_seq) == ("adult", "command", 10, "dr a", 10)


def test_a_standing_alert_keeps_its_version_and_the_new_limit_clears_it():
    story = Story()
    story.events(reading(0, "sbp", 85))
    story.tell(command(1, "threshold", rule="sbp_low", limit=80))
    assert story.events(reading(2, "sbp", 86)) == [(2, "sbp_low", "cleared", "cleared")]
    assert [(alert.limit, alert.limits_version) for alert in story.alerts] == [(90, 0), (80, 0)]


def test_a_limit_that_is_moved_alone_takes_its_hysteresis_and_severe_level_along():
    limits = Limits()
    limits.change(Change(ns(0), 5, "hr_high", "", Override(limit=120)))
    bounds = limits.now.bounds(BUILTIN, BUILTIN.rules["hr_high"])
    assert (bounds.limit, bounds.clear, bounds.severe, bounds.delay_s) == (120, 115, 140, 60)


def test_a_profile_changes_defaults_and_leaves_what_somebody_chose():
    story = Story()
    story.tell(command(0, "threshold", rule="sbp_low", limit=100))
    story.tell(command(1, "profile", profile="post_op"))
    story.tell(reading(2, "temp", 38.6), reading(3, "sbp", 97))
    assert [(alert.rule, alert.limit) for alert in story.alerts] == [("temp_high", 38.5), ("sbp_low", 100)]
    written = {row[3]: (row[4], row[11]) for row in story.rows("thresholds") if row[12] == 10}
    assert written["sbp_low"] == (100, "command")
    assert written["temp_high"] == (38.5, "profile")
    assert written["temp_low"] == (35.1, "rule")


def test_the_default_limits_are_written_once_when_a_patient_is_heard_of():
    story = Story()
    story.tell(reading(0, "hr", 80))
    story.tell(reading(1, "hr", 80))
    rows = [row for one in story.said for name, many in one.rows() if name == "thresholds" for row in many]
    assert len(rows) == len([rule for rule in BUILTIN.rules.values() if rule.bounds is not None]) + 1
    assert [row[4] for row in rows if row[3] == "spo2_scale"] == [1]
    assert {(row[10], row[12]) for row in rows} == {("adult", 0)}


def test_late_readings_are_judged_by_the_limits_of_their_own_time_and_page_nobody():
    story = Story()
    story.tell(reading(100, "sbp", 120), command(200, "threshold", rule="sbp_low", limit=100))
    late = {"stored": True, "log_ns": ns(300), "log_seq": 3000}
    assert story.events(
        reading(150, "sbp", 95, **late), reading(160, "sbp", 89, **late), reading(170, "sbp", 96, **late),
        reading(250, "sbp", 96, **late), reading(260, "sbp", 110, **late),
    ) == []  # fmt: skip
    found = [(row[8], row[10], row[0], row[12], row[13], row[14]) for row in story.rows("late_findings")]
    assert found == [
        ("sbp_low", True, ns(160), 89, 90, 0),
        ("sbp_low", False, ns(160), 96, 90, 0),
        ("sbp_low", True, ns(250), 96, 100, 2000),
        ("sbp_low", False, ns(250), 110, 100, 2000),
    ]


def test_a_late_condition_must_hold_for_its_delay_in_event_time():
    story = Story()
    late = {"stored": True, "log_ns": ns(9000), "log_seq": 1}
    story.tell(*(reading(at_s, "hr", 140, **late) for at_s in range(0, 60, 10)))
    assert story.rows("late_findings") == []
    story.tell(reading(60, "hr", 140, **late))
    ((ts, *_),) = story.rows("late_findings")
    assert ts == ns(0)


@pytest.mark.parametrize("count", [1, MAX_CHANGES, MAX_CHANGES + 7])
def test_what_was_valid_when_is_known_back_to_what_is_remembered(count):
    limits = Limits()
    for n in range(1, count + 1):
        limits.change(Change(ns(n * 10), n, "hr_high", "", Override(limit=100.0 + n)))
    oldest = max(0, count - MAX_CHANGES)
    for n in range(count + 1):
        assert limits.at(ns(n * 10 + 5)).version == max(n, oldest)
    assert limits.at(ns(0)).version == oldest
    assert limits.now.version == count
