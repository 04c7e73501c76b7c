"""The streaming glucose monitor: what is told when, daily rows, restarts."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.scores.glucose_monitor import GlucoseMonitor
from dataflows.scores.glucose_summary import DAY_NS
from tests.dataflows.scores import cgm
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


def series(values, minutes=5, start_ns=START_NS, device="cgm"):
    return [
        Reading("glucose", float(value), ts_ns=start_ns + at * minutes * MINUTE_NS, device=device)
        for at, value in enumerate(values)
    ]


def run(values, **rest):
    return feed(GlucoseMonitor(), series(values, **rest))


def test_below_54_is_told_at_the_first_reading_and_ends_after_fifteen_minutes_back():
    outcomes = run([90, 80, 53, 60, 60, 60, 60])
    (begun, ended) = findings(outcomes, "glucose_below_54")
    assert (begun.raised, begun.value, begun.sample_ns) == (True, 53, START_NS + 10 * MINUTE_NS)
    assert (ended.raised, ended.onset, ended.sample_ns) == (False, begun.onset, START_NS + 30 * MINUTE_NS)
    assert ("glucose_below_54", True) not in said(run([90, 80, 54, 54]))


def test_a_low_that_lasts_is_told_again_after_fifteen_minutes():
    (told,) = findings(run([53] * 5), "glucose_level_2_event")
    assert (told.value, (told.sample_ns - START_NS) // MINUTE_NS) == (53, 15)
    assert findings(run([53, 53, 53, 54, 54, 54]), "glucose_level_2_event") == []
    assert findings(run([53, 60, 60, 53, 53]), "glucose_level_2_event") == [], "not in a row"


def test_below_70_needs_fifteen_minutes():
    assert findings(run([69, 69, 69, 90]), "glucose_below_70") == []
    (begun,) = findings(run([69, 69, 69, 69]), "glucose_below_70")
    assert (begun.onset_ns, begun.sample_ns) == (START_NS, START_NS + 15 * MINUTE_NS)
    assert findings(run([70] * 10), "glucose_below_70") == []


def test_high_glucose():
    assert findings(run([251] * 4), "glucose_above_250")[0].raised
    assert findings(run([250] * 8), "glucose_above_250") == []
    assert findings(run([400]), "glucose_above_400")[0].value == 400
    assert findings(run([399]), "glucose_above_400") == []


def test_a_prolonged_low_is_told_after_two_hours_and_then_each_hour():
    told = findings(run([53] * 40), "glucose_hypo_prolonged")
    assert [((one.sample_ns - START_NS) // MINUTE_NS, one.value) for one in told] == [(120, 120), (180, 180)]
    assert findings(run([53] * 24), "glucose_hypo_prolonged") == []


def test_a_low_that_is_coming_is_told_before_it_comes():
    outcomes = run([110, 105, 100, 95, 88, 80, 71, 62, 53])
    (first, *_) = findings(outcomes, "glucose_predicted_low")
    begun = findings(outcomes, "glucose_below_54")[0]
    assert first.value <= 55
    assert (begun.sample_ns - first.sample_ns) // MINUTE_NS == 15
    assert first.details["arrow"] == "diagonal_down"
    assert findings(run([95, 90, 85, 80, 77, 75, 75, 75]), "glucose_predicted_low") == []


def test_fast_changes_have_hysteresis():
    outcomes = run([100, 117, 134, 151, 163, 175, 187, 195, 200, 203, 205])
    assert said(outcomes) == [("glucose_rising_fast", True), ("glucose_rising_fast", False)]
    assert findings(outcomes, "glucose_rising_fast")[0].value == 3.4
    assert said(run([100, 115, 130, 145])) == []


def test_limits_of_the_patient_hold():
    context = replace(CONTEXT, overrides={"glucose_below_54": 60, "glucose_below_70": 80})
    outcomes = feed(GlucoseMonitor(), series([59, 79, 79, 79]), context)
    assert {one.rule: one.limit for one in outcomes} == {"glucose_below_54": 60, "glucose_below_70": 80}


def test_two_devices_are_followed_each_by_itself():
    low, high = series([53] * 2), series([260, 265], start_ns=START_NS + MINUTE_NS, device="meter")
    outcomes = feed(GlucoseMonitor(), [low[0], high[0], low[1], high[1]])
    assert [(one.rule, one.device) for one in outcomes] == [("glucose_below_54", "cgm")]


def test_the_silence_of_a_sensor_ends_nothing():
    outcomes = feed(GlucoseMonitor(), [*series([53]), *series([100], start_ns=START_NS + 5 * HOUR_NS)])
    assert said(outcomes) == [("glucose_below_54", True)]


def test_what_came_later_counts_in_the_day_and_raises_nothing():
    stored = [replace(one, stored=True) for one in series([45] * 12)]
    outcomes = feed(GlucoseMonitor(), stored, until_ns=START_NS + 2 * DAY_NS)
    assert said(outcomes) == []
    assert json.loads(rows(outcomes)[0][7])["below_54_pct"] == 100.0


def test_the_figures_of_a_day_are_written_after_midnight_and_again_when_they_change():
    start_ns = 19_700 * DAY_NS
    day = series([100] * 288, start_ns=start_ns)
    outcomes = feed(GlucoseMonitor(), day, until_ns=start_ns + DAY_NS + HOUR_NS)
    written = [(row[4], row[0], row[5], row[6]) for row in rows(outcomes)]
    assert written == [("glucose_day", start_ns, 100.0, "complete"), ("glucose_14d", start_ns, 100.0, "partial")]
    late = replace(series([50], start_ns=start_ns + MINUTE_NS)[0], stored=True, log_ns=start_ns + 2 * DAY_NS)
    outcomes = feed(GlucoseMonitor(), [*day, late], until_ns=start_ns + 4 * DAY_NS)
    assert [row[0] for row in rows(outcomes) if row[4] == "glucose_day"] == [start_ns, start_ns]
    assert rows(outcomes)[-2][5] < 100


def test_fourteen_days_are_complete():
    start_ns = 19_700 * DAY_NS
    outcomes = feed(
        GlucoseMonitor(), series([100] * 96 * 15, minutes=15, start_ns=start_ns), until_ns=start_ns + 16 * DAY_NS
    )
    spans = [row[6] for row in rows(outcomes) if row[4] == "glucose_14d"]
    assert spans == ["partial"] * 9 + ["complete"] * 6


def test_other_codes_lead_to_nothing():
    monitor = GlucoseMonitor()
    assert feed(monitor, [Reading("hr", 30), Reading("glucose", float("nan"))]) == []
    assert monitor.deadline() is None


@st.composite
def stories(draw):
    at_ns, value, events = START_NS, 120.0, []
    for _ in range(draw(st.integers(1, 60))):
        at_ns += draw(st.sampled_from([5, 5, 5, 5, 1, 15, 60, 600])) * MINUTE_NS
        value = min(400.0, max(40.0, value + draw(st.floats(-30, 30))))
        late = draw(st.sampled_from([0, 0, 0, 10, 3000])) * MINUTE_NS
        events.append(
            Reading(
                "glucose",
                value,
                ts_ns=at_ns - late,
                log_ns=at_ns,
                stored=late > HOUR_NS,
                device=draw(st.sampled_from("ab")),
            )
        )
    return events


@settings(max_examples=60, deadline=None)
@given(stories(), st.sets(st.integers(0, 60)))
def test_restarts_change_nothing(events, cuts):
    until_ns = events[-1].log_ns + 3 * DAY_NS
    whole = feed(GlucoseMonitor(), events, until_ns=until_ns)
    assert split_feed(GlucoseMonitor, GlucoseMonitor.from_state, events, cuts=cuts, until_ns=until_ns) == whole


@settings(max_examples=60, deadline=None)
@given(stories())
def test_what_ends_has_begun(events):
    stands = {}
    for one in feed(GlucoseMonitor(), events):
        if hasattr(one, "rule"):
            key = (one.rule, one.device)
            assert one.raised or stands.get(key) == one.onset
            stands[key] = one.onset if one.raised else None


@pytest.mark.parametrize("name", cgm.SETS)
def test_on_recorded_sensors_each_low_is_told_at_its_first_reading(name):
    for _, found in list(cgm.recorded(cgm.folder(), name))[:6]:
        monitor = GlucoseMonitor()
        outcomes = feed(
            monitor, [Reading("glucose", float(value), ts_ns=ts_ns, device="cgm") for ts_ns, value in found]
        )
        begun = {one.onset: one.sample_ns for one in findings(outcomes, "glucose_below_54") if one.raised}
        lows = [ts_ns for ts_ns, value in found if value < 54]
        assert all(onset in lows for onset in begun)
        assert bool(begun) == bool(lows)
        assert len(msgspec.msgpack.encode(monitor.state())) < 3000
