"""The R-peak detector written a second time, plainly: whole arrays in NumPy, float64, no streaming.

It shares nothing with the Rust code but the weights, and must find the same beats. Positions, filters and features of
all candidates are array expressions over the whole record; only the decisions, which depend on each other, are a loop.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WEIGHTS = Path(__file__).parents[2] / "native" / "src" / "ecg" / "weights.rs"
GRID = 4096.0
SHAPE = 17
UNIT = 32_000.0


class Network:
    """Standardised features through two layers of rectified linear units."""

    def __init__(self, name: str, sizes: tuple[int, int, int, int]) -> None:
        text = re.search(rf"const {name}: .*?= \[(.*?)\];", WEIGHTS.read_text(), re.DOTALL)
        assert text is not None
        flat = np.array([int(v) for v in re.findall(r"-?\d+", text[1])], np.float64) / GRID
        n, a, b, o = sizes
        parts = np.split(flat, np.cumsum([n, n, n * a, a, a * b, b, b * o])[:].tolist())
        self.mean, self.scale = parts[0], parts[1]
        self.first, self.first_bias = parts[2].reshape(n, a), parts[3]
        self.second, self.second_bias = parts[4].reshape(a, b), parts[5]
        self.last, self.last_bias = parts[6].reshape(b, o), parts[7]

    def score(self, features: Floats) -> Floats:
        """Log odds."""
        x = np.clip((features - self.mean) * self.scale, -5.0, 5.0)
        x = np.maximum(x @ self.first + self.first_bias, 0.0)
        x = np.maximum(x @ self.second + self.second_bias, 0.0)
        return x @ self.last + self.last_bias


BEAT = Network("BEAT", (38, 16, 8, 1))
QUALITY = Network("QUALITY", (8, 6, 4, 1))


@dataclass
class Timing:
    """Counts at one rate."""

    fs_hz: float
    factor: int = 0
    rate: float = 0.0
    lag: int = 0
    half: int = 0
    reach: int = 0

    def __post_init__(self) -> None:
        def rounded(x: float) -> int:
            return int(np.floor(x + 0.5))

        self.factor = max(1, rounded(self.fs_hz / 120.0))
        self.rate = self.fs_hz / self.factor
        self.lag, self.half, self.reach = (rounded(s * self.rate) for s in (0.025, 0.035, 0.2))
        self.half_shape = rounded(0.067 * self.rate)

    def span(self, seconds: float) -> int:
        """Decimated samples, rounded down, as float32 gives them."""
        return int(np.float32(seconds) * np.float32(self.rate))


@dataclass
class Signals:
    """Decimated samples, smoothed samples and energy, with as much silence in front as anything looks back."""

    decimated: Floats
    smooth: Floats
    energy: Floats
    slope: Floats
    pad: int


def filtered(samples: Floats, t: Timing) -> Signals:
    """Runs the filters over the whole record."""
    pad = t.span(1.0) + 2 * t.reach + 32
    count = len(samples) // t.factor
    relative = samples - samples[0]
    decimated = np.concatenate([np.zeros(pad), relative[: count * t.factor].reshape(count, t.factor).sum(1)])
    smooth = np.zeros_like(decimated)
    smooth[1:-1] = decimated[:-2] + decimated[1:-1] + decimated[2:]
    second, first = np.zeros_like(smooth), np.zeros_like(smooth)
    k = t.lag
    second[k:-k] = 2 * smooth[k:-k] - smooth[2 * k :] - smooth[: -2 * k]
    first[k:-k] = smooth[2 * k :] - smooth[: -2 * k]
    window = np.ones(2 * t.half + 1) / (2 * t.half + 1)
    energy = np.sqrt(np.maximum(np.convolve(second**2, window, "same"), 0.0))
    slope = np.convolve(first**2, window, "same")
    # what the end of the record leaves incomplete is never seen by the streaming form
    complete = len(decimated) - (1 + t.lag + t.half)
    return Signals(decimated, smooth, energy[:complete], slope[:complete], pad)


def candidates(s: Signals, t: Timing) -> Ints:
    """Energies that exceed all before and are not exceeded by any after, within `reach`."""
    e, h = s.energy, t.reach
    windows = np.lib.stride_tricks.sliding_window_view(e, 2 * h + 1)
    centre = e[h:-h]
    at = np.flatnonzero((centre > 0) & (centre >= windows.max(1))) + h
    return np.array([p for p in at.tolist() if (e[p - h : p] < e[p]).all() and p >= s.pad - 1], np.int64)


def shapes(s: Signals, at: Ints, stride: int) -> Floats:
    """Unit shapes in integers."""
    points = s.smooth[at[:, None] + stride * np.arange(-(SHAPE // 2), SHAPE // 2 + 1)]
    points = points - points.mean(1, keepdims=True)
    norm = np.sqrt((points**2).sum(1, keepdims=True))
    scaled = np.where(norm > 0, points * (UNIT / np.maximum(norm, 1e-300)), 0.0)
    return np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)


def half_width(energy: Floats, at: int, t: Timing) -> int:
    """Samples above half the peak, each side at most 200 ms."""
    far, half = t.span(0.2), 0.5 * energy[at]
    left = next((i for i in range(far) if not energy[at - i] > half), far)
    right = next((i for i in range(far) if i >= t.reach or not energy[at + i] > half), far)
    return left + right


def levels(s: Signals, at: Ints, t: Timing) -> dict[str, Floats]:
    """What each candidate looks like by itself."""
    e, d = s.energy, s.decimated
    peak = e[at]
    eps = 5e-4 * peak
    near, far, tenth, second, quarter = (t.span(x) for x in (0.06, 0.2, 0.1, 1.0, 0.25))

    def gather(a: Floats, first: int, end: int) -> Floats:
        return a[at[:, None] + np.arange(first, end)]

    before = np.minimum(at - s.pad, 10 * second)
    background, floor = np.zeros(len(at)), np.zeros(len(at))
    for i, (p, b) in enumerate(zip(at, before, strict=True)):
        back = min(int(b), second)
        background[i] = e[p - back : p].sum() / max(1, back)
        quarters = min(int(b) // quarter, 4)
        floor[i] = sum(e[p - (q + 1) * quarter : p - q * quarter].min() for q in range(quarters)) / max(1, quarters)
    ahead = gather(e, tenth, far + 1)
    smooth = gather(s.smooth, -t.half_shape, t.half_shape + 1)
    steps = np.abs(np.diff(gather(d, -t.half_shape - 1, t.half_shape + 1), axis=1))
    amplitude = (smooth.max(1) - smooth.min(1)) / 3.0
    wide = gather(d, -t.span(0.15), t.span(0.15) + 1)
    spread = wide.max(1) - wide.min(1)
    step = np.abs(gather(d, tenth, far).mean(1) - gather(d, -far, -tenth).mean(1))
    return {
        "power": np.log(peak),
        "sharpness": 0.5 * np.log(peak**2 / (s.slope[at] + eps**2)),
        "width": np.array([half_width(e, int(p), t) for p in at]) / t.rate,
        "amplitude": np.log(amplitude + eps),
        "slope": np.log(steps.max(1) + eps),
        "background": np.log(background + eps),
        "floor": np.log(floor + eps),
        "quiet_after": np.log(gather(e, near, far).min(1) + eps),
        "quiet_before": np.log(gather(e, -far, -near).min(1) + eps),
        "next": np.log(ahead.max(1) + eps),
        "next_after": np.where(ahead.max(1) > 0, ahead.argmax(1) + tenth, far) / t.rate,
        "range": np.log(spread + eps),
        "step": step / (spread + eps),
    }


def r_samples(samples: Floats, s: Signals, at: Ints, t: Timing) -> Ints:
    """The sample that departs most from the local median, never older than the look-ahead."""
    relative = samples - samples[0]
    base = np.median(s.decimated[at[:, None] + np.arange(-9, 25)], axis=1) / t.factor
    half, delay = int(0.06 * t.fs_hz), 1 + t.lag + t.half + t.reach
    out = np.zeros(len(at), np.int64)
    for i, p in enumerate((at - s.pad).tolist()):
        now = (p + delay + 1) * t.factor - 1
        centre = p * t.factor + (t.factor - 1) // 2
        oldest = max(centre - half, now - int(0.3 * t.fs_hz), 0)
        departure = np.abs(relative[oldest : min(centre + half, now) + 1] - base[i])
        out[i] = oldest + int(departure.argmax())
    return out


class Bank:
    """Shapes seen lately."""

    def __init__(self, size: int) -> None:
        self.size, self.shapes, self.entered = size, [], 0

    shapes: list[Floats]

    @staticmethod
    def correlation(a: Floats, b: Floats) -> float:
        """Best correlation over shifts of up to two points."""
        return max(float(a[2:15] @ b[shift : shift + 13]) for shift in range(5)) / (UNIT * UNIT)

    def best(self, shape: Floats) -> float:
        """Best correlation with a known shape."""
        return max([-0.2, *(self.correlation(shape, known) for known in self.shapes)])

    def enter(self, shape: Floats) -> None:
        """Blends into the most similar, or replaces the oldest."""
        scores = [self.correlation(shape, known) for known in self.shapes]
        if scores and max(scores) > 0.8:
            place = scores.index(max(scores))
            self.shapes[place] = np.trunc((self.shapes[place] * 4 + shape) / 5)
        elif len(self.shapes) < self.size:
            self.shapes.append(shape)
            self.entered += 1
        else:
            self.shapes[self.entered % self.size] = shape
            self.entered += 1

    def follow(self, shape: Floats) -> None:
        """Moves slowly."""
        self.shapes = [np.trunc((self.shapes[0] * 15 + shape) / 16)] if self.shapes else [shape]


def median(values: deque[float], default: float) -> float:
    """Median of what is known."""
    if not values:
        return default
    ordered = sorted(values)
    n = len(ordered)
    return ordered[n // 2] if n % 2 else 0.5 * (ordered[n // 2] + ordered[n // 2 - 1])


def spread(values: deque[float]) -> float:
    """Median distance from the median."""
    m = median(values, 0.0)
    return median(deque(abs(v - m) for v in values), 0.0)


def last8() -> deque[float]:
    """Eight values."""
    return deque(maxlen=8)


@dataclass
class Pulse:
    """The rhythm of the beats beyond doubt."""

    beat: int = 0
    rr: float = 0.0
    spread: float = 0.0

    def features(self, index: int, since_beat: float, t: Timing) -> list[float]:
        """Distance from the nearest due beat, intervals since the last sure one, irregularity, time since any beat."""
        if self.rr <= 0.0:
            return [0.25, 10.0, 0.5, 1.0]
        elapsed = (index - self.beat) / t.rate / self.rr
        due = max(np.floor(elapsed + 0.5), 1.0)
        return [
            min(abs(elapsed - due), 1.0) if elapsed < 10.0 else 0.25,
            min(elapsed, 10.0),
            min(self.spread / self.rr, 0.5),
            min(since_beat / self.rr, 3.0),
        ]

    def follow(self, index: int, previous: int | None, interval: float | None) -> None:
        """Takes a sure beat; its interval counts if the beat before was sure, too."""
        if interval is not None and previous == self.beat:
            if self.rr > 0.0:
                self.spread += 0.125 * (abs(interval - self.rr) - self.spread)
                self.rr += 0.125 * (interval - self.rr)
            else:
                self.rr, self.spread = interval, 0.25 * interval
        self.beat = index


def clip(x: float) -> float:
    """Within the range that the network was trained on."""
    return min(max(x, -3.0), 3.0)


@dataclass
class History:
    """What the decisions remember."""

    power: deque[float] = field(default_factory=last8)
    sharpness: deque[float] = field(default_factory=last8)
    amplitude: deque[float] = field(default_factory=last8)
    slope: deque[float] = field(default_factory=last8)
    range: deque[float] = field(default_factory=last8)
    rejected: deque[float] = field(default_factory=last8)
    rr: deque[float] = field(default_factory=last8)
    templates: Bank = field(default_factory=lambda: Bank(4))
    rejected_templates: Bank = field(default_factory=lambda: Bank(2))
    trusted: dict[str, Any] | None = None
    pulse: Pulse = field(default_factory=Pulse)
    recent: deque[tuple[int, float, bool]] = field(default_factory=lambda: deque(maxlen=14))
    beat: int | None = None
    beat_power: float = 0.0
    strongest: float = 0.0

    def fall(self, since: float | None) -> float:
        """How far the expected amplitude has fallen."""
        over = min(max((since or 0.0) - 2.5, 0.0), 10.0)
        return 0.12 * over * over

    def features(self, c: dict[str, Any], t: Timing) -> Floats:
        """The 38 features."""
        power = c["power"]
        since = None if self.beat is None else (c["index"] - self.beat) / t.rate
        fall = self.fall(since)
        beat_power = median(self.power, self.strongest - 0.2) - fall
        reject_power = median(self.rejected, beat_power - 2.0)
        rr = median(self.rr, 0.8)
        elapsed = 1.0 if since is None else since
        previous, previous_before, last_second, strongest_reject = self.neighbours(c, t)

        def usual(values: deque[float], level: str) -> float:
            return c[level] - (median(values, c[level] - power + beat_power)) + fall

        trusted = [0.8, 0.8, 0.0, 0.0]
        if self.trusted is not None:
            trusted = [
                self.trusted["shape"].best(c["shape"]),
                self.trusted["wide"].best(c["wide"]),
                clip(power - self.trusted["power"]),
                clip(c["amplitude"] - self.trusted["amplitude"]),
            ]
        return np.array(
            [
                power - beat_power,
                power - reject_power,
                clip(power - c["next"]),
                clip(power - previous if previous is not None else 3.0),
                min(elapsed, 3.0),
                min(elapsed / rr, 3.0),
                power - self.beat_power if self.beat is not None else 0.0,
                c["sharpness"],
                c["sharpness"] - median(self.sharpness, 0.0),
                self.templates.best(c["shape"]),
                c["width"],
                c["background"] - power,
                c["floor"] - power,
                c["quiet_after"] - power,
                c["quiet_before"] - power,
                usual(self.amplitude, "amplitude"),
                usual(self.slope, "slope"),
                last_second,
                c["next_after"],
                previous_before,
                clip(power - strongest_reject),
                rr,
                c["slope"] - c["amplitude"],
                beat_power - reject_power,
                self.rejected_templates.best(c["shape"]),
                spread(self.power),
                spread(self.rr) / rr,
                usual(self.range, "range"),
                c["range"] - c["amplitude"],
                c["step"],
                *trusted,
                *self.pulse.features(c["index"], elapsed, t),
            ]
        )

    def neighbours(self, c: dict[str, Any], t: Timing) -> tuple[float | None, float, int, float]:
        """Candidates shortly before."""
        previous, previous_before, last_second, strongest_reject = None, 0.36, 0, -1e30
        behind_beat = True
        for back, (index, power, accepted) in enumerate(reversed(self.recent), 1):
            seconds = np.float32(c["index"] - index) / np.float32(t.rate)
            if seconds > 2.0:
                break
            if back <= 3 and seconds <= np.float32(0.36) and (previous is None or power > previous):
                previous, previous_before = power, float(seconds)
            last_second += int(seconds <= 1.0)
            behind_beat = behind_beat and not accepted
            if behind_beat:
                strongest_reject = max(strongest_reject, power)
        return previous, previous_before, last_second, strongest_reject

    def decide(self, c: dict[str, Any], score: float, accepted: bool, t: Timing) -> None:
        """Takes a decision into account."""
        self.recent.append((c["index"], c["power"], accepted))
        if not accepted:
            self.rejected.append(c["power"])
            self.rejected_templates.enter(c["shape"])
            return
        since = None if self.beat is None else (c["index"] - self.beat) / t.rate
        interval = since if since is not None and since < 2.5 else None
        if interval is not None:
            self.rr.append(interval)
        if self.fall(since) > 0.3:
            for values in (self.power, self.amplitude, self.slope, self.range, self.rejected):
                values.clear()
            self.trusted, self.pulse = None, Pulse()
        for level in ("power", "sharpness", "amplitude", "slope", "range"):
            getattr(self, level).append(c[level])
        if score > 4.0:
            self.trust(c)
            self.pulse.follow(c["index"], self.beat, interval)
        self.beat, self.beat_power = c["index"], c["power"]
        self.templates.enter(c["shape"])

    def trust(self, c: dict[str, Any]) -> None:
        """Moves the trusted picture."""
        if self.trusted is None:
            self.trusted = {"shape": Bank(1), "wide": Bank(1), "power": c["power"], "amplitude": c["amplitude"]}
        for level in ("power", "amplitude"):
            self.trusted[level] += 0.0625 * (c[level] - self.trusted[level])
        self.trusted["shape"].follow(c["shape"])
        self.trusted["wide"].follow(c["wide"])


@dataclass
class Decisions:
    """What the decisions of a second were like."""

    gate: float = 0.0
    certainty: list[float] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)

    def close(self, energy: Floats, history: History) -> Decisions:
        """Starts the next second with the gate that this one's quality sets."""
        quarter = len(energy) // 4
        floor = np.mean([energy[q * quarter : (q + 1) * quarter].min() for q in range(4)])
        beat_power = median(history.power, history.strongest)

        def relative(value: float) -> float:
            return float(np.clip(np.log(max(value, 1.1754944e-38)) - beat_power, -8.0, 4.0))

        features = [
            float(np.mean(self.certainty)) if self.certainty else 0.5,
            1.0 - min(self.certainty) if self.certainty else 0.0,
            relative(float(energy.mean())),
            relative(float(floor)),
            len(self.certainty) - len(self.correlation),
            float(np.mean(self.correlation)) if self.correlation else 0.5,
            min(spread(history.power), 2.0),
            min(spread(history.rr) / median(history.rr, 0.8), 1.0),
        ]
        odds = float(QUALITY.score(np.array(features))[0])
        return Decisions(gate=min(max((2.5 - odds) / 2.5, 0.0), 1.0))


