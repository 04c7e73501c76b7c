"""Atrial fibrillation, pulses, fibrillatory waveforms, respiration and variability through the binding."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.af import Beats, beats_of, decide, truth_of
from dataflows._native import AfDetector, Hrv, PulseDetector, Respiration, RhythmMonitor, VfDetector

FS = 250.0


def beats_at(intervals_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return np.round(np.cumsum(intervals_s) * FS).astype(np.int64)


def fibrillation(rng: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    return rng.uniform(0.4, 0.9, count)


def sinus(rng: np.random.Generator, count: int, arrhythmia_s: float = 0.0) -> npt.NDArray[np.float64]:
    breathing = arrhythmia_s * np.sin(np.arange(count) * 2 * np.pi / 5)
    return 0.8 + breathing + rng.normal(0, 0.008, count)


def af_of(intervals_s: npt.NDArray[np.float64], ventricular: npt.NDArray[np.bool_] | None = None) -> np.ndarray:
    samples = beats_at(intervals_s)
    labels = np.zeros(len(samples)) if ventricular is None else ventricular
    return decide(Beats(FS, samples, labels.astype(np.uint8)))


def test_an_episode_of_fibrillation_is_found_between_its_ends():
    rng = np.random.default_rng(1)
    af = af_of(np.concatenate([sinus(rng, 300), fibrillation(rng, 200), sinus(rng, 300)]))
    assert af[360:480].all()
    assert not af[:300].any()
    assert not af[560:].any()


def test_breathing_and_labelled_ectopy_are_no_fibrillation():
    rng = np.random.default_rng(2)
    assert not af_of(sinus(rng, 500, arrhythmia_s=0.03)).any()
    intervals, ventricular = sinus(rng, 600), np.zeros(600, bool)
    for at in range(20, 580, 7):  # early beats with compensatory pauses
        early = rng.uniform(0.15, 0.35)
        intervals[at] -= early
        intervals[at + 1] += early
        ventricular[at] = True
    assert not af_of(intervals, ventricular).any()


@pytest.mark.parametrize("period_s", [3.0, 4.0, 5.0])
def test_deep_breathing_of_the_young_is_no_fibrillation(period_s: float):
    # A swing of 0.25 s about 0.85 s: sinus arrhythmia as marked as it is seen, several beats a breath.
    rng, intervals, at_s = np.random.default_rng(6), [], 0.0
    for _ in range(1500):
        intervals.append(0.85 + 0.25 * np.sin(2 * np.pi * at_s / period_s) + rng.normal(0, 0.015))
        at_s += intervals[-1]
    assert not af_of(np.array(intervals)).any()


@pytest.mark.parametrize("mean_s", [0.45, 0.8, 1.3])
def test_slow_fibrillation_is_found_like_fast(mean_s: float):
    rng = np.random.default_rng(7)
    irregular = np.clip(rng.normal(mean_s, 0.22 * mean_s, 400), 0.25, None)
    af = af_of(np.concatenate([mean_s + rng.normal(0, 0.008, 200), irregular]))
    assert not af[:170].any()
    assert af[330:].all()


@pytest.mark.parametrize("mean_s", [0.45, 0.8, 1.3])
def test_a_first_episode_after_hours_without_is_found_and_the_next_is_found_sooner(mean_s: float):
    rng = np.random.default_rng(8)
    regular, irregular = 0.8 + rng.normal(0, 0.008, 8000), np.clip(rng.normal(mean_s, 0.22 * mean_s, 900), 0.25, None)
    af = af_of(np.concatenate([regular, irregular, regular[:400], irregular]))
    first, second = af[8000:8900], af[9300:]
    assert not af[:7970].any()
    assert not af[8990:9270].any()
    assert first[170:870].all()
    assert np.argmax(second) < np.argmax(first)


def test_a_decision_uses_thirty_later_beats_and_no_more():
    rng = np.random.default_rng(3)
    samples = beats_at(np.concatenate([sinus(rng, 200), fibrillation(rng, 150), sinus(rng, 200)]))
    labels = np.zeros(len(samples), np.uint8)
    whole = AfDetector(FS).push(samples, labels)
    assert len(whole) == len(samples) - 30
    for cut in range(1, len(samples), 23):
        detector = AfDetector(FS)
        known = np.concatenate([detector.push(samples[:5], labels[:5]), detector.push(samples[5:cut], labels[5:cut])])
        np.testing.assert_array_equal(known[: max(0, cut - 30)], whole[: max(0, cut - 30)])


def test_the_monitor_reports_onset_and_end_of_fibrillation_once():
    rng = np.random.default_rng(4)
    samples = beats_at(np.concatenate([sinus(rng, 200), fibrillation(rng, 300), sinus(rng, 300)]))
    monitor = RhythmMonitor(FS, pause_s=float("inf"))
    events = []
    for beat in samples:
        monitor.beats(np.array([beat]), np.zeros(1, np.uint8))
        events += monitor.advance(int(beat) + 1)
        monitor = RhythmMonitor.restore(monitor.snapshot())
    af = [event for event in events if event.rule == "atrial_fibrillation"]
    assert [event.raised for event in af] == [True, False]
    assert 200 <= int(np.searchsorted(samples, af[0].onset)) <= 260
    assert af[0].value >= 30.0
    assert len(monitor.snapshot()) <= 1024


def test_fibrillation_of_a_real_patient():
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    path = Path(root) / "ecg" / "afdb_rr" / "08455"
    beats = beats_of(path)
    af, truth = decide(beats), truth_of(path, beats.samples)
    assert (af & truth).sum() / truth.sum() > 0.99
    assert (~af & ~truth).sum() / (~truth).sum() > 0.99


def pleth(seconds: float, rate_bpm: float, noise: float = 0.02) -> npt.NDArray[np.float64]:
    t = np.arange(round(seconds * FS)) / FS
    phase = (t * rate_bpm / 60) % 1.0
    wave = np.exp(-((phase - 0.2) ** 2) / 0.008) + 0.4 * np.exp(-((phase - 0.55) ** 2) / 0.02)
    return wave + np.random.default_rng(5).normal(0, noise, len(t))


@pytest.mark.parametrize("rate_bpm", [35.0, 72.0, 150.0])
def test_every_pulse_is_found_once(rate_bpm: float):
    at, _ = PulseDetector(FS).push(1000.0 + 250.0 * pleth(60, rate_bpm))
    assert abs(len(at) - rate_bpm) <= 3
    assert np.ptp(np.diff(at)) <= 0.1 * FS


def test_pulses_do_not_depend_on_chunks_and_survive_restarts():
    wave = pleth(40, 80.0)
    wave[4000:4300] = np.nan
    whole, _ = PulseDetector(FS).push(wave)
    detector, parts = PulseDetector(FS), []
    for at in range(0, len(wave), 37):
        parts.append(detector.push(wave[at : at + 37])[0])
        detector = PulseDetector.restore(detector.snapshot())
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert not ((whole >= 4000) & (whole < 4300)).any()
    for snapshot in (b"", detector.snapshot()[:-3], detector.snapshot() + b"x", os.urandom(200)):
        with pytest.raises(ValueError, match="snapshot"):
            PulseDetector.restore(snapshot)


def test_a_flat_wave_has_no_pulse():
    assert len(PulseDetector(FS).push(np.full(5000, 3.0))[0]) == 0
    assert len(PulseDetector(FS).push(np.full(5000, np.nan))[0]) == 0


def qrs_rhythm(seconds: float) -> npt.NDArray[np.float64]:
    t = np.arange(round(seconds * FS)) / FS
    phase = (t * 1.2) % 1.0
    t_wave = 0.2 * np.exp(-((phase - 0.6) ** 2) / 0.004)
    return np.exp(-((phase - 0.3) ** 2) / 0.0003) + t_wave


def test_a_fibrillatory_waveform_is_told_from_a_qrs_rhythm():
    t = np.arange(round(20 * FS)) / FS
    wobble = np.cumsum(np.random.default_rng(6).normal(0, 0.02, len(t)))
    shaking = 0.5 * np.sin(2 * np.pi * 5.0 * t + wobble)
    rows = VfDetector(FS).push(np.concatenate([qrs_rhythm(20), shaking]))
    assert rows[:16, 8].sum() == 0
    assert rows[-15:, 8].all()
    assert rows[0, 0] == 4 * FS


def test_the_waveform_does_not_depend_on_chunks_and_survives_restarts():
    wave = qrs_rhythm(12) + np.random.default_rng(7).normal(0, 0.1, 3000)
    whole = VfDetector(FS).push(wave)
    detector, parts = VfDetector(FS), []
    for at in range(0, len(wave), 41):
        parts.append(detector.push(wave[at : at + 41]))
        detector = VfDetector.restore(detector.snapshot())
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(detector.snapshot()) <= 1024


def test_respiration_follows_the_size_of_the_beats():
    respiration = Respiration()
    assert respiration.rate() is None
    for n in range(60):
        respiration.push(0.8 * n, float("nan"), 1.0 + 0.1 * np.sin(2 * np.pi * 0.3 * 0.8 * n))
    found = respiration.rate()
    assert found is not None
    assert found[0] == pytest.approx(18.0, abs=1.0)


def test_variability_of_alternating_intervals():
    hrv, windows, at = Hrv(1000.0), [], 0
    for n in range(800):
        at += 800 + 60 * (n % 2)
        windows += hrv.push(at)
    first, intervals, coverage, sdnn_ms, rmssd_ms, pnn50_pct = windows[0]
    assert (first, pnn50_pct) == (0, 100.0)
    assert intervals == pytest.approx(361, abs=2)
    assert coverage == pytest.approx(1.0, abs=0.01)
    assert sdnn_ms == pytest.approx(30.0, abs=0.1)
    assert rmssd_ms == pytest.approx(60.0, abs=0.1)
