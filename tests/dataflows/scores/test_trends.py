"""Streaming trends: what is told when, baselines, restarts."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.contracts.tables import TABLES
from dataflows.scores.trends import Trends, load
from tests.dataflows.scores.feed import (
    CONTEXT,
    HOUR_NS,
    MINUTE_NS,
    START_NS,
    Reading,
    feed,
    findings,
    replace,
    rows,
    said,
    split_feed,
)


def minutes(code, values, start_ns=START_NS, noise=0.0):
    random = np.random.default_rng(3)
    return [
        Reading(code, float(value + random.normal(0, noise)), ts_ns=start_ns + at * MINUTE_NS)
        for at, value in enumerate(values)
    ]


def test_a_rise_of_heart_rate_is_told_with_slope_window_and_confidence():
    values = [*[70] * 60, *np.linspace(70, 100, 60), *[100] * 120]
    (begun, *grown, ended) = findings(feed(Trends(), minutes("hr", values, noise=1.5)), "hr_trend")
    assert begun.raised
    assert not ended.raised
    assert begun.value >= begun.limit == 20
    assert 60 < (begun.log_ns - START_NS) / MINUTE_NS < 120
    assert 20 <= begun.details["slope_per_h"] <= 32
    assert begun.details["slope_95"][0] > 0
    assert begun.details["window_min"] == 60
    assert begun.details["confidence"] > 0.95
    assert all(one.value >= begun.value + 5 for one in grown)


@pytest.mark.parametrize(
    ("code", "start", "end", "told"),
    [
        ("hr", 70, 89, False),
        ("hr", 70, 100, True),
        ("hr", 100, 70, True),
        ("resp_rate", 14, 24, True),
        ("spo2", 97, 91, True),
        ("spo2", 91, 97, False),
        ("spo2", 97, 95, False),
    ],
)
def test_only_changes_that_matter_in_the_direction_that_matters(code, start, end, told):
    values = [*[start] * 60, *np.linspace(start, end, 60)]
    assert bool(findings(feed(Trends(), minutes(code, values)), f"{code}_trend")) is told


def test_blood_pressure_and_temperature_are_followed_over_hours():
    falls = [Reading("sbp", 130 - 3.0 * at, ts_ns=START_NS + at * 15 * MINUTE_NS) for at in range(16)]
    fever = [Reading("temp", 36.8 + 0.1 * at, ts_ns=START_NS + at * 15 * MINUTE_NS) for at in range(16)]
    outcomes = feed(Trends(), sorted([*falls, *fever], key=lambda one: one.ts_ns))
    assert {rule for rule, raised in said(outcomes) if raised} == {"sbp_trend", "temp_trend"}


def test_a_level_away_from_the_usual_is_told_and_the_baseline_stays():
    values = [*[70] * 12 * 60, *[95] * 6 * 60]
    outcomes = feed(Trends(), minutes("hr", values, noise=2))
    (begun, *_) = [one for one in findings(outcomes, "hr_shift") if one.raised]
    assert begun.details["baseline"] == pytest.approx(70, abs=1)
    assert begun.value >= 20
    assert (begun.log_ns - START_NS) / MINUTE_NS - 12 * 60 < 90
    assert rows(outcomes, "trends")[-1][5] == pytest.approx(70, abs=1), "not learnt while in alarm"
    assert not [one for one in findings(outcomes, "hr_shift") if not one.raised]


def test_a_day_of_usual_circadian_variation_is_quiet():
    at = np.arange(36 * 60)
    values = 72 + 8 * np.sin(at / (24 * 60) * 2 * np.pi)
    assert said(feed(Trends(), minutes("hr", values, noise=3))) == []


def test_an_alarm_of_the_signal_freezes_its_baseline():
    values = [*[70] * 12 * 60, *[85] * 18 * 60]
    learnt = rows(feed(Trends(), minutes("hr", values)), "trends")[-1][5]
    frozen = rows(
        feed(Trends(), minutes("hr", values), replace(CONTEXT, standing=frozenset({"tachycardia"}))), "trends"
    )
    assert learnt > 70
    assert frozen[-1][5] is None, "all of it was in alarm"


def test_the_patients_limit_holds():
    values = [*[70] * 60, *np.linspace(70, 85, 60)]
    context = replace(CONTEXT, overrides={"hr_trend": 10})
    assert findings(feed(Trends(), minutes("hr", values), context), "hr_trend")[0].limit == 10
    assert findings(feed(Trends(), minutes("hr", values)), "hr_trend") == []


def test_silence_ends_nothing_and_restarts_the_charts():
    rising = minutes("hr", [*[70] * 60, *np.linspace(70, 110, 60)])
    later = minutes("hr", [70] * 5, start_ns=START_NS + 5 * HOUR_NS)
    assert said(feed(Trends(), [*rising, *later])) == [("hr_trend", True)] * len(
        findings(feed(Trends(), rising), "hr_trend")
    )


def test_rows_have_the_columns_of_their_table():
    for row in rows(feed(Trends(), minutes("hr", [70] * 60)), "trends"):
        assert len(row) == len(TABLES["trends"].columns)


@pytest.mark.parametrize("change", [{"stored": True}, {"status": 1}, {"value": float("nan")}, {"code": "weight"}])
def test_what_a_live_trend_may_not_rest_on(change):
    events = [replace(one, **change) for one in minutes("hr", np.linspace(60, 150, 60))]
    assert feed(Trends(), events) == []


@st.composite
def stories(draw):
    at_ns, level, events = START_NS, {"hr": 70.0, "spo2": 97.0, "temp": 37.0}, []
    for _ in range(draw(st.integers(1, 80))):
        at_ns += draw(st.sampled_from([1, 2, 5, 5, 5, 15, 90])) * MINUTE_NS
        code = draw(st.sampled_from(sorted(level)))
        level[code] += draw(st.floats(-4, 4))
        events.append(
            Reading(code, level[code], ts_ns=at_ns - draw(st.sampled_from([0, 0, 6])) * MINUTE_NS, log_ns=at_ns)
        )
    return events


@settings(max_examples=80, deadline=None)
@given(stories(), st.sets(st.integers(0, 80)))
def test_restarts_change_nothing(events, cuts):
    assert split_feed(Trends, Trends.from_state, events, cuts=cuts) == feed(Trends(), events)


def test_the_state_is_small():
    trends = Trends()
    random = np.random.default_rng(4)
    feed(
        trends,
        [
            Reading(one.code, float(random.normal(80, 3)), ts_ns=START_NS + at * MINUTE_NS)
            for at in range(40 * 60)
            for one in load()
        ],
    )
    assert len(msgspec.msgpack.encode(trends.state())) < 6 * 1024
