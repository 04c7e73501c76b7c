"""Hostile input to the rhythm detectors, and the heart-rate waveforms of IEC 60601-2-27 as sequences of beats."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows._native import AfDetector, Hrv, PulseDetector, Respiration, RhythmMonitor, VfDetector

FS = 250.0

hostile = st.one_of(
    st.floats(-5.0, 5.0),
    st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 1e13, 0.0, 5e-324]),
)
waves = st.lists(st.tuples(hostile, st.integers(1, 400)), max_size=12).map(
    lambda runs: np.concatenate([np.zeros(0), *(np.full(count, value) for value, count in runs)])
)
cuts = st.lists(st.integers(1, 700), min_size=1, max_size=8)


def portions(wave: npt.NDArray[np.float64], lengths: list[int]) -> list[npt.NDArray[np.float64]]:
    edges = np.cumsum(lengths)
    return np.split(wave, edges[edges < len(wave)])


@settings(deadline=None, max_examples=60)
@given(wave=waves, lengths=cuts)
def test_pulses_of_anything_do_not_depend_on_portions_or_restarts(
    wave: npt.NDArray[np.float64], lengths: list[int]
) -> None:
    at, rises = PulseDetector(FS).push(wave)
    assert np.isfinite(rises).all()
    assert ((at >= 0) & (at < max(1, len(wave)))).all()
    detector, found = PulseDetector(FS), [np.zeros(0, np.int64)]
    for part in portions(wave, lengths):
        found.append(detector.push(part)[0])
        detector = PulseDetector.restore(detector.snapshot())
    np.testing.assert_array_equal(np.concatenate(found), at)


@settings(deadline=None, max_examples=60)
@given(wave=waves, lengths=cuts)
def test_waveforms_of_anything_do_not_depend_on_portions_or_restarts(
    wave: npt.NDArray[np.float64], lengths: list[int]
) -> None:
    whole = VfDetector(FS).push(wave)
    assert np.isfinite(whole).all()
    detector, found = VfDetector(FS), [np.zeros((0, 9))]
    for part in portions(wave, lengths):
        found.append(detector.push(part).reshape(-1, 9))
        detector = VfDetector.restore(detector.snapshot())
    np.testing.assert_array_equal(np.concatenate(found), whole.reshape(-1, 9))


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.integers(1, 2**40), max_size=80),
    ventricular=st.lists(st.booleans(), min_size=80, max_size=80),
    cut=st.integers(0, 80),
)
def test_beats_at_any_distance_are_taken(steps: list[int], ventricular: list[bool], cut: int) -> None:
    samples = np.cumsum([0, *steps]).astype(np.int64)
    labels = np.array([True, *ventricular][: len(samples)]).astype(np.uint8)
    detector = AfDetector(FS)
    parts = [detector.push(samples[:cut], labels[:cut]), detector.push(samples[cut:], labels[cut:]), detector.flush()]
    whole = AfDetector(FS)
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([whole.push(samples, labels), whole.flush()]))
    hrv, respiration = Hrv(FS), Respiration()
    for sample, label in zip(samples.tolist(), labels.tolist(), strict=True):
        for window in hrv.push(sample, normal=not label):
            assert window[1] >= 0
        respiration.push(sample / FS, float("inf") if label else 0.8, float(sample))
    rate = respiration.rate()
    assert rate is None or 6.0 <= rate[0] <= 39.0


def test_damaged_snapshots_are_refused() -> None:
    pulse, vf, monitor = PulseDetector(FS), VfDetector(FS), RhythmMonitor(FS)
    wave = np.sin(np.arange(3000) / 40)
    pulse.push(wave)
    vf.push(wave)
    monitor.beats(np.arange(1, 12, dtype=np.int64) * 200, np.zeros(11, np.uint8))
    monitor.advance(2400)
    rng = np.random.default_rng(1)
    for made, restore in [
        (pulse.snapshot(), PulseDetector.restore),
        (vf.snapshot(), VfDetector.restore),
        (monitor.snapshot(), RhythmMonitor.restore),
    ]:
        damaged = [b"", made[:-1], made + b"x", os.urandom(len(made))]
        for at in rng.integers(0, len(made), 40):
            damaged.append(made[:at] + bytes([made[at] ^ 0x41]) + made[at + 1 :])
        for snapshot in damaged:
            with pytest.raises(ValueError, match="snapshot"):
                restore(snapshot)


def shown(intervals_s: list[float]) -> float:
    """The displayed rate 20 s after a waveform began, and at no other time far from it."""
    samples = np.round(np.cumsum([1.0, *intervals_s]) * FS).astype(np.int64)
    monitor = RhythmMonitor(FS)
    monitor.beats(samples, np.zeros(len(samples), np.uint8))
    monitor.advance(int(21 * FS))
    rate = monitor.heart_rate_bpm
    assert rate is not None
    return rate


@pytest.mark.parametrize(
    ("name", "intervals_s", "rate_bpm"),
    [
        ("3a, ventricular bigeminy", [0.5, 1.0] * 20, 80.0),
        ("3b, slowly alternating bigeminy", [0.65, 1.35] * 20, 60.0),
        ("3c, rapidly alternating bigeminy", [0.35, 0.65] * 30, 120.0),
        ("3d, bidirectional systoles", [0.667] * 40, 90.0),
    ],
)
def test_irregular_rhythms_of_the_standard_show_their_mean_rate(
    name: str, intervals_s: list[float], rate_bpm: float
) -> None:
    assert shown(intervals_s) == pytest.approx(rate_bpm, abs=5.0), name


@pytest.mark.parametrize(("name", "rate_bpm"), [("4a", 206.0), ("4b", 195.0)])
def test_ventricular_tachycardias_of_the_standard_alarm_within_ten_seconds(name: str, rate_bpm: float) -> None:
    sinus = np.cumsum([1.0, *[0.75] * 30])
    fast = sinus[-1] + np.cumsum([60.0 / rate_bpm] * 40)
    samples = np.round(np.concatenate([sinus, fast]) * FS).astype(np.int64)
    for label, rule in ((1, "ventricular_tachycardia"), (0, "extreme_tachycardia")):
        monitor = RhythmMonitor(FS)
        monitor.beats(samples, np.where(samples > sinus[-1] * FS, label, 0).astype(np.uint8))
        events = monitor.advance(int(samples[-1]) + 1)
        raised = [event for event in events if event.rule == rule and event.raised]
        assert len(raised) == 1, name
        assert (raised[0].decided / FS) - sinus[-1] <= 10.0
