"""Synthetic nights of SpO2 whose desaturations are known, because nobody scored the recorded ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fall:
    """A desaturation that was put in, seconds and points."""

    start_s: int
    end_s: int
    depth: float


@dataclass(frozen=True)
class Kind:
    """How nights are made.

    Attributes:
        falls_per_h: Desaturations and sub-threshold dips together, per hour.
        hours: Length.
        digit: Resolution of the display, %.
        averaging_s: Averaging of the device.
        noise: Standard deviation before averaging, points.
        dips: Share of falls that stay below the threshold.
        depths: Range of the depth of desaturations; of dips, from 1 to `deepest_dip`.
        deepest_dip: See `depths`.
        fall_s: Range of the length of a fall; `hold_s` at the bottom; `rise_s` back up.
        artefacts: Spikes of 1 to 5 s, stretches without a finger, two gaps of 100 s.
    """

    falls_per_h: float
    hours: int = 8
    digit: float = 1.0
    averaging_s: int = 4
    noise: float = 0.25
    dips: float = 0.25
    depths: tuple[float, float] = (3.0, 10.0)
    deepest_dip: float = 2.2
    fall_s: tuple[int, int] = (12, 40)
    hold_s: tuple[int, int] = (0, 10)
    rise_s: tuple[int, int] = (6, 20)
    artefacts: bool = True


def night(kind: Kind, seed: int) -> tuple[Series, list[Fall]]:
    """One night at 1 Hz with one plateau of 5 to 15 min, and its desaturations outside the gaps."""
    rng = np.random.default_rng([seed, round(kind.falls_per_h)])
    length = kind.hours * 3600
    second = np.arange(length)
    drift = 0.5 * np.sin(second / 860 + rng.uniform(0, 6)) + 0.3 * np.sin(second / 270 + rng.uniform(0, 6))
    depth, falls = _falls(kind, rng, length)
    values = 96 + drift - depth + rng.normal(0, kind.noise, length)
    padded = np.concatenate([np.full(kind.averaging_s - 1, values[0]), values])
    values = np.convolve(padded, np.full(kind.averaging_s, 1 / kind.averaging_s), "valid")
    values = np.clip(np.round(values / kind.digit) * kind.digit, 50, 100)
    return _spoil(values, falls, rng) if kind.artefacts else (values, falls)


def _falls(kind: Kind, rng: np.random.Generator, length: int) -> tuple[Series, list[Fall]]:
    depth, falls = np.zeros(length), list[Fall]()
    mean_s, plateau_at = 3600 / kind.falls_per_h, int(rng.integers(length // 3, 2 * length // 3))
    at = 120
    while True:
        fall, hold, rise = (int(rng.integers(*span)) for span in (kind.fall_s, kind.hold_s, kind.rise_s))
        dip = bool(rng.random() < kind.dips)
        if plateau_at and at > plateau_at:
            plateau_at, hold, dip = 0, int(rng.integers(300, 900)), False
        low = rng.uniform(1, kind.deepest_dip) if dip else rng.uniform(*kind.depths)
        total = fall + hold + rise
        if at + total + 60 > length:
            return depth, falls
        down = (1 - np.cos(np.pi * np.arange(1, fall + 1) / fall)) / 2
        up = (1 + np.cos(np.pi * np.arange(1, rise + 1) / rise)) / 2
        depth[at : at + total] = low * np.concatenate([down, np.ones(hold), up])
        if not dip:
            falls.append(Fall(at, at + total, low))
        at += total + max(8, int(rng.uniform(0.4, 1.6) * max(mean_s - total, 8)))


def _spoil(values: Series, falls: list[Fall], rng: np.random.Generator) -> tuple[Series, list[Fall]]:
    values = values.copy()
    for _ in range(len(values) // 1200):
        at = int(rng.integers(0, len(values) - 10))
        values[at : at + int(rng.integers(1, 6))] = rng.uniform(50, 80) if rng.random() < 0.7 else 100
    for _ in range(len(values) // 7200):
        at = int(rng.integers(0, len(values) - 100))
        values[at : at + int(rng.integers(3, 25))] = rng.choice([0, 127, 255, np.nan])
    for _ in range(2):
        at = int(rng.integers(0, len(values) - 200))
        values[at : at + 100] = np.nan
        falls = [fall for fall in falls if fall.end_s < at - 5 or fall.start_s > at + 105]
    return values, falls


def pairs(one: list[tuple[float, float]], two: list[tuple[float, float]], tolerance_s: float = 5.0) -> int:
    """How many of the intervals overlap one to one, first come first served; both in order of time."""
    count, free = 0, 0
    for start, end in one:
        while free < len(two) and two[free][1] + tolerance_s < start:
            free += 1
        if free < len(two) and two[free][0] - tolerance_s <= end:
            count, free = count + 1, free + 1
    return count
