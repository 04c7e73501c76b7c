"""The Rust detector and the NumPy one find the same beats, on every record."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bench.qrs_scoring import load
from dataflows.detectors import QrsDetector
from tests.native import qrs_reference

NAMES = (
    "100 101 102 103 104 105 106 107 108 109 111 112 113 114 115 116 117 118 119 121 122 123 124 200 "
    "201 202 203 205 207 208 209 210 212 213 214 215 217 219 220 221 222 223 228 230 231 232 233 234"
).split()
"""All records of the database; `pytest -m slow tests/native/test_qrs_reference.py` compares each from end to end."""


def folder() -> Path:
    """The MIT-BIH Arrhythmia Database."""
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    return Path(root) / "ecg" / "mitdb"


def compare(name: str, count: int) -> None:
    record = load(folder(), name)
    samples = record.samples[:count]
    expected = qrs_reference.detect(samples, record.fs_hz)
    found = QrsDetector(record.fs_hz).push(samples)
    # the last candidates of the whole-record form lack the samples that would complete them in a stream
    end = len(samples) - int(0.6 * record.fs_hz)
    np.testing.assert_array_equal(found[found < end], expected[expected < end])


@pytest.mark.parametrize("name", ["105", "203"])
def test_the_same_beats_in_ten_minutes(name: str) -> None:
    compare(name, 216_000)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_same_beats_in_a_whole_record(name: str) -> None:
    compare(name, 650_000)
