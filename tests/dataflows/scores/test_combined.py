"""Findings of findings: two signals that move the wrong way, and NEWS2 beside one that does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.scores.combined import Combined
from dataflows.scores.episodes import Anchor, Episodes
from tests.dataflows.scores.feed import CONTEXT, MINUTE_NS, START_NS, reborn, replace, said

RULES = ["hr_trend", "hr_shift", "resp_rate_trend", "spo2_shift", "sbp_trend", "temp_shift", "news2_medium"]


class Others:
    """What the other scores say, one finding after the other."""

    def __init__(self):
        self._episodes, self._number = Episodes(), 0

    def tell(self, rule, holds, value=1.0):
        self._number += 1
        at_ns = START_NS + self._number * MINUTE_NS
        anchor = Anchor("monitor", 1, "numeric", self._number, at_ns, self._number, at_ns)
        return self._episodes.tell(rule, holds, anchor, value=value, limit=1, code=rule)


def run(story, context=CONTEXT, cuts=()):
    others, combined, found = Others(), Combined(), []
    for place, step in enumerate(story):
        if place in cuts:
            combined = reborn(combined, Combined.from_state)
        found += combined.on_outcomes(others.tell(*step), context)
    return found


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ([("hr_trend", True, 25.0)], []),
        ([("hr_trend", True, 25.0), ("hr_shift", True, 25.0)], []),
        ([("hr_trend", True, 25.0), ("spo2_shift", True, -4.0)], [("several_trends", True)]),
        ([("hr_trend", True, -25.0), ("spo2_shift", True, -4.0)], []),
        (
            [("hr_trend", True, 25.0), ("spo2_shift", True, -4.0), ("hr_trend", False, 3.0)],
            [("several_trends", True), ("several_trends", False)],
        ),
        ([("news2_medium", True, 6.0)], []),
        ([("news2_medium", True, 6.0), ("sbp_trend", True, -30.0)], [("news2_with_trend", True)]),
        (
            [("sbp_trend", True, -30.0), ("news2_medium", True, 6.0), ("news2_medium", False, 2.0)],
            [("news2_with_trend", True), ("news2_with_trend", False)],
        ),
    ],
)
def test_what_findings_say_together(story, expected):
    assert said(run(story)) == expected


def test_the_number_of_signals_is_the_patients():
    story = [("hr_trend", True, 25.0), ("spo2_shift", True, -4.0), ("temp_shift", True, 1.2)]
    context = replace(CONTEXT, overrides={"several_trends": 3})
    (found,) = run(story, context)
    assert (found.value, found.limit, found.details["signals"]) == (3, 3, ["hr", "spo2", "temp"])


STORIES = st.lists(
    st.tuples(st.sampled_from(RULES), st.booleans(), st.sampled_from([-30.0, 6.0, 30.0])), min_size=1, max_size=40
)


@given(STORIES, st.sets(st.integers(0, 40)))
def test_restarts_change_nothing(story, cuts):
    assert run(story, cuts=cuts) == run(story)


@given(STORIES)
def test_it_holds_exactly_while_the_parts_hold(story):
    others, combined = Others(), Combined()
    signs = {"spo2": -1, "sbp": -1}
    holding, stands = {}, {"several_trends": False, "news2_with_trend": False}
    for rule, holds, value in story:
        for one in combined.on_outcomes(others.tell(rule, holds, value), CONTEXT):
            stands[one.rule] = one.raised
        holding[rule] = value if holds else None
        moved = {
            rule.rsplit("_", 1)[0]
            for rule, value in holding.items()
            if rule != "news2_medium" and value is not None and value * signs.get(rule.rsplit("_", 1)[0], 1) > 0
        }
        assert stands["several_trends"] == (len(moved) >= 2)
        assert stands["news2_with_trend"] == (holding.get("news2_medium") is not None and bool(moved))
