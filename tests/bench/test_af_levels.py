"""The reimplementation in which the limits of the AF detector are judged decides as the detector does."""

from __future__ import annotations

import numpy as np
import pytest

from bench.af import Beats, decide
from bench.af_levels import SHIPPED, Limits, best, counts, decisions, record_of
from tests.bench.test_af import FS_HZ, beats


@pytest.mark.parametrize("seed", range(3))
def test_every_beat_is_decided_alike(seed: int) -> None:
    samples, _ = beats(seed)
    heard = Beats(FS_HZ, samples, np.zeros(len(samples), np.uint8))
    own = decide(heard)
    assert own.any()
    np.testing.assert_array_equal(decisions(record_of(heard, own), SHIPPED), own)
    late = decisions(record_of(heard, own), Limits(1.4, 1.4, 0.86, 1000))
    assert late.sum() < own.sum()


def test_a_patient_has_no_part_in_the_choice_for_himself() -> None:
    good, bad = np.array([990, 5, 10, 995]), np.array([500, 500, 500, 500])
    first, second = SHIPPED, Limits(1.0, 1.0, 0.8, 500)
    found = {first: [good, bad, good], second: [bad, good, bad]}
    assert best(found) == first
    assert best(found, [0, 2]) == second


def test_counts_are_of_beats() -> None:
    record = record_of(Beats(FS_HZ, np.arange(0, 20_000, 200), np.zeros(100, np.uint8)), np.arange(100) < 40)
    assert counts(record, np.arange(100) < 50).tolist() == [40, 10, 0, 50]
