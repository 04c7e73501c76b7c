"""What becomes of a finding: states, timers, people's answers."""

import msgspec
import pytest

from dataflows.monitor.judge import Judge
from tests.dataflows.alerts.story import Story, command, finding, reading


def asystole(at_s, **changes):
    return finding(at_s, "asystole", **changes)


def test_nobody_answers_so_the_alert_goes_up_level_by_level_and_stays_there():
    story = Story()
    assert story.events(asystole(0), until_s=1000) == [
        (0, "asystole", "raised", "active"),
        (60, "asystole", "escalated", "escalated"),
        (120, "asystole", "escalated", "escalated"),
    ]
    assert [(alert.level, alert.notify) for alert in story.alerts] == [(1, True), (2, True), (3, True)]
    assert [alert.transition for alert in story.alerts] == [0, 1, 2]
    # A deadline is stamped with its own time and the message that armed it.
    assert {alert.log_seq for alert in story.alerts} == {story.alerts[0].log_seq}


def test_an_acknowledgement_ends_escalation_and_the_end_of_the_condition_clears():
    story = Story()
    assert story.events(
        asystole(0), command(10, "ack", rule="asystole"), asystole(300, raised=False), until_s=4000
    ) == [
        (0, "asystole", "raised", "active"),
        (10, "asystole", "acknowledged", "acknowledged"),
        (300, "asystole", "cleared", "cleared"),
    ]
    assert [alert.actor for alert in story.alerts] == ["", "nurse", ""]
    assert [alert.notify for alert in story.alerts] == [True, False, False]
    assert [row[7] for row in story.rows("commands")] == ["done"]


def test_a_latching_alert_waits_for_somebody_to_look():
    story = Story()
    said = story.events(asystole(0), asystole(5, raised=False), command(70, "ack"))
    assert said == [
        (0, "asystole", "raised", "active"),
        (5, "asystole", "ended", "active"),
        (60, "asystole", "escalated", "escalated"),
        (70, "asystole", "cleared", "cleared"),
    ]
    assert [alert.condition for alert in story.alerts] == [True, False, False, False]
    assert story.alerts[-1].reason == "acknowledged"


def test_a_latched_alert_that_comes_back_pages_no_second_time_and_escalates_on_time():
    story = Story()
    said = story.events(asystole(0), asystole(5, raised=False), asystole(50), until_s=70)
    assert said[2:] == [(50, "asystole", "recurred", "active"), (60, "asystole", "escalated", "escalated")]
    assert [alert.notify for alert in story.alerts] == [True, False, False, True]


def test_a_latched_alert_that_nobody_looks_at_clears_by_itself_in_the_end():
    story = Story()
    said = story.events(asystole(0), asystole(5, raised=False), until_s=100_000)
    assert said[-1] == (86_405, "asystole", "cleared", "cleared")
    assert story.alerts[-1].reason == "timeout"


def test_a_snooze_holds_until_its_end_and_then_the_alert_is_back():
    story = Story()
    story.events(finding(0), command(10, "snooze", rule="pause", for_s=600))
    assert story.events(until_s=609) == []
    assert story.events(until_s=920) == [
        (610, "pause", "snooze_ended", "active"),
        (910, "pause", "escalated", "escalated"),
    ]
    assert story.alerts[1].until_ns == story.alerts[2].log_ns
    assert [alert.notify for alert in story.alerts] == [True, False, True, True]


def test_a_snooze_ends_with_its_condition():
    story = Story()
    said = story.events(finding(0), command(10, "snooze", for_s=600), finding(20, raised=False), until_s=2000)
    assert said[-1] == (20, "pause", "cleared", "cleared")


@pytest.mark.parametrize("answer", [("ack", {}), ("snooze", {"for_s": 100})])
def test_what_gets_worse_is_told_again_whatever_was_answered(answer):
    story = Story()
    name, argument = answer
    story.events(finding(0, "tachycardia", value=125.0), command(5, name, **argument))
    assert story.events(finding(10, "tachycardia", value=144.0)) == []
    assert story.events(finding(11, "tachycardia", value=145.0)) == [(11, "tachycardia", "worsened", "active")]
    assert story.alerts[-1].notify
    assert story.alerts[-1].repeats == 2
    assert story.events(finding(12, "tachycardia", value=146.0)) == []


def test_worsening_does_not_postpone_the_escalation():
    story = Story()
    said = story.events(finding(0, "tachycardia", value=125), finding(290, "tachycardia", value=150), until_s=301)
    assert said[1:] == [(290, "tachycardia", "worsened", "active"), (300, "tachycardia", "escalated", "escalated")]


