"""Slopes, control charts and baselines against references and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dataflows.scores.baseline import Baseline
from dataflows.scores.charts import DECISION, Charts
from dataflows.scores.theil_sen import theil_sen

VALUES = st.lists(st.integers(-20, 20), min_size=5, max_size=24)


@given(VALUES)
def test_slope_and_interval_are_those_of_scipy_and_of_the_definition(values):
    points = [(float(at), float(y)) for at, y in enumerate(values)]
    found = theil_sen(points)
    reference = stats.theilslopes([y for _, y in points], [x for x, _ in points], 0.95)
    if found is None:
        return
    assert found.slope == pytest.approx(reference.slope)
    # scipy rounds the ranks of the interval to the nearest, this one outwards: never narrower, at most a rank wider.
    assert found.low <= reference.low_slope + 1e-9
    assert found.high >= reference.high_slope - 1e-9
    slopes = sorted((b - a) / (j - i) for i, a in points for j, b in points if j > i)
    below = sum(slope < found.low for slope in slopes)
    assert below <= len(slopes) / 2


def test_a_slope_by_hand():
    found = theil_sen([(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 60)])
    assert (found.slope, found.significant) == (1.0, True)
    assert found.confidence == pytest.approx(0.9973, abs=1e-3)
    assert theil_sen([(0, 0), (1, 1), (2, 2), (3, 3)]) is None
    flat = theil_sen([(at, 5.0) for at in range(8)])
    assert (flat.slope, flat.significant, flat.confidence) == (0.0, False, 0.0)


@given(VALUES, st.floats(0.1, 100), st.floats(-1000, 1000))
def test_the_slope_follows_the_unit(values, factor, offset):
    plain = theil_sen([(at, y) for at, y in enumerate(values)])
    other = theil_sen([(at, y * factor + offset) for at, y in enumerate(values)])
    assert (plain is None) == (other is None)
    if plain is not None:
        assert other.slope == pytest.approx(plain.slope * factor, abs=1e-6)


def test_a_quarter_of_wrong_points_does_not_move_the_slope():
    random = np.random.default_rng(1)
    for _ in range(50):
        y = np.arange(20) * 2.0
        y[random.choice(20, 5, replace=False)] += random.normal(0, 500, 5)
        assert theil_sen(list(enumerate(y.tolist()))).slope == pytest.approx(2.0, abs=1.5)


def test_ewma_and_cusum_by_hand():
    charts = Charts()
    for z in (1.0, 2.0, -1.0):
        charts.push(z)
    assert charts.ewma == pytest.approx(0.2 * -1 + 0.8 * (0.2 * 2 + 0.8 * 0.2))
    assert (charts.up, charts.down) == (pytest.approx(0.5 + 1.5 - 1.5), pytest.approx(0.5))
    assert charts.sigma == pytest.approx((0.2 / 1.8 * (1 - 0.8**6)) ** 0.5)


def test_a_shift_of_one_and_a_half_sigma_is_found_and_noise_is_not():
    random = np.random.default_rng(2)
    delays, false = [], 0
    for _ in range(200):
        charts = Charts()
        for z in random.normal(0, 1, 100):
            charts.push(z)
            false += charts.shifted != 0
        delay = 0
        while charts.shifted != 1 and delay < 200:
            charts.push(random.normal(1.5))
            delay += 1
        delays.append(delay)
    assert np.median(delays) <= 10
    assert false / 20_000 < 0.01


def test_one_artefact_is_no_shift_and_an_alarm_ends_soon():
    charts = Charts()
    for _ in range(20):
        charts.push(0.0)
    charts.push(1000.0)
    assert charts.shifted == 0
    for _ in range(500):
        charts.push(5.0)
    assert charts.shifted == 1
    steps = 0
    while charts.shifted:
        charts.push(0.0)
        steps += 1
    assert steps <= 2 * DECISION


def test_a_baseline_leaves_out_the_newest_values_and_those_in_alarm():
    baseline = Baseline()
    for value in [70.0] * 12 + [90.0] * 2:
        baseline.push(value, in_alarm=False, kept=48, lag=2)
    assert baseline.usual(12, 1.0) == (70.0, 1.0)
    for _ in range(40):
        baseline.push(130.0, in_alarm=True, kept=48, lag=2)
    assert baseline.usual(12, 1.0) == (70.0, 1.0)
    assert baseline.usual(13, 1.0) is None


def test_what_lasts_for_a_day_has_become_the_usual():
    baseline = Baseline()
    for _ in range(14):
        baseline.push(70.0, in_alarm=False, kept=48, lag=2)
    for _ in range(48 + 16):
        baseline.push(130.0, in_alarm=True, kept=48, lag=2)
    assert baseline.usual(12, 1.0)[0] == 130.0


@given(st.lists(st.floats(-100, 100), min_size=20, max_size=60), st.data())
def test_a_quarter_of_bad_values_keeps_the_baseline_in_the_range_of_the_good(values, data):
    bad = len(values) // 4
    baseline = Baseline()
    mixed = data.draw(st.permutations([*values[bad:], *[1e6] * bad]))
    for value in mixed:
        baseline.push(value, in_alarm=False, kept=100, lag=0)
    centre, _ = baseline.usual(12, 0.1)
    assert min(values[bad:]) <= centre <= max(values[bad:])
