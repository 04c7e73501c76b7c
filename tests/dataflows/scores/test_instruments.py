"""Scoring of questionnaires: totals, missing and impossible answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.scores.instruments import load, score


def answers(values):
    return [(f"item_{at}", float(value)) for at, value in enumerate(values, 1) if value is not None]


def result(name, values):
    return score(load()[name], answers(values))


@pytest.mark.parametrize(
    ("name", "values", "total", "band"),
    [
        ("pain_nrs", [0], 0, "none"),
        ("pain_nrs", [3], 3, "mild"),
        ("pain_nrs", [4], 4, "moderate"),
        ("pain_nrs", [7], 7, "severe"),
        ("borg_cr10", [0.5], 0.5, "slight"),
        ("mmrc", [4], 4, "very_severe"),
        ("phq_9", [0] * 9, 0, "minimal"),
        ("phq_9", [1] * 4 + [0] * 5, 4, "minimal"),
        ("phq_9", [1] * 5 + [0] * 4, 5, "mild"),
        ("phq_9", [1] * 8 + [2], 10, "moderate"),
        ("phq_9", [1, 1, 1, 2, 2, 2, 2, 2, 2], 15, "moderately_severe"),
        ("phq_9", [3] * 6 + [2, 0, 0], 20, "severe"),
        ("phq_9", [3] * 9, 27, "severe"),
        ("gad_7", [2] * 7, 14, "moderate"),
        ("gad_7", [3, 2, 2, 2, 2, 2, 2], 15, "severe"),
    ],
)
def test_totals_and_bands_of_the_publications(name, values, total, band):
    found = result(name, values)
    assert (found.total, found.band, found.state) == (total, band, "complete")


@pytest.mark.parametrize(
    ("name", "values", "total", "state"),
    [
        ("phq_9", [2] * 7 + [None, None], 18, "prorated"),
        ("phq_9", [2] * 6 + [None, None, None], None, "partial"),
        ("phq_9", [1, 2, 1, 2, 1, 2, 1, 1, None], 12, "prorated"),
        ("gad_7", [1] * 6 + [None], 7, "prorated"),
        ("gad_7", [1] * 5 + [None, None], None, "partial"),
        ("pain_nrs", [None], None, "partial"),
    ],
)
def test_missing_answers_are_filled_only_where_the_instrument_allows(name, values, total, state):
    found = result(name, values)
    assert (found.total, found.state) == (total, state)
    assert found.missing == tuple(at for at, value in enumerate(values, 1) if value is None)


@pytest.mark.parametrize("value", [-1, 3.5, 4, 99, float("nan")])
def test_an_impossible_value_is_refused_and_the_rest_is_scored(value):
    found = result("phq_9", [value, *[1] * 8])
    assert found.refused == (f"item_1={value:g}",)
    assert (found.total, found.missing, found.state) == (9, (1,), "prorated")


def test_an_item_answered_twice_counts_once_and_differently_not_at_all():
    twice = score(load()["phq_9"], [*answers([1] * 9), ("item_9", 1.0)])
    assert (twice.total, twice.refused) == (9, ())
    differing = score(load()["phq_9"], [*answers([1] * 8 + [0]), ("item_9", 2.0)])
    assert (differing.missing, differing.items[9], differing.state) == ((9,), 2.0, "prorated")


def test_items_have_loinc_names_too():
    phq = load()["phq_9"]
    assert score(phq, [(code, 1.0) for code in phq.loinc]).total == 9
    assert phq.place("44260-8") == 9
    assert [phq.place(item) for item in ("item_0", "item_10", "mood", "44250-0")] == [None] * 4
    assert load()["pain_nrs"].place("pain_nrs") == 1


def test_no_wording_is_carried_and_terms_are_stated():
    for one in load().values():
        assert one.terms
        assert one.source
        assert all(part[:1].isdigit() for part in one.loinc)


@given(st.sampled_from(sorted(load())), st.data())
def test_order_changes_nothing_and_worse_answers_never_lower_the_total(name, data):
    instrument = load()[name]
    allowed = [at * instrument.step for at in range(int(instrument.highest / instrument.step) + 1)]
    values = data.draw(st.lists(st.sampled_from(allowed), min_size=instrument.items, max_size=instrument.items))
    plain = score(instrument, answers(values))
    assert score(instrument, data.draw(st.permutations(answers(values)))) == plain
    at = data.draw(st.integers(0, instrument.items - 1))
    worse = score(instrument, answers([*values[:at], instrument.highest, *values[at + 1 :]]))
    assert worse.total >= plain.total
    order = [band for _, band in instrument.bands]
    assert order.index(worse.band) >= order.index(plain.band)


@given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=9, max_size=9))
def test_a_prorated_total_lies_between_best_and_worst(values):
    found = result("phq_9", values)
    known = sum(value for value in values if value is not None)
    if found.total is not None:
        assert known <= found.total <= known + 3 * len(found.missing)
