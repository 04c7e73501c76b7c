"""Records, reference beats and one-to-one matching for the R-peak tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import wfdb

Indices = npt.NDArray[np.int64]

BEAT_CODES = frozenset("NLRBAaJSVrFejnE/fQ?")
"""WFDB annotation codes that mark a heartbeat."""

INVALID = -32768


@dataclass(frozen=True)
class Record:
    """One channel of a WFDB record with its reference beats.

    Attributes:
        name: Record name.
        fs_hz: Samples per second.
        samples: Converter values, `INVALID` where the format says so.
        gain: Converter units per millivolt.
        beats: Reference R peaks in order, sample indices.
        codes: Annotation code of each beat.
        excluded: Stretches of ventricular fibrillation or flutter waves, (first, last) sample: not scored.
    """

    name: str
    fs_hz: float
    samples: npt.NDArray[np.int16]
    gain: float
    beats: Indices
    codes: list[str]
    excluded: list[tuple[int, int]]


def record_names(folder: Path, annotator: str = "atr") -> list[str]:
    """Returns the records of a folder that have a signal and annotations, sorted."""
    headers = sorted(p.stem for p in folder.glob("*.hea"))
    return [name for name in headers if (folder / f"{name}.{annotator}").exists()]


WIDTHS = {"80": 8, "508": 8, "310": 10, "311": 10, "212": 12, "24": 24, "524": 24, "32": 32}
"""Bits of WFDB's signal formats; all others have 16."""


def load(folder: Path, name: str, annotator: str = "atr", channel: int = 0) -> Record:
    """Reads one channel and its reference beats, at the channel's own rate.

    Raises:
        OSError: Header, signal or annotations are missing or shorter than they say.
        ValueError: They are damaged, or the record has no such channel or no beat.
    """
    path = str(folder / name)
    header: Any = wfdb.rdheader(path)
    if not 0 <= channel < header.n_sig:
        message = f"channel {channel} of {header.n_sig}"
        raise ValueError(message)
    segments = isinstance(header, wfdb.MultiRecord)
    per_frame = 1 if segments else int(header.samps_per_frame[channel])
    record: Any = wfdb.rdrecord(path, channels=[channel], physical=False, smooth_frames=per_frame == 1)
    digital = np.asarray(record.d_signal[:, 0] if per_frame == 1 else record.e_d_signal[0], np.int64)
    widest = WIDTHS.get(str(record.fmt[0]), 16)
    samples, divisor = sixteen_bits(digital, digital == -(1 << (widest - 1)))
    fs_hz = float(record.fs) * per_frame
    beats, codes, excluded = reference(path, annotator, fs_hz, float(record.fs))
    if len(beats) == 0:
        message = f"no beat among the annotations .{annotator}"
        raise ValueError(message)
    gain = (float(record.adc_gain[0]) or 200.0) / divisor
    return Record(name, fs_hz, samples, gain, beats, codes, excluded)


def sixteen_bits(digital: npt.NDArray[np.int64], invalid: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int16], int]:
    """Returns converter values as int16 and what they were divided by, `INVALID` where marked.

    Values of wider converters are divided by a power of two, their median removed first: clipping would cut the beats
    off, and an offset means nothing to a detector.
    """
    valid = digital[~invalid]
    if len(valid) == 0 or np.abs(valid).max() <= 32767:
        return np.where(invalid, INVALID, digital).astype(np.int16), 1
    centred = digital - int(np.median(valid))
    divisor = 1
    while np.abs(centred[~invalid]).max() / divisor > 32767:
        divisor *= 2
    return np.where(invalid, INVALID, np.round(centred / divisor)).astype(np.int16), divisor


def reference(
    path: str, annotator: str, fs_hz: float, frames_hz: float
) -> tuple[Indices, list[str], list[tuple[int, int]]]:
    """Returns reference beats, their codes and the stretches between `[` and `]`, as samples at `fs_hz`.

    Annotations count in frames, unless their file states a rate of its own.
    """
    annotation: Any = wfdb.rdann(path, annotator)
    scale = fs_hz / float(annotation.fs or frames_hz)
    marks = zip(annotation.sample, annotation.symbol, strict=True)
    pairs = sorted((round(int(s) * scale), c) for s, c in marks if c in BEAT_CODES or c in "[]")
    beats = [(s, c) for s, c in pairs if c in BEAT_CODES]
    excluded: list[tuple[int, int]] = []
    start: int | None = None
    for sample, code in pairs:
        if code == "[":
            start = sample
        elif code == "]" and start is not None:
            excluded.append((start, sample))
            start = None
    if start is not None:
        excluded.append((start, 1 << 60))
    return np.array([s for s, _ in beats], np.int64), [c for _, c in beats], excluded


