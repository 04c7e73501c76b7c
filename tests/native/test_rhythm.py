"""Rhythm alarms through the binding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dataflows._native import RhythmMonitor


def labels(beats: npt.NDArray[np.int64], ventricular: bool = False) -> npt.NDArray[np.uint8]:
    return np.full(len(beats), int(ventricular), np.uint8)


def test_asystole_is_raised_with_its_evidence_and_survives_a_restart():
    monitor = RhythmMonitor(250.0)
    beats = np.arange(250, 2500, 200, dtype=np.int64)
    monitor.beats(beats, labels(beats))
    assert monitor.advance(2500) == []
    assert monitor.heart_rate_bpm == pytest.approx(75.0)
    monitor = RhythmMonitor.restore(monitor.snapshot())
    pause, asystole = monitor.advance(4000)
    assert (pause.rule, asystole.rule) == ("pause", "asystole")
    assert (asystole.onset, asystole.decided) == (beats[-1], beats[-1] + 1000)
    assert monitor.raised_since("asystole") == beats[-1]
    assert monitor.heart_rate_bpm is None


def test_limits_change_at_run_time():
    monitor = RhythmMonitor(250.0, high_bpm=200.0)
    beats = np.arange(0, 5000, 125, dtype=np.int64)
    monitor.beats(beats, labels(beats))
    assert monitor.advance(2500) == []
    monitor.set_limits(high_bpm=110.0)
    (event,) = monitor.advance(2700)
    assert (event.rule, event.raised, event.value, event.limit) == ("tachycardia", True, 120.0, 110.0)


def test_bad_arguments_are_refused_and_change_nothing():
    monitor = RhythmMonitor(250.0)
    before = monitor.snapshot()
    with pytest.raises(ValueError, match="asystole_s"):
        RhythmMonitor(250.0, asystole_s=float("nan"))
    with pytest.raises(TypeError, match="no rhythm limit"):
        RhythmMonitor(250.0, asystole=4.0)
    with pytest.raises(ValueError, match="negative"):
        monitor.beats(np.array([-1]), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="label"):
        monitor.beats(np.array([1]), np.full(1, 9, np.uint8))
    with pytest.raises(ValueError, match="no rhythm rule"):
        monitor.raised_since("flutter")
    with pytest.raises(ValueError, match="snapshot"):
        RhythmMonitor.restore(before[:-1])
    assert monitor.snapshot() == before
