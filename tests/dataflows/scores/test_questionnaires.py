"""Streaming questionnaires: triggers, own medians, combination with SpO2, answers that do not come."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.contracts.tables import TABLES
from dataflows.scores.questionnaires import Questionnaires
from tests.dataflows.scores.feed import (
    CONTEXT,
    HOUR_NS,
    MINUTE_NS,
    START_NS,
    Answers,
    Reading,
    feed,
    findings,
    replace,
    rows,
    said,
    split_feed,
)

DAY_NS = 24 * HOUR_NS


def one(instrument, value, at_ns=START_NS, **rest):
    return Answers(instrument, [("item_1", float(value))], ts_ns=at_ns, **rest)


def days(instrument, values, start_ns=START_NS):
    return [one(instrument, value, start_ns + at * DAY_NS) for at, value in enumerate(values)]


def phq(values, at_ns=START_NS, **rest):
    items = [(f"item_{at}", float(value)) for at, value in enumerate(values, 1) if value is not None]
    return Answers("phq_9", items, ts_ns=at_ns, **rest)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([0] * 8 + [1], True),
        ([0] * 9, False),
        ([3] * 6 + [1, 0, 0], False),
        ([None] * 8 + [2], True),
        ([0] * 8 + [None], False),
    ],
)
def test_any_thought_of_self_harm_is_told_whatever_the_total(values, told):
    assert (("phq_9_self_harm", True) in said(feed(Questionnaires(), [phq(values)]))) is told


def test_a_trigger_ends_with_an_answer_that_does_not_have_it_and_not_with_none():
    events = [
        phq([0] * 8 + [1]),
        phq([0] * 8 + [None], START_NS + DAY_NS),
        phq([0] * 9, START_NS + 2 * DAY_NS),
    ]
    (begun, ended) = findings(feed(Questionnaires(), events), "phq_9_self_harm")
    assert (begun.raised, ended.raised, ended.sample_ns) == (True, False, START_NS + 2 * DAY_NS)


@pytest.mark.parametrize(
    ("instrument", "values", "rules"),
    [
        ("pain_nrs", [7], {"pain_severe"}),
        ("pain_nrs", [6], set()),
        ("pain_nrs", [2, 2, 2, 5], {"pain_rise"}),
        ("pain_nrs", [2, 2, 2, 4], set()),
        ("pain_nrs", [2, 2, 5], set()),
        ("borg_cr10", [5], {"dyspnoea_severe"}),
        ("borg_cr10", [1, 1, 1, 3], {"dyspnoea_rise"}),
        ("borg_cr10", [1, 1, 1, 2.5], set()),
    ],
)
def test_limits_and_rises_over_the_own_median(instrument, values, rules):
    raised = {rule for rule, begun in said(feed(Questionnaires(), days(instrument, values))) if begun}
    assert raised == rules


def test_the_median_is_of_the_last_days_only():
    old, new = days("pain_nrs", [1, 1, 1]), days("pain_nrs", [4], START_NS + 20 * DAY_NS)
    assert "pain_rise" not in dict(said(feed(Questionnaires(), [*old, *new])))
    assert json.loads(rows(feed(Questionnaires(), [*old, *new]))[-1][7])["median"] is None


def spo2(values, start_ns=START_NS):
    return [Reading("spo2", float(value), ts_ns=start_ns + at * 10 * MINUTE_NS) for at, value in enumerate(values)]


def story(borg, now, answered_after_h=0):
    """Usual days, then a Borg answer of `borg` and SpO2 of `now` at the end of the fourth day."""
    end_ns = START_NS + 3 * DAY_NS
    usual = [*days("borg_cr10", [1, 1, 1]), *spo2([96] * 6 * 6, end_ns - 6 * HOUR_NS)]
    fall = spo2([now] * 4, end_ns)
    return sorted([*usual, one("borg_cr10", borg, end_ns + answered_after_h * HOUR_NS), *fall], key=lambda e: e.ts_ns)


@pytest.mark.parametrize(
    ("borg", "now", "told"), [(3, 93, True), (2.5, 93, False), (3, 94, False), (3, 96, False), (1, 88, False)]
)
def test_more_breathlessness_with_less_oxygen_is_told(borg, now, told):
    found = findings(feed(Questionnaires(), story(borg, now)), "dyspnoea_with_desaturation")
    assert bool(found) is told
    if told:
        assert found[0].details == {"borg_rise": 2.0, "spo2_fall": 3.0}


def test_the_answer_may_come_after_the_fall_and_an_old_one_does_not_count():
    assert findings(feed(Questionnaires(), story(3, 92, 0.7)), "dyspnoea_with_desaturation")
    late = [*story(3, 96), *spo2([90] * 3, START_NS + 3 * DAY_NS + 3 * HOUR_NS)]
    assert not findings(feed(Questionnaires(), late), "dyspnoea_with_desaturation")


def test_the_combination_ends_when_the_oxygen_is_back():
    back = spo2([96] * 6, START_NS + 3 * DAY_NS + 2 * HOUR_NS)
    found = findings(feed(Questionnaires(), [*story(3, 92), *back]), "dyspnoea_with_desaturation")
    assert [one.raised for one in found] == [True, False]


def test_an_answer_that_does_not_come_is_told_at_its_deadline_in_log_time():
    events = [one("pain_nrs", 2, log_ns=START_NS + MINUTE_NS)]
    outcomes = feed(Questionnaires(), events, until_ns=START_NS + 40 * HOUR_NS)
    (missed,) = findings(outcomes, "pain_nrs_missed")
    assert (missed.log_ns, missed.log_seq) == (START_NS + MINUTE_NS + 30 * HOUR_NS, 0)
    assert feed(Questionnaires(), events, until_ns=START_NS + MINUTE_NS + 30 * HOUR_NS - 1)[1:] == []


def test_a_late_answer_makes_it_good():
    events = [one("pain_nrs", 2), one("pain_nrs", 2, START_NS + 2 * DAY_NS)]
    assert said(feed(Questionnaires(), events)) == [("pain_nrs_missed", True), ("pain_nrs_missed", False)]


@pytest.mark.parametrize(("every_h", "told_after_h"), [(8, 10), (0, None)])
def test_how_often_an_answer_is_expected_is_the_patients(every_h, told_after_h):
    context = replace(CONTEXT, overrides={"pain_nrs_missed": every_h})
    outcomes = feed(Questionnaires(), [one("pain_nrs", 2)], context, until_ns=START_NS + 9 * DAY_NS)
    told = [(found.log_ns - START_NS) / HOUR_NS for found in findings(outcomes, "pain_nrs_missed")]
    assert told == ([] if told_after_h is None else [told_after_h])


def test_answers_that_were_uploaded_late_are_scored_and_page_nobody():
    outcomes = feed(Questionnaires(), [phq([3] * 9, stored=True)], until_ns=START_NS + 90 * DAY_NS)
    assert rows(outcomes)[0][5] == 27
    (recorded,) = [found for found in outcomes if hasattr(found, "rule")]
    assert (recorded.rule, recorded.stored) == ("phq_9_self_harm", True)


def test_rows_say_what_was_answered():
    outcomes = feed(Questionnaires(), [phq([1] * 7 + [9, None])])
    (row,) = rows(outcomes)
    parts = json.loads(row[7])
    assert (row[4], row[5], row[6]) == ("phq_9", 9.0, "prorated")
    assert (parts["missing"], parts["refused"], parts["band"]) == (["item_8", "item_9"], ["item_8=9"], "mild")
    assert len(row) == len(TABLES["scores"].columns)
    assert rows(feed(Questionnaires(), [phq([1] * 3)]))[0][5] is None


def test_an_unknown_instrument_leads_to_nothing():
    assert feed(Questionnaires(), [one("kccq_12", 1), Reading("hr", 80)]) == []


@st.composite
def stories(draw):
    at_ns, events = START_NS, []
    for _ in range(draw(st.integers(1, 40))):
        at_ns += draw(st.sampled_from([0, 10, 50, 600, 3000])) * MINUTE_NS
        kind = draw(st.sampled_from(["spo2", "spo2", "pain_nrs", "borg_cr10", "mmrc", "phq_9"]))
        late_ns = draw(st.sampled_from([0, 0, 0, 5])) * MINUTE_NS
        if kind == "spo2":
            events.append(Reading("spo2", float(draw(st.integers(86, 98))), ts_ns=at_ns - late_ns, log_ns=at_ns))
        elif kind == "phq_9":
            values = draw(st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=9, max_size=9))
            events.append(phq(values, at_ns - late_ns, log_ns=at_ns, stored=draw(st.booleans())))
        else:
            events.append(one(kind, draw(st.integers(0, 11)), at_ns - late_ns, log_ns=at_ns))
    return events


@settings(max_examples=80, deadline=None)
@given(stories(), st.sets(st.integers(0, 40)))
def test_restarts_change_nothing(events, cuts):
    until_ns = events[-1].log_ns + 30 * DAY_NS
    whole = feed(Questionnaires(), events, until_ns=until_ns)
    assert split_feed(Questionnaires, Questionnaires.from_state, events, cuts=cuts, until_ns=until_ns) == whole


@settings(max_examples=80, deadline=None)
@given(stories())
def test_what_ends_has_begun_and_what_is_missed_was_due(events):
    stands = {}
    for found in feed(Questionnaires(), events, until_ns=events[-1].log_ns + 30 * DAY_NS):
        if hasattr(found, "rule") and not found.stored:
            assert found.raised or stands.get(found.rule) == found.onset
            stands[found.rule] = found.onset if found.raised else None