def match(reference_beats: Indices, detections: Indices, window: int) -> Indices:
    """Pairs sorted beats and detections one to one, in order, within +-window samples.

    A detection is passed over only if the next one is nearer to the same beat and not needed by the next beat, and a
    beat only if the next one is nearer and no other detection is left for it.

    Returns:
        For each reference beat the index of its detection, or -1.
    """
    ref, det = reference_beats.tolist(), detections.tolist()
    pairs = np.full(len(ref), -1, np.int64)
    i = j = 0

    def near(beat: int, detection: int) -> bool:
        return beat < len(ref) and detection < len(det) and abs(ref[beat] - det[detection]) <= window

    def distance(beat: int, detection: int) -> int:
        return abs(ref[beat] - det[detection])

    while i < len(ref) and j < len(det):
        if not near(i, j):
            i, j = (i, j + 1) if det[j] < ref[i] else (i + 1, j)
        elif (
            j + 1 < len(det)
            and distance(i, j + 1) < distance(i, j)
            and not (near(i + 1, j + 1) and distance(i + 1, j + 1) < distance(i, j + 1))
        ):
            j += 1
        elif i + 1 < len(ref) and distance(i + 1, j) < distance(i, j) and not near(i + 1, j + 1):
            i += 1
        else:
            pairs[i] = j
            i, j = i + 1, j + 1
    return pairs


@dataclass(frozen=True)
class Score:
    """Counts of one record or of many.

    Attributes:
        tp: Beats with a detection.
        fp: Detections without a beat.
        fn: Beats without a detection.
        errors_ms: Detection minus reference of the true positives, milliseconds.
    """

    tp: int
    fp: int
    fn: int
    errors_ms: npt.NDArray[np.float64]

    @property
    def se(self) -> float:
        """Sensitivity, percent."""
        return 100.0 * self.tp / max(1, self.tp + self.fn)

    @property
    def ppv(self) -> float:
        """Positive predictive value, percent."""
        return 100.0 * self.tp / max(1, self.tp + self.fp)

    @property
    def f1(self) -> float:
        """Harmonic mean of the two, percent."""
        return 200.0 * self.tp / max(1, 2 * self.tp + self.fp + self.fn)

    @property
    def mae_ms(self) -> float:
        """Mean absolute error of the R position, milliseconds."""
        return float(np.abs(self.errors_ms).mean()) if len(self.errors_ms) else float("nan")

    def __add__(self, other: Score) -> Score:
        """Returns both together."""
        errors = np.concatenate([self.errors_ms, other.errors_ms])
        return Score(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, errors)


def score(record: Record, detections: Indices, window_s: float = 0.15, skip_s: float = 0.0) -> Score:
    """Scores detections against the record's beats, one to one within +-window_s seconds.

    Args:
        record: The reference.
        detections: R peaks, sample indices at the record's rate.
        window_s: Half the window, seconds (ANSI/AAMI EC57: 0.15).
        skip_s: Beats and detections of the first seconds are not counted.
    """
    found = np.unique(np.asarray(detections, np.int64))
    pairs = match(record.beats, found, round(window_s * record.fs_hz))
    used = np.zeros(len(found), bool)
    used[pairs[pairs >= 0]] = True
    first = round(skip_s * record.fs_hz)

    def counted(at: Indices) -> npt.NDArray[np.bool_]:
        keep = at >= first
        for start, end in record.excluded:
            keep &= (at < start) | (at > end)
        return keep

    beats, hit = counted(record.beats), pairs >= 0
    errors = (found[pairs[hit & beats]] - record.beats[hit & beats]) / record.fs_hz * 1000.0
    return Score(int((hit & beats).sum()), int((~used & counted(found)).sum()), int((~hit & beats).sum()), errors)