def test_the_severe_level_changes_the_priority_up_and_down_with_hysteresis():
    story = Story()
    values = [(0, 131), (60, 131), (70, 151), (80, 149), (90, 144), (100, 151), (110, 124)]
    said = story.events(*(reading(at_s, "hr", value) for at_s, value in values))
    assert said == [
        (60, "hr_high", "raised", "active"),
        (70, "hr_high", "worsened", "active"),
        (90, "hr_high", "downgraded", "active"),
        (100, "hr_high", "worsened", "active"),
        (110, "hr_high", "cleared", "cleared"),
    ]
    assert [alert.priority.value for alert in story.alerts] == ["medium", "high", "medium", "high", "high"]


def test_a_handover_asks_the_next_person():
    story = Story()
    said = story.events(
        asystole(0), command(10, "ack"), command(20, "handover", to="night team"), command(30, "handover", to="bob"),
        until_s=91,
    )  # fmt: skip
    assert said[2:] == [
        (20, "asystole", "handed_over", "active"),
        (30, "asystole", "handed_over", "active"),
        (90, "asystole", "escalated", "escalated"),
    ]
    assert [alert.responsible for alert in story.alerts] == ["", "", "night team", "bob", "bob"]


def test_a_silence_holds_new_and_standing_alerts_back_until_it_ends():
    story = Story()
    said = story.events(
        finding(0), command(10, "silence", for_s=60), finding(20, "asystole", device="other"), until_s=70
    )
    assert said == [
        (0, "pause", "raised", "active"),
        (10, "pause", "snoozed", "snoozed"),
        (20, "asystole", "raised", "snoozed"),
        (70, "asystole", "snooze_ended", "active"),
        (70, "pause", "snooze_ended", "active"),
    ]
    assert [alert.notify for alert in story.alerts] == [True, False, False, True, True]


def test_a_technical_silence_leaves_the_patient_audible_and_can_be_ended():
    story = Story()
    technical = {"rule": "silence", "value": 30.0, "limit": 30.0}
    said = story.events(
        command(0, "silence", for_s=3600, kind="technical"), finding(1, **technical), finding(2),
        command(3, "silence", for_s=0),
    )  # fmt: skip
    assert said == [
        (1, "silence", "raised", "snoozed"),
        (2, "pause", "raised", "active"),
        (3, "silence", "snooze_ended", "active"),
    ]


def test_a_discharge_clears_everything_and_nothing_is_raised_until_an_admission():
    story = Story()
    said = story.events(
        finding(0), command(10, "discharge"), finding(20, "asystole"), reading(21, "sbp", 60), command(30, "admit"),
        finding(40, "asystole"),
    )  # fmt: skip
    assert said == [
        (0, "pause", "raised", "active"),
        (10, "pause", "cleared", "cleared"),
        (40, "asystole", "raised", "active"),
    ]
    assert story.alerts[1].reason == "discharged"
    assert [(row[7], row[8]) for row in story.rows("suppressed")] == [("asystole", "discharged")]


def test_a_note_stands_in_the_alert():
    story = Story()
    story.events(finding(0), command(5, "note", text="seen, electrode loose"))
    story.events(command(6, "note", text="on the alert", alert=story.alerts[0].alert_id))
    assert [(alert.event.value, alert.reason, alert.notify) for alert in story.alerts[1:]] == [
        ("noted", "on the alert", False)
    ]
    assert len(story.rows("commands")) == 2


def state_but_for_commands(judge):
    """What a judge remembers beside the keys of commands."""
    lifecycle, limits, _, *rest = msgspec.msgpack.decode(judge.snapshot()[2:])
    return lifecycle, limits, rest


def test_deliveries_make_nobody_forget_what_was_answered():
    story = Story()
    story.tell(finding(0), command(5, "snooze", key="k1", for_s=60))
    alert = story.alerts[0].alert_id
    for number in range(100):
        story.tell(command(6, "delivered", key=f"d{number}", alert=alert, transition=0, target="ward"))
    story.tell(until_s=66)
    assert story.events(command(70, "snooze", key="k1", for_s=60)) == []
    assert story.rows("commands")[-1][7] == "repeated"


def test_a_refused_answer_may_be_tried_again_under_its_key():
    story = Story()
    story.tell(command(0, "ack", key="k1", rule="pause"), finding(5), command(6, "ack", key="k1", rule="pause"))
    assert [row[7] for row in story.rows("commands")] == ["refused", "done"]


def test_a_repeated_key_has_no_second_effect():
    story = Story()
    story.events(finding(0), command(5, "snooze", key="k1", for_s=60), until_s=66)
    assert story.events(command(70, "snooze", key="k1", for_s=60)) == []
    assert [row[7] for row in story.rows("commands")] == ["done", "repeated"]


