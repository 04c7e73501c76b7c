"""Pictures of a report as SVG in millimetres, so that paper speed and gain are true in print."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np
import numpy.typing as npt

MM_PER_S = 25.0
MM_PER_MV = 10.0
STRIP_S = 7.0
_STRIP_MM = (STRIP_S * MM_PER_S, 38.0)
_TREND_MM = (175.0, 30.0)
_LEFT_MM = 14.0


def gain_of(samples: npt.NDArray[np.float64]) -> float:
    """Returns mm/mV: 10, or half, quarter of it, as on paper, where the strip would be cut off at its edge."""
    span_mv = float(np.nanmax(samples) - np.nanmin(samples)) if np.isfinite(samples).any() else 0.0
    fits = (gain for gain in (MM_PER_MV, MM_PER_MV / 2) if span_mv * gain <= _STRIP_MM[1])
    return next(fits, MM_PER_MV / 4)


def strip(samples: npt.NDArray[np.float64], fs_hz: float, *, in_mv: bool, marks: Sequence[float]) -> str:
    """A strip of `STRIP_S` seconds on paper of 1 and 5 mm.

    Args:
        samples: Physical units, NaN where nothing was recorded, 1-D.
        fs_hz: Sampling rate.
        in_mv: Drawn at `gain_of` mm/mV; else scaled to its own range.
        marks: R peaks, s from the strip's begin.
    """
    width, height = _STRIP_MM
    middle = float(np.nanmin(samples) + np.nanmax(samples)) / 2 if np.isfinite(samples).any() else 0.0
    spread = float(np.nanmax(np.abs(samples - middle))) if np.isfinite(samples).any() else 1.0
    gain = gain_of(samples) if in_mv else 0.4 * height / (spread or 1.0)
    points = np.column_stack([np.arange(samples.size) / fs_hz * MM_PER_S, height / 2 - (samples - middle) * gain])
    ticks = "".join(f'<path d="M{at * MM_PER_S:.2f} 0v2" class="mark"/>' for at in marks)
    return (
        f'<svg class="strip" width="{width}mm" height="{height}mm" viewBox="0 0 {width} {height}">'
        f'<rect width="{width}" height="{height}" fill="url(#paper)"/>{_line(points)}{ticks}</svg>'
    )


def trend(times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64], span_s: tuple[float, float]) -> str:
    """A trend: a point a value, joined where less than three times the usual pause lies between.

    Args:
        times_s: s since 1970, ascending, 1-D.
        values: As many.
        span_s: Begin and end of the time axis.
    """
    width, height = _TREND_MM
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 1.0
    low, high = low - margin, high + margin
    across = _LEFT_MM + (times_s - span_s[0]) / max(span_s[1] - span_s[0], 1e-9) * (width - _LEFT_MM)
    up = height - 5 - (values - low) / (high - low) * (height - 7)
    pauses = np.diff(times_s)
    gaps = np.flatnonzero(pauses > 3 * np.median(pauses)) + 1 if pauses.size else np.array([], np.int64)
    points = np.insert(np.column_stack([across, up]), gaps, np.nan, axis=0)
    labels = "".join(
        f'<text x="{_LEFT_MM - 1}" y="{y}" class="axis" text-anchor="end">{value:.4g}</text>'
        for y, value in ((4, high), (height - 5, low))
    )
    times = "".join(
        f'<text x="{x}" y="{height - 0.8}" class="axis" text-anchor="{anchor}">{clock(at)}</text>'
        for x, at, anchor in ((_LEFT_MM, span_s[0], "start"), (width, span_s[1], "end"))
    )
    dots = "".join(f'<circle cx="{x:.2f}" cy="{y:.2f}" r=".35"/>' for x, y in zip(across, up, strict=True))
    frame = f'<path d="M{_LEFT_MM} 2V{height - 5}H{width}" class="frame"/>'
    few = dots if values.size <= 400 else ""  # more than that is a line anyway
    return (
        f'<svg class="trend" width="{width}mm" height="{height}mm" viewBox="0 0 {width} {height}">'
        f"{frame}{_line(points)}{few}{labels}{times}</svg>"
    )


def _line(points: npt.NDArray[np.float64]) -> str:
    """A path with a gap wherever a point is NaN."""
    words, pen_down = [], False
    for x, y in points:
        if np.isnan(y):
            pen_down = False
            continue
        words.append(f"{'L' if pen_down else 'M'}{x:.2f} {y:.2f}")
        pen_down = True
    return f'<path d="{"".join(words)}" class="line"/>'


def clock(at_s: float) -> str:
    """A time for people: date and time, UTC."""
    return escape(datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S"))
