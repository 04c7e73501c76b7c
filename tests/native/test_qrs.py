"""R-peak detection through the binding, on MIT-BIH records and on what a ward throws at it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.qrs_scoring import Record, load, score
from dataflows.detectors import QrsDetector

FS = 360.0


@pytest.fixture(scope="module")
def records() -> dict[str, Record]:
    """Five MIT-BIH records that fail in different ways: clean, paced, tall T, wide beats, noisy."""
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    folder = Path(root) / "ecg" / "mitdb"
    return {name: load(folder, name) for name in ("100", "105", "113", "208", "217")}


def detect(samples: npt.NDArray[np.generic], fs_hz: float = FS) -> npt.NDArray[np.int64]:
    """Everything that one whole stream gives."""
    detector = QrsDetector(fs_hz)
    return np.concatenate([detector.push(samples), detector.flush()])


@pytest.mark.parametrize(("name", "most_errors"), [("100", 0), ("105", 60), ("113", 4), ("208", 12), ("217", 8)])
def test_beats_of_a_record(records: dict[str, Record], name: str, most_errors: int) -> None:
    result = score(records[name], detect(records[name].samples))
    assert result.fp + result.fn <= most_errors
    assert result.mae_ms <= 20


FIELDS = ("sample", "confidence", "label", "late", "quality_sample", "quality", "reasons")


@pytest.mark.parametrize("name", ["100", "105", "208", "217"])
def test_any_chunking_gives_the_same_beats_labels_and_quality(records: dict[str, Record], name: str) -> None:
    samples = records[name].samples[:60_000]
    rng = np.random.default_rng(1)
    for largest in (1, 7, 40, 400, 5000):
        detector, outputs, at = QrsDetector(FS), [], 0
        while at < (len(samples) if largest > 1 else 4000):
            size = int(rng.integers(0, largest + 1))
            outputs.append(detector.push_full(samples[at : at + size]))
            at += size
            if rng.random() < 0.02:
                detector = QrsDetector.restore(detector.snapshot())
        whole = QrsDetector(FS)
        expected = whole.push_full(samples[:at])
        for field in FIELDS:
            found = np.concatenate([getattr(output, field) for output in outputs])
            np.testing.assert_array_equal(found, getattr(expected, field))
        np.testing.assert_array_equal(detector.flush(), whole.flush())


def test_every_beat_comes_within_the_look_ahead(records: dict[str, Record]) -> None:
    detector = QrsDetector(FS)
    samples = records["208"].samples[:100_000]
    for at in range(0, len(samples), 9):
        pushed = detector.push_full(samples[at : at + 9])
        assert ((at + 9 - pushed.sample <= 0.3 * FS + 9) | pushed.late).all()
        assert (pushed.sample[pushed.late] < 2.3 * FS).all()
        assert (pushed.sample < at + 9).all()


def test_nothing_comes_before_certain_until(records: dict[str, Record]) -> None:
    detector, certain = QrsDetector(FS), 0
    samples = records["217"].samples[:50_000]
    for at in range(0, len(samples), 36):
        pushed = detector.push_full(samples[at : at + 36])
        assert (pushed.sample[~pushed.late] >= certain).all()
        assert detector.certain_until >= certain
        certain = detector.certain_until
    assert detector.samples == len(samples)
    assert detector.samples - certain <= 0.3 * FS + 3


@pytest.mark.parametrize("change", ["x0.1", "x10", "inverted", "+1e6", "float32"])
def test_gain_offset_and_polarity_change_no_beat(records: dict[str, Record], change: str) -> None:
    samples = records["208"].samples.astype(np.float64)
    changed = {
        "x0.1": samples * 0.1,
        "x10": samples * 10,
        "inverted": -samples,
        "+1e6": samples + 1e6,
        "float32": samples.astype(np.float32),
    }[change]
    assert len(set(detect(changed)) ^ set(detect(samples))) == 0
    labels, expected = (QrsDetector(FS).push_full(x).label for x in (changed, samples))
    assert (labels == expected).mean() > 0.999


def test_a_snapshot_is_small_and_reads_back_the_same(records: dict[str, Record]) -> None:
    for fs_hz in (100.0, 250.0, 1000.0):
        for length in (0, 1, 200, 700, 1990, 100_000):
            detector = QrsDetector(fs_hz)
            detector.push(records["100"].samples[:length])
            snapshot = detector.snapshot()
            assert len(snapshot) <= 4096
            assert QrsDetector.restore(snapshot).snapshot() == snapshot


def test_a_damaged_snapshot_is_refused(records: dict[str, Record]) -> None:
    detector = QrsDetector(FS)
    detector.push(records["100"].samples[:5000])
    snapshot = detector.snapshot()
    rng = np.random.default_rng(2)
    for _ in range(300):
        damaged = bytearray(snapshot)
        damaged[int(rng.integers(len(snapshot)))] ^= int(rng.integers(1, 256))
        with pytest.raises(ValueError, match="snapshot"):
            QrsDetector.restore(bytes(damaged))
    for length in (0, 3, 40, len(snapshot) - 1):
        with pytest.raises(ValueError, match="snapshot"):
            QrsDetector.restore(snapshot[:length])


def test_beats_go_on_after_a_gap(records: dict[str, Record]) -> None:
    record = records["100"]
    for lost in (1, 100, 3600, 10**15):
        detector = QrsDetector(FS)
        first = np.concatenate([detector.push(record.samples[:20_000]), detector.gap(lost)])
        second = np.concatenate([detector.push(record.samples[20_000:60_000]), detector.flush()])
        assert detector.samples == 60_000 + lost
        assert (first < 20_000).all()
        expected = record.beats[(record.beats > 20_200) & (record.beats < 59_900)] + lost
        assert all(np.abs(second - beat).min() <= 54 for beat in expected)


def test_other_arrays_are_refused_in_words() -> None:
    detector = QrsDetector(FS)
    for wrong in (np.zeros(4, np.int32), np.zeros(4, ">i2"), [1, 2, 3], np.zeros(3, complex), None):
        with pytest.raises(TypeError, match="samples must be"):
            detector.push(wrong)  # type: ignore[arg-type] # what is refused here
    with pytest.raises(ValueError, match="one-dimensional"):
        detector.push(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="negative"):
        detector.gap(-1)
    for rate in (0.0, 99.0, 1001.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="fs_hz"):
            QrsDetector(rate)
    assert detector.push(np.zeros(0, np.int16)).dtype == np.int64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, 1e12])
def test_impossible_values_are_lost_samples(records: dict[str, Record], value: float) -> None:
    samples = records["100"].samples[:30_000].astype(np.float64)
    samples[10_000:12_000] = value
    beats = detect(samples)
    assert not ((beats > 10_010) & (beats < 11_990)).any()
    expected = records["100"].beats
    expected = expected[(expected > 12_100) & (expected < 29_900)]
    assert all(np.abs(beats - beat).min() <= 54 for beat in expected)