@pytest.mark.parametrize(
    ("name", "argument", "reason"),
    [
        ("ack", {"rule": "asystole"}, "no such alert stands"),
        ("ack", {"rules": "pause"}, "unknown field `rules`"),
        ("snooze", {"for_s": 1801}, "at most 1800"),
        ("snooze", {}, "missing required field `for_s`"),
        ("silence", {"for_s": 121}, "between 0 and 120"),
        ("handover", {"to": ""}, "1 to 128 characters"),
        ("threshold", {"rule": "hr_higher", "limit": 100}, "no rule hr_higher"),
        ("threshold", {"rule": "hr_high", "limit": 10}, "between 60 and 250"),
        ("threshold", {"rule": "hr_high", "limit": 120, "clear": 121}, "at or below the limit 120"),
        ("threshold", {"rule": "hr_low", "limit": 50, "clear": 49}, "at or above the limit 50"),
        ("threshold", {"rule": "hr_high", "limit": 120, "delay_s": -1}, "delay_s must be between"),
        ("threshold", {"rule": "hr_high", "limit": "high"}, "Expected `float`"),
        ("profile", {"profile": "child"}, "there are adult, copd, home, post_op"),
        ("threshold", {"rule": "news2_high", "limit": 21}, "between 5 and 20"),
        ("threshold", {"rule": "news2_high", "limit": 8, "clear": 6}, "a score has a limit alone"),
        ("spo2_scale", {}, "missing required field `scale`"),
        ("spo2_scale", {"scale": 3, "reason": "x"}, "Invalid enum value 3"),
        ("spo2_scale", {"scale": 2}, "scale 2 needs a `reason`"),
        ("spo2_scale", {"scale": 2, "reason": " "}, "scale 2 needs a `reason`"),
        ("spo2_scale", {"scale": 2, "reason": "x" * 501}, "length <= 500"),
        ("remove", {}, "missing required field `device`"),
        ("remove", {"device": ""}, "1 to 64 characters"),
        ("discharge", {"bed": 4}, "unknown field `bed`"),
        ("resuscitate", {}, "there is no command resuscitate"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words_and_changes_nothing(name, argument, reason):
    story, calm = Story(), Story()
    story.tell(finding(0), command(5, name, **argument))
    calm.tell(finding(0))
    assert state_but_for_commands(story.judge) == state_but_for_commands(calm.judge)
    ((*_, result, why, _),) = story.rows("commands")
    assert result == "refused"
    assert reason in why


def test_a_poor_signal_holds_back_what_it_says_of_the_patient_until_it_is_good_again():
    story = Story()
    poor = {"rule": "poor_quality", "value": 0.2, "limit": 0.5}
    said = story.events(
        finding(0, **poor), finding(1), finding(2, signal="ecg_v5", device="other"), finding(3, raised=False),
        finding(4, "bradycardia"), finding(9, raised=False, **poor),
    )  # fmt: skip
    assert said == [
        (0, "poor_quality", "raised", "active"),
        (2, "pause", "raised", "active"),
        (9, "poor_quality", "cleared", "cleared"),
        (9, "bradycardia", "raised", "active"),
    ]
    assert [(row[7], row[8]) for row in story.rows("suppressed")] == [("pause", "quality")]


def test_poor_quality_alone_hides_no_lethal_arrhythmia_and_another_lead_takes_over():
    story = Story()
    poor = {"rule": "lead_off", "value": 1.0, "limit": 1.0}
    said = story.events(
        finding(0, **{**poor, "rule": "poor_quality"}), finding(1, "asystole"),
        finding(2, **poor), finding(3, "extreme_bradycardia"), finding(4, "extreme_bradycardia", signal="ecg_v5"),
    )  # fmt: skip
    assert [one[:3] for one in said] == [
        (0, "poor_quality", "raised"),
        (1, "asystole", "raised"),
        (2, "lead_off", "raised"),
        (4, "extreme_bradycardia", "raised"),
    ]


def test_a_delivery_that_is_not_confirmed_escalates_early(with_delivery):
    late, confirmed = Story(Judge(with_delivery, {})), Story(Judge(with_delivery, {}))
    assert late.events(asystole(0), until_s=25)[1:] == [(20, "asystole", "escalated", "escalated")]
    assert late.alerts[-1].reason == "undelivered"
    confirmed.tell(asystole(0))
    alert = confirmed.alerts[0].alert_id
    said = confirmed.events(command(5, "delivered", alert=alert, transition=0, target="phone"), until_s=61)
    assert said == [(5, "asystole", "delivered", "active"), (60, "asystole", "escalated", "escalated")]
    assert confirmed.alerts[-1].reason == "unacknowledged"


def test_too_many_places_forget_what_is_over_first():
    story = Story()
    story.events(finding(0, device="old"), finding(1, raised=False, device="old"))
    story.events(*(finding(10 + n, device=f"d{n}") for n in range(40)))
    assert "old" not in story.judge.snapshot().decode(errors="replace")
    cleared = [alert for alert in story.alerts if alert.reason == "too_many"]
    assert [alert.device for alert in cleared] == [f"d{n}" for n in range(8)]