def detect(samples: npt.NDArray[np.int16], fs_hz: float) -> Ints:
    """R peaks of a whole record without invalid samples; the last 300 ms may lack one."""
    t = Timing(fs_hz)
    x = samples.astype(np.float64)
    s = filtered(x, t)
    at = candidates(s, t)
    values = levels(s, at, t)
    shape, wide, position = shapes(s, at, 1), shapes(s, at, 2), r_samples(x, s, at, t)
    history, decisions, second, beats = History(), Decisions(), 0, []
    index = at - s.pad
    history.strongest = float(values["power"][index < 2.0 * t.rate].max())

    def starts(k: int) -> int:
        return int(np.floor(k * t.rate + 0.5))

    columns = {name: column.tolist() for name, column in values.items()}
    for i, p in enumerate(index.tolist()):
        while p >= starts(second + 1):
            first, end = starts(second), starts(second + 1)
            if second < 2:  # the learning phase says nothing about quality
                decisions = Decisions()
            energy = s.energy[s.pad + first : s.pad + end]
            decisions = decisions.close(energy, history)
            second += 1
        c = {name: column[i] for name, column in columns.items()}
        c |= {"index": p, "shape": shape[i], "wide": wide[i]}
        features = history.features(c, t)
        score = float(BEAT.score(features)[0])
        accepted = score > decisions.gate
        if p >= 2.0 * t.rate:
            decisions.certainty.append(min(abs(score), 8.0) / 8.0)
            if accepted:
                decisions.correlation.append(float(features[9]))
        if accepted:
            beats.append(int(position[i]))
        history.decide(c, score, accepted, t)
    return np.array(beats, np.int64)
