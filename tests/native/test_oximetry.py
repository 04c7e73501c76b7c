"""Desaturations through the binding: one event of each kind, and what is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from dataflows.detectors import Desaturation, DesaturationDetector

Series = npt.NDArray[np.float64]
NONE = float("nan")


def hold(value: float, seconds: int) -> Series:
    return np.full(seconds, value)


def ramp(start: float, stop: float, seconds: int) -> Series:
    return np.linspace(start, stop, seconds)


def detect(*parts: Series, fs_hz: float = 1.0, drop: float = 3.0, profile: str = "standard") -> list[Desaturation]:
    """Everything that one whole series gives."""
    detector = DesaturationDetector(fs_hz, drop, profile=profile)
    return detector.push(np.concatenate(parts)) + detector.flush()


def scored(events: list[Desaturation]) -> list[Desaturation]:
    return [event for event in events if event.kind != "provisional"]


def test_a_fall_that_recovers_is_told_twice() -> None:
    events = detect(hold(96, 120), ramp(96, 90, 21), ramp(90, 96, 11), hold(96, 60))
    assert [event.kind for event in events] == ["provisional", "final"]
    first, last = events
    assert first.onset_s == last.onset_s == pytest.approx(120, abs=2)
    assert last.nadir_s == pytest.approx(140, abs=2)
    assert (last.baseline, last.nadir, last.drop) == (96.0, 90.0, 6.0)
    assert first.decided_s < last.nadir_s < last.decided_s <= last.end_s + 2


@pytest.mark.parametrize("lowest", [84.0, 88.0, 92.0])
def test_a_fall_that_never_recovers_is_sustained(lowest: float) -> None:
    (event,) = scored(detect(hold(96, 120), ramp(96, lowest, 40), hold(lowest, 600)))
    assert event.kind == "sustained"
    assert event.decided_s < 120 + 200
    assert (event.baseline, event.nadir) == (96.0, lowest)
    (event,) = scored(detect(hold(96, 120), ramp(96, lowest, 40), hold(lowest, 20)))
    assert event.kind == "sustained"


def test_a_plateau_is_one_event_and_a_dip_from_it_another() -> None:
    plateau = [hold(96, 120), ramp(96, 88, 30), hold(88, 600), ramp(88, 96, 30), hold(96, 60)]
    assert [event.kind for event in scored(detect(*plateau))] == ["sustained"]
    plateau[3:3] = [ramp(88, 83, 25), ramp(83, 88, 15), hold(88, 60)]
    assert [event.kind for event in scored(detect(*plateau))] == ["sustained", "final"]


def test_a_gap_truncates() -> None:
    (event,) = scored(detect(hold(96, 120), ramp(96, 88, 30), hold(NONE, 100), hold(96, 100)))
    assert event.kind == "truncated"
    assert event.end_s <= 150
    assert not detect(hold(96, 120), hold(NONE, 100), hold(88, 100))
    assert not detect(hold(96, 120), ramp(96, 92, 5), hold(NONE, 100))  # the finger slips out of the probe


def test_a_short_gap_does_not() -> None:
    (event,) = scored(detect(hold(96, 120), ramp(96, 90, 21), hold(NONE, 20), ramp(90, 96, 11), hold(96, 60)))
    assert event.kind == "final"


def test_a_rise_a_spike_and_a_step_are_none() -> None:
    assert not detect(hold(84, 300), ramp(84, 96, 60), hold(96, 300))
    assert not detect(hold(96, 120), hold(80, 5), hold(96, 120))
    assert not detect(hold(96, 120), hold(80, 30), hold(96, 120))


def test_a_step_that_stays_is_sustained() -> None:
    (event,) = scored(detect(hold(96, 300), hold(84, 600)))
    assert (event.kind, event.drop) == ("sustained", 12.0)


def test_the_threshold_is_exact() -> None:
    parts = [
        hold(97.3, 120),
        ramp(97.3, 94.0, 22).round(1),
        hold(94.0, 10),
        ramp(94.0, 97.3, 12).round(1),
        hold(97.3, 60),
    ]
    (event,) = scored(detect(*parts, drop=3.3))
    assert event.drop == 3.3
    assert not detect(*parts, drop=3.301)


def test_partial_resaturation_starts_a_second_fall_only_by_a_whole_threshold() -> None:
    fall = [hold(96, 120), ramp(96, 88, 30), ramp(88, 91, 8)]
    assert len(scored(detect(*fall, ramp(91, 89, 15), ramp(89, 96, 20), hold(96, 60)))) == 1
    assert len(scored(detect(*fall, ramp(91, 86, 25), ramp(86, 96, 20), hold(96, 60)))) == 2


@pytest.mark.parametrize("fs_hz", [0.2, 0.25, 0.5, 1.0, 2.0, 4.0])
def test_any_rate_gives_the_same_event(fs_hz: float) -> None:
    seconds = np.arange(0, 400, 1 / fs_hz)
    wave = np.interp(seconds, [0, 120, 150, 160, 180, 400], [96, 96, 88, 88, 96, 96])
    (event,) = scored(detect(np.round(wave), fs_hz=fs_hz))
    assert event.kind == "final"
    assert event.onset_s == pytest.approx(120, abs=max(5, 1 / fs_hz))
    assert event.nadir_s == pytest.approx(150, abs=max(5, 1 / fs_hz))
    assert event.drop == pytest.approx(8, abs=0.5)
