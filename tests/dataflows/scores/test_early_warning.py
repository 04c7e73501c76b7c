"""The streaming score: medians, ages, partial scores, alerts, restarts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.contracts.tables import TABLES
from dataflows.scores.early_warning import EarlyWarning
from dataflows.scores.table import load
from tests.dataflows.scores.feed import (
    CONTEXT,
    HOUR_NS,
    MINUTE_NS,
    SECOND_NS,
    START_NS,
    Reading,
    feed,
    findings,
    replace,
    rows,
    said,
    split_feed,
)

WELL = {"resp_rate": 16, "spo2": 97, "o2_flow": 0, "sbp": 120, "hr": 70, "consciousness": 0, "temp": 37.0}
COPD = replace(CONTEXT, spo2_scale=2)


def news2():
    return EarlyWarning(load("news2"))


def round_of(at_ns=START_NS, **changed):
    return [Reading(code, value, ts_ns=at_ns) for code, value in (WELL | changed).items()]


def test_a_round_of_observations_is_judged_as_one():
    (row,) = rows(feed(news2(), round_of(hr=95)))
    parts = json.loads(row[7])
    assert (row[0], row[5], row[6]) == (START_NS + 1, 1.0, "complete")
    assert (parts["points"]["pulse"], parts["missing"], parts["stale"]) == (1, [], [])
    # One gets better while another gets worse: the patient was never in both.
    crossing = [*round_of(hr=135, resp_rate=16), *round_of(START_NS + HOUR_NS, hr=70, resp_rate=26, spo2=93)]
    assert ("news2_medium", True) in said(feed(news2(), crossing))
    assert [row[5] for row in rows(feed(news2(), crossing))] == [3.0, 0.0, 5.0]


def test_a_way_of_single_readings_is_partial():
    apart = [replace(one, ts_ns=START_NS + at * SECOND_NS) for at, one in enumerate(round_of())]
    found = rows(feed(news2(), apart))
    assert [row[6] for row in found] == ["partial"] * 6 + ["complete"]
    assert json.loads(found[0][7])["missing"] == ["spo2", "oxygen", "sbp", "pulse", "consciousness", "temp"]


def test_rows_have_the_columns_of_their_table():
    for row in rows(feed(news2(), round_of())):
        assert len(row) == len(TABLES["scores"].columns)


def test_a_row_is_written_only_when_the_score_changes():
    again = round_of(START_NS + MINUTE_NS) + round_of(START_NS + 2 * MINUTE_NS, temp=37.4)
    assert len(rows(feed(news2(), round_of() + again))) == 1


def test_an_old_parameter_becomes_stale_and_is_not_scored_as_zero():
    outcomes = feed(news2(), round_of(), until_ns=START_NS + 10 * MINUTE_NS)
    row = rows(outcomes)[-1]
    details = json.loads(row[7])
    assert row[0] == START_NS + 10 * MINUTE_NS
    assert (row[6], details["stale"], details["missing"]) == ("partial", ["resp_rate", "spo2", "pulse"], [])
    assert "pulse" not in details["points"]
    early = feed(news2(), round_of(), until_ns=START_NS + 10 * MINUTE_NS - 1)
    assert rows(early)[-1][6] == "complete"


def test_a_silent_sensor_ends_no_alert():
    scorer = news2()
    assert said(feed(scorer, round_of(resp_rate=26, spo2=90, hr=135)))[-1] == ("news2_high", True)
    assert said(feed(scorer, [], until_ns=START_NS + HOUR_NS)) == []
    late = [replace(one, ts_ns=START_NS + HOUR_NS) for one in round_of() if one.code != "hr"]
    assert ("news2_high", False) in said(feed(scorer, late))
    # The pulse of 135 is stale, not gone.
    assert said(feed(scorer, [Reading("hr", 70, ts_ns=START_NS + HOUR_NS)])) == [("news2_single_3", False)]


def test_a_partial_total_raises():
    assert said(feed(news2(), [Reading("resp_rate", 26), Reading("spo2", 93)])) == [
        ("news2_single_3", True),
        ("news2_medium", True),
    ]


@pytest.mark.parametrize(
    ("changed", "rules"),
    [
        ({"hr": 115, "resp_rate": 22}, set()),
        ({"hr": 115, "resp_rate": 22, "temp": 38.5}, {"news2_medium"}),
        ({"hr": 115, "resp_rate": 22, "o2_flow": 2}, {"news2_medium"}),
        ({"hr": 115, "resp_rate": 22, "o2_flow": 2, "temp": 38.5}, {"news2_medium", "news2_high"}),
        ({"sbp": 90}, {"news2_single_3"}),
        ({"sbp": 91}, set()),
    ],
)
def test_alerts_at_the_limits(changed, rules):
    assert {rule for rule, raised in said(feed(news2(), round_of(**changed))) if raised} == rules


def test_a_limit_of_the_patient_replaces_the_tables():
    context = replace(CONTEXT, overrides={"news2_medium": 6})
    outcomes = feed(news2(), round_of(hr=115, resp_rate=22, temp=38.5), context)
    assert said(outcomes) == []
    outcomes = feed(news2(), round_of(hr=115, resp_rate=22, temp=39.5), context)
    assert [one.limit for one in findings(outcomes, "news2_medium")] == [6]


def test_a_rise_of_two_over_the_last_hours_is_told_and_ends_when_it_is_the_usual():
    events = round_of() + round_of(START_NS + HOUR_NS, hr=95)
    assert ("news2_rise", True) not in said(feed(news2(), events))
    events += round_of(START_NS + 2 * HOUR_NS, hr=115)
    assert said(feed(news2(), events)) == [("news2_rise", True)]
    events += [one for hour in range(3, 9) for one in round_of(START_NS + hour * HOUR_NS, hr=115)]
    outcomes = feed(news2(), events)
    assert said(outcomes) == [("news2_rise", True), ("news2_rise", False)]
    assert findings(outcomes, "news2_rise")[0].value == 2


def test_a_new_kind_of_measurement_is_no_rise():
    events = [Reading("hr", 70), *round_of(START_NS + HOUR_NS, temp=34.0)]
    assert ("news2_rise", True) not in said(feed(news2(), events))


def test_one_outlier_of_a_continuous_signal_changes_nothing():
    at_rest = [Reading("hr", 70, ts_ns=START_NS + at * SECOND_NS) for at in range(600)]
    at_rest[450] = replace(at_rest[450], value=180)
    outcomes = feed(news2(), at_rest)
    assert len(rows(outcomes)) == 1
    fast = [replace(one, value=135) if at >= 300 else one for at, one in enumerate(at_rest)]
    raised = findings(feed(news2(), fast), "news2_single_3")
    assert 140 <= (raised[0].sample_ns - START_NS) / SECOND_NS - 300 <= 180, "half of the median's five minutes"


def test_on_scale_2_a_saturation_of_90_has_no_points():
    readings = round_of(spo2=90)
    assert rows(feed(news2(), readings))[-1][5] == 3
    assert rows(feed(news2(), readings, COPD))[-1][5] == 0
    assert json.loads(rows(feed(news2(), readings, COPD))[-1][7])["spo2_scale"] == 2
    assert rows(feed(news2(), round_of(spo2=97, o2_flow=2), COPD))[-1][5] == 5


@pytest.mark.parametrize(("code", "value", "points"), [("fio2", 21, 0), ("fio2", 24, 2), ("o2_flow", 0.5, 2)])
def test_oxygen_is_read_from_flow_or_fraction(code, value, points):
    readings = [*round_of(), Reading(code, value, ts_ns=START_NS + SECOND_NS)]
    assert rows(feed(news2(), readings))[-1][5] == points


def test_pulse_comes_from_the_heart_rate_while_that_is_fresh():
    readings = [*round_of(), Reading("pulse_rate", 140, ts_ns=START_NS + SECOND_NS)]
    assert rows(feed(news2(), readings))[-1][5] == 0
    readings.append(Reading("pulse_rate", 140, ts_ns=START_NS + 9 * MINUTE_NS))
    assert rows(feed(news2(), readings, until_ns=START_NS + 10 * MINUTE_NS))[-1][5] == 3


@pytest.mark.parametrize("change", [{"stored": True}, {"status": 1}, {"status": 2}, {"value": float("nan")}])
def test_what_a_live_score_may_not_rest_on(change):
    assert feed(news2(), [replace(Reading("spo2", 80), **change)]) == []


def test_a_reading_that_is_too_old_when_it_comes_is_left_out():
    assert feed(news2(), [Reading("spo2", 80, log_ns=START_NS + 600 * SECOND_NS)]) == []
    assert feed(news2(), [Reading("spo2", 80, log_ns=START_NS + 599 * SECOND_NS)]) != []


def test_a_clock_that_is_ahead_makes_no_reading_younger():
    outcomes = feed(
        news2(), [Reading("spo2", 80, ts_ns=START_NS + HOUR_NS, log_ns=START_NS)], until_ns=START_NS + HOUR_NS
    )
    assert rows(outcomes)[-1][0] == START_NS + 600 * SECOND_NS


def test_mews_runs_through_the_same_code():
    readings = round_of(hr=115, resp_rate=22, sbp=95)
    outcomes = feed(EarlyWarning(load("mews")), readings)
    assert rows(outcomes)[-1][4:7] == ("mews", 5.0, "complete")
    assert said(outcomes) == [("mews_high", True)]


@st.composite
def stories(draw):
    at_ns, events = START_NS, []
    for _ in range(draw(st.integers(1, 40))):
        at_ns += draw(st.integers(0, 900)) * SECOND_NS
        code = draw(st.sampled_from([*WELL, "pulse_rate", "fio2"]))
        usual = {**WELL, "pulse_rate": 70, "fio2": 21}[code]
        value = draw(st.one_of(st.just(usual), st.floats(0, 1.4).map(lambda part, usual=usual: usual * part + part)))
        late = draw(st.sampled_from([0, 0, 1, 30, 700])) * SECOND_NS
        events.append(Reading(code, value, ts_ns=at_ns - late, log_ns=at_ns))
    return events


@settings(max_examples=60, deadline=None)
@given(stories(), st.sets(st.integers(0, 40)))
def test_restarts_change_nothing(events, cuts):
    until_ns = events[-1].log_ns + 15 * HOUR_NS
    whole = feed(news2(), events, until_ns=until_ns)
    cut = split_feed(news2, EarlyWarning.from_state, events, cuts=cuts, until_ns=until_ns)
    assert cut == whole


@settings(max_examples=60, deadline=None)
@given(stories())
def test_the_story_is_sound(events):
    outcomes = feed(news2(), events, until_ns=events[-1].log_ns + 15 * HOUR_NS)
    stands = {}
    for rule, raised in said(outcomes):
        assert raised or stands.get(rule), "what ends has begun"
        stands[rule] = raised
    for row in rows(outcomes):
        details = json.loads(row[7])
        assert row[5] == sum(details["points"].values())
        assert set(details["points"]) | set(details["missing"]) | set(details["stale"]) == {
            one.name for one in load("news2").parameters
        }
        assert (row[6] == "complete") == (not details["missing"] and not details["stale"])
    if rows(outcomes):
        assert json.loads(rows(outcomes)[-1][7])["points"] == {}, "at the end everything is too old"


def test_the_state_is_small():
    scorer = news2()
    events = [
        Reading(code, WELL[code], ts_ns=START_NS + at * SECOND_NS) for at in range(0, 8 * 3600, 5) for code in WELL
    ]
    feed(scorer, events)
    import msgspec

    assert len(msgspec.msgpack.encode(scorer.state())) < 2048
