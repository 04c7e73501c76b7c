"""Second opinion on a monitor's arrhythmia alarm: the evidence of all signals, and how likely the alarm is true.

`AlarmEvidence` runs the streaming detectors on every lead and pulse wave and keeps the last minute of what they found.
Asked at an alarm, it describes that minute in numbers of the same meaning for every monitor; `dataflows.alarm_score`
turns them into a probability.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dataflows._native import PulseDetector, QrsDetector, VfDetector

Floats = npt.NDArray[np.float64]

KEPT_S = 60.0
"""Seconds of evidence that are kept."""
RECENT_S = 14.0
"""An event that explains an alarm begins within 10 s before it and lasts at most about 4 s longer."""
SHAPE_HZ = 125.0
"""Rate at which waveforms are kept for comparing shapes."""

LEAST_QRS_MV = 0.05
"""Nothing smaller is a QRS: a third of the 0.15 mV that a cardiac monitor shall not count (ANSI/AAMI EC13:2002).
The detector takes any scale and finds beats in the last bits of a silent lead."""
QRS_HALF_S = 0.06
LEAST_PULSE_STEPS = 5.0
"""A wave whose usual rise is fewer steps of its converter than this shows the converter, not a pulse."""

RUN_FEATURES = (
    *("run_unlike", "run_rate", "run_width", "run_size", "run_even", "run_self"),
    *("unlike", "longest", "longest_rate", "usual_like", "usual_width", "gap_strong", "slow5_strong"),
)
WAVEFORM_FEATURES = (
    *("vf_leak", "vf_cross", "vf_hz", "vf_conc", "vf_band", "vf_range", "vf_change", "vf_count", "vf_flat", "vf_mv"),
)
PULSE_FEATURES = (
    *("present", "gap", "gap_end", "slow5", "fast17", "fast5", "rate10", "regular", "regular_before", "usual_rate"),
    *("rise", "rise_least", "rise_cv", "swing", "swing_least"),
)


@dataclass
class _Wave:
    """What every channel keeps: decimated values of the last minute."""

    fs_hz: float
    values: deque[float] = field(default_factory=deque)
    pushed: int = 0

    @property
    def step(self) -> int:
        return max(1, round(self.fs_hz / SHAPE_HZ))

    def keep(self, samples: Floats) -> None:
        """Keeps every n-th sample of the stream, whatever the chunks."""
        first = -self.pushed % self.step
        self.values.extend(samples[first :: self.step].tolist())
        self.pushed += len(samples)
        while len(self.values) > KEPT_S * self.fs_hz / self.step:
            self.values.popleft()

    def place(self, sample: int) -> int:
        """Place among the kept values of the one at or before a sample; negative when that is gone."""
        return sample // self.step - (math.ceil(self.pushed / self.step) - len(self.values))

    def recent(self) -> Floats:
        """Kept values, oldest first."""
        return np.array(self.values)

    def last(self, seconds: float) -> Floats:
        """The valid ones of the last seconds."""
        values = self.recent()[-round(seconds * self.fs_hz / self.step) :]
        return values[np.isfinite(values)]


class Lead:
    """One ECG lead: beats, waveform seconds and the wave, of the last minute."""

    def __init__(self, fs_hz: float) -> None:
        self.fs_hz = fs_hz
        self.wave = _Wave(fs_hz)
        self._qrs, self._vf = QrsDetector(fs_hz), VfDetector(fs_hz)
        self._beats: deque[int] = deque()
        self._seconds: deque[Floats] = deque(maxlen=int(KEPT_S))

    def push(self, samples: Floats) -> None:
        """Takes the next samples, millivolts; NaN is invalid."""
        self._seconds.extend(self._vf.push(samples))
        self.wave.keep(samples)
        self._beats.extend(self._large(self._qrs.push(samples).tolist()))
        while self._beats and self._beats[0] < self.wave.pushed - KEPT_S * self.fs_hz:
            self._beats.popleft()

    def _large(self, beats: list[int]) -> list[int]:
        """The beats about which the wave is large enough for one; where it is no longer kept, nobody knows."""
        wave = self.wave.recent() if beats else np.zeros(0)
        half = round(QRS_HALF_S * self.fs_hz / self.wave.step)

        def large(at: int) -> bool:
            about = wave[max(0, at - half) : at + half + 1]
            about = about[np.isfinite(about)]
            return at < 0 or len(about) == 0 or float(np.ptp(about)) >= LEAST_QRS_MV

        return [beat for beat in beats if large(self.wave.place(beat))]

    def beats_s(self) -> Floats:
        """Beats, seconds before now: negative, ascending."""
        return (np.array(self._beats, float) - self.wave.pushed) / self.fs_hz

    def seconds(self) -> Floats:
        """Waveform seconds as `VfDetector.push` gives them, with the end in seconds before now."""
        rows = np.array(self._seconds).reshape(-1, 9)
        rows[:, 0] = (rows[:, 0] - self.wave.pushed) / self.fs_hz
        return rows


class PulseWave:
    """One pleth or arterial wave: pulses and the wave, of the last minute."""

    def __init__(self, fs_hz: float) -> None:
        self.fs_hz = fs_hz
        self.wave = _Wave(fs_hz)
        self._detector = PulseDetector(fs_hz)
        self._pulses: deque[tuple[int, float]] = deque()

    def push(self, samples: Floats) -> None:
        """Takes the next samples in any unit; NaN is invalid."""
        at, rises = self._detector.push(samples)
        self._pulses.extend(zip(at.tolist(), rises.tolist(), strict=True))
        self.wave.keep(samples)
        while self._pulses and self._pulses[0][0] < self.wave.pushed - KEPT_S * self.fs_hz:
            self._pulses.popleft()

    def pulses(self) -> tuple[Floats, Floats]:
        """Pulses in seconds before now, and their rises."""
        rows = np.array(self._pulses, float).reshape(-1, 2)
        return (rows[:, 0] - self.wave.pushed) / self.fs_hz, rows[:, 1]


def _gap(beats_s: Floats, since: float) -> float:
    """Longest silence in the last `-since` seconds, counting from the last beat before and up to now."""
    inside = beats_s[beats_s >= since]
    before = beats_s[beats_s < since]
    edges = np.concatenate([before[-1:] if len(before) else [since], inside, [0.0]])
    return float(np.diff(edges).max())


def _rate(beats_s: Floats, count: int, slowest: bool, since: float = -RECENT_S) -> float:
    """Extreme mean rate of `count` consecutive beats that end in the last seconds, per minute; 0 without so many."""
    if len(beats_s) < count:
        return 0.0
    spans = (beats_s[count - 1 :] - beats_s[: len(beats_s) - count + 1])[beats_s[count - 1 :] >= since]
    if len(spans) == 0:
        return 0.0
    return float(60.0 * (count - 1) / (spans.max() if slowest else max(spans.min(), 1e-3)))


def _regularity(beats_s: Floats) -> float:
    """Median deviation of the intervals from their median, as a share of it; 1 without three."""
    intervals = np.diff(beats_s)
    if len(intervals) < 3:
        return 1.0
    usual = float(np.median(intervals))
    return float(np.median(np.abs(intervals - usual)) / usual)


def _shapes(lead: Lead, beats_s: Floats) -> tuple[Floats, Floats, Floats]:
    """Windows of 240 ms about the beats that have one, with beats, and widths of the QRS in seconds."""
    wave, rate = lead.wave.recent(), lead.wave.fs_hz / lead.wave.step
    half = round(0.12 * rate)
    kept, windows, widths = [], [], []
    for beat in beats_s:
        at = len(wave) + round(beat * rate)
        window = wave[at - half : at + half + 1] if at >= half else wave[:0]
        if len(window) < 2 * half + 1 or not np.isfinite(window).all():
            continue
        slope = np.abs(np.diff(window))
        energy = np.cumsum(slope) / max(float(slope.sum()), 1e-9)
        widths.append((np.searchsorted(energy, 0.9) - np.searchsorted(energy, 0.1)) / rate)
        windows.append(window - window.mean())
        kept.append(beat)
    return np.array(kept), np.array(windows).reshape(len(kept), 2 * half + 1), np.array(widths)


def _likeness(windows: Floats, template: Floats) -> Floats:
    size = np.linalg.norm(windows, axis=1) * np.linalg.norm(template) + 1e-9
    return np.asarray(windows @ template / size)


def _lead_features(lead: Lead) -> dict[str, float]:
    beats = lead.beats_s()
    wave, before = lead.wave.last(RECENT_S), lead.wave.recent()
    before = before[: max(0, len(before) - len(wave))]
    before = before[np.isfinite(before)]
    spread = float(np.ptp(np.quantile(before, [0.01, 0.99]))) if len(before) else 0.0
    found = {
        "gap": _gap(beats, -RECENT_S),
        "slow5": _rate(beats, 5, slowest=True),
        "fast17": _rate(beats, 17, slowest=False),
        "fast9": _rate(beats, 9, slowest=False),
        "fast5": _rate(beats, 5, slowest=False, since=-12.0),
        "rate10": float((beats > -10.0).sum() * 6),
        "regular": _regularity(beats[beats > -RECENT_S]),
        "regular_before": _regularity(beats[beats <= -RECENT_S]),
        "spread": spread,
        "range": float(np.ptp(np.quantile(wave, [0.01, 0.99]))) / max(spread, 1e-6) if len(wave) else 0.0,
    }
    usual = np.median(np.diff(beats[beats <= -RECENT_S])) if (beats <= -RECENT_S).sum() > 3 else 1.0
    found["usual_rate"] = float(60.0 / max(float(usual), 0.1))
    return found | _run_features(lead, beats) | _waveform_features(lead)


def _run_features(lead: Lead, beats: Floats) -> dict[str, float]:
    """The five fast beats in a row that are least like the beats before."""
    kept, windows, widths = _shapes(lead, beats)
    found = dict.fromkeys(RUN_FEATURES, 0.0)
    early = kept <= -RECENT_S
    if early.sum() < 4 or (~early).sum() < 1:
        return found
    template = np.median(windows[early], axis=0)
    likeness, size = _likeness(windows, template), np.ptp(windows, axis=1)
    usual_width, usual_size = float(np.median(widths[early])), float(np.median(size[early]))
    # A P wave that goes on when the QRS stays away is found as a beat, but a small one.
    strong = kept[size > 0.35 * usual_size]
    found["gap_strong"], found["slow5_strong"] = _gap(strong, -RECENT_S), _rate(strong, 5, slowest=True)
    late = np.flatnonzero(kept > -12.0)
    unlike = 1.0 - likeness
    found["usual_like"] = float(np.median(likeness[early]))
    found["usual_width"] = usual_width
    found["unlike"] = float((unlike[late] > 0.4).mean()) if len(late) else 0.0
    best = -1.0
    for first in late:
        run = slice(first, first + 5)
        if first + 5 > len(kept):
            break
        rate = 240.0 / max(float(kept[first + 4] - kept[first]), 1e-3)
        value = float(np.median(unlike[run])) if rate > 95.0 else -1.0
        if value > best:
            best = value
            found["run_unlike"] = value
            found["run_rate"] = rate
            found["run_width"] = float(np.median(widths[run])) / max(usual_width, 1e-3)
            found["run_size"] = float(np.median(size[run])) / max(usual_size, 1e-6)
            found["run_even"] = float(np.std(np.diff(kept[run])) / np.mean(np.diff(kept[run])))
            found["run_self"] = float(np.median(_likeness(windows[run], np.median(windows[run], axis=0))))
    for odd, group in itertools.groupby(late, key=lambda n: bool(unlike[n] > 0.3 or widths[n] > 1.35 * usual_width)):
        members = list(group)
        if odd and len(members) > found["longest"]:
            found["longest"] = float(len(members))
            span = float(kept[members[-1]] - kept[members[0]])
            found["longest_rate"] = 60.0 * (len(members) - 1) / span if span > 0 else 0.0
    return found


def _waveform_features(lead: Lead) -> dict[str, float]:
    """The four seconds of the recent past that look most like fibrillation, and the median before."""
    rows = lead.seconds()
    recent = rows[rows[:, 0] > -10.5]
    found = dict.fromkeys(WAVEFORM_FEATURES, 0.0)
    if len(recent) == 0:
        return found
    score = recent[:, 2] - recent[:, 1] + recent[:, 5]
    worst = recent[int(np.argmax(score))]
    early = rows[rows[:, 0] <= -10.5]
    usual = np.median(early, axis=0) if len(early) else worst
    found["vf_leak"], found["vf_cross"], found["vf_hz"] = float(worst[1]), float(worst[2]), float(worst[3])
    found["vf_conc"], found["vf_band"] = float(worst[4]), float(worst[5])
    found["vf_range"] = float(worst[6] / max(float(usual[6]), 1e-6))
    found["vf_change"] = float((worst[2] - worst[1]) - (usual[2] - usual[1]))
    found["vf_count"] = float(recent[:, 8].sum())
    found["vf_flat"] = float((recent[:, 6] / max(float(usual[6]), 1e-6)).min())
    found["vf_mv"] = float(worst[6])
    return found


def _least_swing(wave: _Wave) -> float:
    """Least range of 3 s in the recent past, against the median range of 3 s before."""
    length = round(3.0 * wave.fs_hz / wave.step)
    values = wave.recent()
    blocks = [values[at : at + length] for at in range(0, len(values) - length + 1, length // 3)]
    ranges = np.array([np.ptp(block) for block in blocks if np.isfinite(block).all()])
    recent = max(1, round(RECENT_S))
    if len(ranges) <= recent + 3:
        return 0.0
    return float(ranges[-recent:].min() / max(float(np.median(ranges[:-recent])), 1e-9))


def _step(values: Floats) -> float:
    """Least difference between two values, the step of the converter; 0 without two different ones."""
    steps = np.abs(np.diff(values))
    steps = steps[steps > 1e-6 * np.ptp(values)] if len(values) else steps
    return float(steps.min()) if len(steps) else 0.0


def _pulse_features(pulse: PulseWave | None) -> dict[str, float]:
    found = dict.fromkeys(PULSE_FEATURES, 0.0)
    if pulse is None:
        return found
    at, rises = pulse.pulses()
    early = at <= -RECENT_S
    if early.sum() < 5:
        return found
    usual = float(np.median(rises[early]))
    late = rises[at > -10.0] / max(usual, 1e-9)
    wave, before = pulse.wave.last(8.0), pulse.wave.last(KEPT_S)
    if usual < LEAST_PULSE_STEPS * _step(before):
        return found
    found |= {
        "present": 1.0,
        "gap": _gap(at, -RECENT_S),
        "gap_end": float(-at[-1]),
        "slow5": _rate(at, 5, slowest=True),
        "fast17": _rate(at, 17, slowest=False),
        "fast5": _rate(at, 5, slowest=False, since=-12.0),
        "rate10": float((at > -10.0).sum() * 6),
        "regular": _regularity(at[at > -RECENT_S]),
        "regular_before": _regularity(at[early]),
        "usual_rate": float(60.0 / max(float(np.median(np.diff(at[early]))), 0.1)),
        "rise": float(np.median(late)) if len(late) else 0.0,
        "rise_least": float(late.min()) if len(late) else 0.0,
        "rise_cv": float(np.std(rises[early]) / max(usual, 1e-9)),
        "swing": float(np.ptp(wave) / max(float(np.ptp(before)), 1e-9)) if len(wave) else 0.0,
        "swing_least": _least_swing(pulse.wave),
    }
    return found


class AlarmEvidence:
    """All signals of a patient, and what they say at an alarm.

    Args:
        leads: Name and rate in Hz of each ECG lead.
        pulses: Name and rate in Hz of each pleth or arterial wave, the most trusted last.
    """

    def __init__(self, leads: dict[str, float], pulses: dict[str, float]) -> None:
        self.leads = {name: Lead(fs_hz) for name, fs_hz in leads.items()}
        self.pulses = {name: PulseWave(fs_hz) for name, fs_hz in pulses.items()}

    def push(self, name: str, samples: Floats) -> None:
        """Takes the next samples of a channel; NaN is invalid."""
        channel = self.leads.get(name) or self.pulses[name]
        channel.push(np.ascontiguousarray(samples, np.float64))

    def features(self) -> dict[str, float]:
        """The last minute in numbers: of each lead the mean, least and most; of two pulse waves; of both together."""
        leads = [_lead_features(lead) for lead in self.leads.values()]
        found: dict[str, float] = {"leads": float(len(leads))}
        for name in leads[0] if leads else ():
            values = [lead.get(name, 0.0) for lead in leads]
            found[f"ecg_{name}_min"], found[f"ecg_{name}_max"] = min(values), max(values)
            found[f"ecg_{name}_mean"] = float(np.mean(values))
        beats = np.sort(np.concatenate([lead.beats_s() for lead in self.leads.values()] or [np.zeros(0)]))
        found["ecg_union_gap"] = _gap(beats, -RECENT_S)
        waves = [_pulse_features(wave) for wave in self.pulses.values()]
        waves += [_pulse_features(None)] * (2 - len(waves))
        for rank, wave in enumerate(
            sorted(waves, key=lambda w: (w["present"], -w["regular_before"]), reverse=True)[:2]
        ):
            found |= {f"pulse{rank}_{name}": value for name, value in wave.items()}
        present = [wave for wave in waves if wave["present"]]
        found["pulse_gap_least"] = min((wave["gap"] for wave in present), default=99.0)
        found["pulse_slow5_most"] = max((wave["slow5"] for wave in present), default=0.0)
        found["pulse_fast17_most"] = max((wave["fast17"] for wave in present), default=0.0)
        found["pulse_regular_least"] = min((wave["regular"] for wave in present), default=1.0)
        found["all_gap_least"] = min(found.get("ecg_gap_min", 99.0), found["pulse_gap_least"])
        pulses = [wave.pulses()[0] for wave in self.pulses.values()]
        union = np.sort(np.concatenate([beats, *pulses]))
        found["all_union_gap"] = _gap(union, -RECENT_S)
        return found
