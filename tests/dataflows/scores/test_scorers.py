"""All scores of a patient together: nothing is lost by dropping readings early, restarts, size."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.scores.combined import NEWS2_RULE, SEVERAL_RULE
from dataflows.scores.early_warning import EarlyWarning
from dataflows.scores.glucose_monitor import GlucoseMonitor
from dataflows.scores.questionnaires import Questionnaires
from dataflows.scores.scorers import Scores, rule_names
from dataflows.scores.table import load
from dataflows.scores.trends import Trends
from tests.dataflows.scores.feed import (
    HOUR_NS,
    SECOND_NS,
    START_NS,
    Answers,
    Reading,
    feed,
    split_feed,
)

USUAL = {"hr": 70, "pulse_rate": 71, "spo2": 97, "resp_rate": 15, "sbp": 120, "temp": 37, "glucose": 100, "o2_flow": 0}


@st.composite
def stories(draw):
    at_ns, level, events = START_NS, {code: float(value) for code, value in USUAL.items()}, []
    for _ in range(draw(st.integers(1, 60))):
        at_ns += draw(st.sampled_from([1, 1, 1, 5, 20, 60, 400, 7200])) * SECOND_NS
        if draw(st.integers(0, 9)) == 0:
            events.append(Answers("borg_cr10", [("item_1", float(draw(st.integers(0, 8))))], ts_ns=at_ns))
            continue
        code = draw(st.sampled_from(sorted(level)))
        level[code] = max(0.0, level[code] + draw(st.floats(-9, 9)))
        late_ns = draw(st.sampled_from([0, 0, 0, 40])) * SECOND_NS
        status = draw(st.sampled_from([0, 0, 0, 0, 1]))
        events.append(Reading(code, level[code], ts_ns=at_ns - late_ns, log_ns=at_ns, status=status))
    return events


@settings(max_examples=40, deadline=None)
@given(stories())
def test_a_restored_state_is_the_same_bytes(events):
    scores = Scores()
    feed(scores, events)
    state = msgspec.msgpack.encode(scores.state())
    assert msgspec.msgpack.encode(Scores.from_state(msgspec.msgpack.decode(state)).state()) == state


@settings(max_examples=40, deadline=None)
@given(stories())
def test_what_they_say_has_a_known_rule(events):
    told = {one.rule for one in feed(Scores(), events) if hasattr(one, "rule")}
    assert told <= rule_names()


@settings(max_examples=40, deadline=None)
@given(stories())
def test_together_they_say_what_each_says_alone(events):
    until_ns = events[-1].log_ns + 40 * HOUR_NS
    alone = [EarlyWarning(load("news2")), EarlyWarning(load("mews")), Trends(), GlucoseMonitor(), Questionnaires()]
    apart = [repr(one) for scorer in alone for one in feed(scorer, events, until_ns=until_ns)]
    together = feed(Scores(), events, until_ns=until_ns)
    added = [one for one in together if getattr(one, "rule", "") in (SEVERAL_RULE, NEWS2_RULE)]
    assert sorted(apart) == sorted(repr(one) for one in together if one not in added)


@settings(max_examples=40, deadline=None)
@given(stories(), st.sets(st.integers(0, 60)))
def test_restarts_change_nothing(events, cuts):
    until_ns = events[-1].log_ns + 40 * HOUR_NS
    whole = feed(Scores(), events, until_ns=until_ns)
    assert split_feed(Scores, Scores.from_state, events, cuts=cuts, until_ns=until_ns) == whole


def test_a_score_that_an_older_program_did_not_have_begins_anew():
    state = Scores().state()
    del state["glucose"]
    assert Scores.from_state(state).deadline() is None


def test_a_state_that_is_none_is_refused():
    with pytest.raises(ValueError, match="early-warning table"):
        EarlyWarning.from_state(["pews", EarlyWarning(load("news2")).state()[1]])
    with pytest.raises(ValueError, match="Expected"):
        Scores.from_state({**Scores().state(), "trends": 7})
