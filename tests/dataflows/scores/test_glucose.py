"""Glucose: units, levels, the 15-minute rule, rates, daily figures; on built and on recorded series."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.scores.glucose import Level, censored, level, parse, whole_mg_dl
from dataflows.scores.glucose_events import GAP_NS, Run
from dataflows.scores.glucose_rate import Rate, arrow
from dataflows.scores.glucose_summary import DAY_NS, Day, gmi_pct, summarise
from tests.dataflows.scores import cgm
from tests.dataflows.scores.feed import MINUTE_NS, START_NS

# Consensus table in both units: first and last value of each range.
MMOL_L = {
    Level.VERY_LOW: (1.1, 2.9),
    Level.LOW: (3.0, 3.8),
    Level.IN_RANGE: (3.9, 10.0),
    Level.HIGH: (10.1, 13.9),
    Level.VERY_HIGH: (14.0, 40.0),
}
MG_DL = {
    Level.VERY_LOW: (20, 53),
    Level.LOW: (54, 69),
    Level.IN_RANGE: (70, 180),
    Level.HIGH: (181, 250),
    Level.VERY_HIGH: (251, 600),
}


def test_every_printed_value_has_its_level_in_both_units():
    for expected, (first, last) in MMOL_L.items():
        for tenth in range(round(first * 10), round(last * 10) + 1):
            assert level(whole_mg_dl(tenth / 10, "mmol/L")) == expected, tenth / 10
    for expected, (first, last) in MG_DL.items():
        for value in range(first, last + 1):
            assert level(whole_mg_dl(value)) == expected


@given(st.integers(20, 600))
def test_a_value_has_one_level_whatever_unit_carried_it(mg_dl):
    assert whole_mg_dl(mg_dl / 18.018, "mmol/L") == mg_dl
    assert whole_mg_dl(round(mg_dl / 18.018, 2), "mmol/L") == mg_dl


@given(st.integers(20, 600), st.integers(0, 100))
def test_levels_only_rise(mg_dl, more):
    assert level(mg_dl + more) >= level(mg_dl)


@pytest.mark.parametrize(
    ("text", "unit", "mg_dl"),
    [("LO", "mg/dL", 40), ("High", "mmol/L", 400), ("5.5", "mmol/L", 99), ("104", "mg/dL", 104), (" ", "mg/dL", None)],
)
def test_sentinels_are_readings_and_an_empty_field_is_none(text, unit, mg_dl):
    assert parse(text, unit) == mg_dl


@pytest.mark.parametrize("text", ["ERR", "inf", "12,5"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match=r"glucose|convert"):
        parse(text)


def test_another_unit_is_refused():
    with pytest.raises(ValueError, match="not in 'g/L'"):
        whole_mg_dl(1.0, "g/L")


@pytest.mark.parametrize(("mg_dl", "is_end"), [(39, True), (40, True), (41, False), (399, False), (400, True)])
def test_the_ends_of_the_range(mg_dl, is_end):
    assert censored(mg_dl) is is_end


def events(series, limit=70):
    run, ended, began = Run(), [], []
    for ts_ns, mg_dl in series:
        event = run.push(ts_ns, mg_dl, beyond=mg_dl < limit)
        if event is None:
            continue
        if event.over:
            ended.append(event)
        elif not began or began[-1][0] != event.start_ns:
            began.append((event.start_ns, ts_ns))
    return began, ended


def each(minutes, values, start_ns=START_NS):
    return [(start_ns + at * minutes * MINUTE_NS, value) for at, value in enumerate(values)]


def test_an_event_needs_fifteen_minutes_and_fifteen_to_end():
    began, ended = events(each(5, [80, 69, 69, 69, 80, 80, 80, 80]))
    assert (began, ended) == ([], []), "three readings span ten minutes"
    began, ended = events(each(5, [80, 69, 60, 69, 69, 80, 69, 80, 80, 80, 80]))
    assert began == [(START_NS + 5 * MINUTE_NS, START_NS + 20 * MINUTE_NS)]
    (event,) = ended
    assert (event.start_ns, event.end_ns) == (START_NS + 5 * MINUTE_NS, START_NS + 35 * MINUTE_NS)
    assert event.extreme == 60


def test_the_span_is_exact_up_to_the_sensors_jitter():
    def at(second):
        return events([(START_NS, 60), (START_NS + second * 1_000_000_000, 60)])[0]

    assert at(14 * 60 + 29) == []
    assert at(14 * 60 + 30) != []


def test_readings_across_a_gap_are_not_consecutive():
    began, _ = events([(START_NS, 60), (START_NS + GAP_NS + 1, 60)])
    assert began == []
    series = [*each(5, [60] * 4), (START_NS + DAY_NS, 100), (START_NS + DAY_NS + 20 * MINUTE_NS, 100)]
    (event,) = events(series)[1]
    assert event.end_ns == START_NS + 15 * MINUTE_NS, "not longer than to its last reading"


def plain_events(series, limit):
    """The definition, looked up in the whole series at once: start and end of each event."""
    found, at = [], 0
    while at < len(series):
        if series[at][1] >= limit:
            at += 1
            continue
        end = at
        while end + 1 < len(series) and series[end + 1][1] < limit and series[end + 1][0] - series[end][0] <= GAP_NS:
            end += 1
        if series[end][0] - series[at][0] < 14.5 * MINUTE_NS:
            at = end + 1
            continue
        start, back = at, None
        for later in range(end + 1, len(series)):
            if series[later][1] < limit:
                end, back = later, None
                continue
            back = later if back is None else back
            if series[later][0] - series[back][0] >= 14.5 * MINUTE_NS:
                known = series[back][0] - series[end][0] <= GAP_NS
                found.append((series[start][0], series[back][0] if known else series[end][0]))
                at = later + 1
                break
        else:
            break
    return found


@given(st.lists(st.tuples(st.sampled_from([1, 5, 5, 5, 5, 15, 40]), st.sampled_from([60, 60, 90])), max_size=80))
def test_the_stream_finds_what_the_definition_finds(steps):
    at_ns, series = START_NS, []
    for minutes, mg_dl in steps:
        at_ns += minutes * MINUTE_NS
        series.append((at_ns, mg_dl))
    assert [(one.start_ns, one.end_ns) for one in events(series)[1]] == plain_events(series, 70)


@pytest.mark.parametrize("name", cgm.SETS)
def test_recorded_sensors_have_the_events_of_the_definition(name):
    persons = 0
    for _, series in cgm.recorded(cgm.folder(), name):
        for limit in (54, 70):
            found = [(one.start_ns, one.end_ns) for one in events(series, limit)[1]]
            assert found == plain_events(series, limit)
        persons += 1
    assert persons == {"HUPA-UCM": 25, "Hall_2018": 57, "PhysioCGM": 9}[name]


def rate_of(series):
    rate = Rate()
    for ts_ns, mg_dl in series:
        rate.push(ts_ns, mg_dl)
    return rate


def test_the_rate_needs_three_readings_in_fifteen_minutes():
    assert rate_of(each(5, [100, 90])).mg_dl_min is None
    assert rate_of(each(5, [100, 90, 80])).mg_dl_min == -2.0
    assert rate_of(each(15, [100, 90, 80])).mg_dl_min is None
    assert rate_of([*each(5, [100, 90, 80]), (START_NS + 40 * MINUTE_NS, 70)]).mg_dl_min is None


def test_one_wrong_reading_does_not_turn_the_rate():
    assert rate_of(each(3, [100, 97, 94, 140, 88, 85])).mg_dl_min == -1.0


def test_a_reading_at_the_end_of_the_range_has_no_slope():
    assert rate_of(each(5, [60, 50, 40])).mg_dl_min is None
    assert rate_of(each(5, [60, 50, 41])).mg_dl_min is not None


def test_the_forecast_follows_the_slope():
    assert rate_of(each(5, [105, 100, 95])).forecast() == 75.0


@pytest.mark.parametrize(
    ("mg_dl_min", "name"),
    [
        (0.99, "flat"),
        (1.0, "diagonal_up"),
        (-1.5, "diagonal_down"),
        (2.0, "single_up"),
        (-3.0, "single_down"),
        (3.01, "double_up"),
    ],
)
def test_arrows(mg_dl_min, name):
    assert arrow(mg_dl_min) == name


def day_of(values, number=19_000):
    day = Day(number)
    for at, mg_dl in enumerate(values):
        day.push(number * DAY_NS + at * 5 * MINUTE_NS, mg_dl)
    return day


def test_figures_of_a_day_by_hand():
    figures = summarise([day_of([50, 60, 100, 150, 200, 300])], 1)
    assert figures.mean == pytest.approx(143.3333, abs=1e-3)
    assert figures.sd == pytest.approx(95.2190, abs=1e-3)
    assert figures.cv_pct == pytest.approx(66.432, abs=1e-2)
    assert figures.gmi_pct == pytest.approx(3.31 + 0.02392 * 143.3333, abs=1e-4)
    shares = (figures.below_54_pct, figures.below_70_pct, figures.in_range_pct, figures.above_180_pct)
    assert shares == pytest.approx((16.667, 33.333, 33.333, 33.333), abs=1e-3)
    assert figures.above_250_pct == pytest.approx(16.667, abs=1e-3)
    assert figures.tight_range_pct == pytest.approx(16.667, abs=1e-3)


def test_gmi_of_the_publication():
    # Bergenstal 2018, table: mean 100, 150, 200, 250 mg/dL give 5.7, 6.9, 8.1, 9.3 %.
    assert [round(gmi_pct(mean), 1) for mean in (100, 150, 200, 250)] == [5.7, 6.9, 8.1, 9.3]


def test_fourteen_days_with_seventy_percent_are_sufficient():
    full = [day_of([100] * 288, 19_000 + at) for at in range(14)]
    assert summarise(full, 14).active_pct == 100.0
    assert summarise(full[:10], 14).sufficient
    assert not summarise(full[:9], 14).sufficient
    assert not summarise(full[:7], 7).sufficient
    assert summarise([], 14) is None


@given(st.lists(st.integers(40, 400), min_size=2, max_size=50), st.randoms())
def test_figures_do_not_depend_on_order_and_agree_with_the_plain_formula(values, random):
    day = day_of(values)
    places = list(enumerate(values))
    random.shuffle(places)
    mixed = Day(19_000)
    for at, mg_dl in places:
        mixed.push(19_000 * DAY_NS + at * 5 * MINUTE_NS, mg_dl)
    figures = summarise([day], 1)
    assert summarise([mixed], 1) == figures
    mean = sum(values) / len(values)
    sd = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
    assert figures.sd == pytest.approx(sd, abs=1e-6)
    assert figures.below_70_pct + figures.in_range_pct + figures.above_180_pct == pytest.approx(100)
