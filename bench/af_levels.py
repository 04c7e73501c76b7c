"""How the limits of the AF detector were chosen, and how good they are on a patient who had no part in the choice.

`python -m bench.af_levels DIR` decides every beat of DIR's records as the detector does, in NumPy, for a grid of
limits. It prints what the shipped limits reach, the best of the grid, and each patient judged by the best of the grid
for the others. It ends in an error where the shipped limits do not give the detector's own decisions.
"""

from __future__ import annotations

import argparse
import itertools
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from bench.af import Beats, beats_of, decide, rates, truth_of

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
WINDOW, WORDS, LAGS = 8, 63, 4
SKIPPED = WINDOW + 1
"""Intervals before the first decision."""
DELAY_BEATS = 30
WEIGHT, ECTOPY, LONGEST_MEAN_S = 0.02, 2e-4, 1.0
IRREGULARITY, ENTROPY = 0.75, 0.76
MEMORY, UNKNOWN_BURDEN, LASTING = 0.5, 0.5, 100
GOAL_SE, GOAL_SP = 97.5, 98.3


@dataclass(frozen=True)
class Limits:
    """What is chosen.

    Attributes:
        begins: Mean of the measures at which fibrillation begins where there was none of late.
        begins_again: The same where there was nothing else.
        ends: Where it ends.
        burden_beats: How many intervals "of late" is.
    """

    begins: float
    begins_again: float
    ends: float
    burden_beats: int


SHIPPED = Limits(1.25, 0.9, 0.86, 1000)
"""As in `native/src/rhythm/af.rs`."""
GRID = [
    Limits(begins, again, ends, beats)
    for again, begins, ends, beats in itertools.product(
        (0.85, 0.9, 0.95, 1.0), (1.15, 1.2, 1.25, 1.3), (0.82, 0.86, 0.9), (500, 1000, 2000)
    )
]


def averaged(values: Floats) -> Floats:
    """Exponential average, a plain one in the beginning."""
    out, average = np.empty_like(values), 0.0
    for at, value in enumerate(values.tolist()):
        average += max(WEIGHT, 1.0 / (at + 1)) * (value - average)
        out[at] = average
    return out


def irregularity(intervals_s: Floats) -> Floats:
    """Share of unequal pairs per second, from the tenth interval on (Petrenas et al. 2015)."""
    medians = np.median(np.stack([intervals_s[:-2], intervals_s[1:-1], intervals_s[2:]]), axis=0)
    filtered = sliding_window_view(medians, WINDOW)
    raw = sliding_window_view(intervals_s, WINDOW)[1 : 1 + len(filtered)]
    pairs = itertools.combinations(range(WINDOW), 2)
    unequal = np.mean([np.abs(filtered[:, i] - filtered[:, j]) >= 0.03 for i, j in pairs], axis=0)
    # As the detector adds them: one after the other.
    ratio = np.cumsum(filtered, axis=1)[:, -1] / np.cumsum(raw, axis=1)[:, -1] - 1.0
    mean_s, ectopy = averaged(intervals_s[WINDOW : WINDOW + len(filtered)]), averaged(ratio**2)
    found = averaged(unequal) / np.minimum(mean_s, LONGEST_MEAN_S)
    return np.where(ectopy >= ECTOPY, found, np.minimum(found, ectopy))


def classes(intervals_s: Floats) -> npt.NDArray[np.int64]:
    """Classes of rates."""
    rate, even = 60.0 / intervals_s, 83.0 / 5.0
    return np.clip(np.where(rate < 83.0, even + even * np.log(rate / 83.0), rate / 5.0), 0, 63).astype(np.int64)


def entropy(found: npt.NDArray[np.int64]) -> Floats:
    """Entropy of the last words times the share that differ (Zhou et al. 2015)."""
    words = (found[:-2] * 64 + found[1:-1]) * 64 + found[2:]
    counts: Counter[int] = Counter()
    window: deque[int] = deque()
    repeats, out = 0.0, np.zeros(len(found))
    of = [0.0, *(n * np.log2(n) for n in range(1, WORDS + 2))]
    for at, word in enumerate(words.tolist(), 2):
        window.append(word)
        repeats += of[counts[word] + 1] - of[counts[word]]
        counts[word] += 1
        if len(window) > WORDS:
            oldest = window.popleft()
            repeats += of[counts[oldest] - 1] - of[counts[oldest]]
            counts[oldest] -= 1
            if not counts[oldest]:
                del counts[oldest]
        out[at] = len(counts) * (np.log2(len(window)) - repeats / len(window)) / (WORDS * np.log2(WORDS))
    return out


def forgets(found: npt.NDArray[np.int64]) -> Bools:
    """Whether rates do not follow from those before; no fibrillation begins where they do."""
    out = np.zeros(len(found), bool)
    for at in range(SKIPPED, min(WORDS + 1, len(found))):
        out[at] = _memory(found[np.newaxis, : at + 1])[0] <= MEMORY
    if len(found) >= WORDS + 2:
        out[WORDS + 1 :] = _memory(sliding_window_view(found, WORDS + 2)) <= MEMORY
    return out


def _memory(windows: npt.NDArray[np.int64]) -> Floats:
    moved = windows - windows.mean(axis=1, keepdims=True)
    power, count = (moved * moved).mean(axis=1), windows.shape[1]
    lags = [np.abs((moved[:, :-lag] * moved[:, lag:]).sum(axis=1) / (count - lag)) for lag in range(1, LAGS + 1)]
    return np.asarray(np.max(lags, axis=0) / np.maximum(power, np.finfo(float).tiny))


@dataclass(frozen=True)
class Record:
    """A record's truth, and what decisions are made of: from the tenth interval on."""

    truth: Bools
    measure: Floats
    may_begin: Bools


def record_of(beats: Beats, truth: Bools) -> Record:
    """Works out the measures once; beats without labels."""
    intervals_s = np.clip(np.diff(beats.samples) / beats.fs_hz, 0.2, 2.5)
    found = classes(intervals_s)
    measure = (irregularity(intervals_s) / IRREGULARITY + entropy(found)[SKIPPED:] / ENTROPY) / 2.0
    return Record(truth, measure, forgets(found)[SKIPPED:])


def decisions(record: Record, limits: Limits) -> Bools:
    """Decides every beat."""
    burden, af, over, decided = UNKNOWN_BURDEN, False, 0, [False] * (SKIPPED + 1)
    for measure, may_begin in zip(record.measure.tolist(), record.may_begin.tolist(), strict=True):
        over = over + 1 if measure > 1.0 else 0
        begins = limits.begins - burden * (limits.begins - limits.begins_again)
        af = measure >= limits.ends if af else may_begin and (measure > begins or over >= LASTING)
        burden += (af - burden) / limits.burden_beats
        decided.append(af)
    # The newest decision is on the beat 30 beats back, and on all that wait in the end.
    return np.array([*decided[DELAY_BEATS:], *[af] * DELAY_BEATS])


def counts(record: Record, af: Bools) -> npt.NDArray[np.int64]:
    """True and false positives, false and true negatives."""
    truth = record.truth
    return np.array([(truth & af).sum(), (~truth & af).sum(), (truth & ~af).sum(), (~truth & ~af).sum()])


def short(found: npt.NDArray[np.int64]) -> float:
    """How far from the goals, in points; beyond both the better is still better."""
    se, sp = (rates(*found.tolist())[name] or 0.0 for name in ("se", "sp"))
    return min(se - GOAL_SE, 0.0) + min(sp - GOAL_SP, 0.0) + 1e-3 * (se + sp)


def best(found: dict[Limits, list[npt.NDArray[np.int64]]], without: Collection[int] = ()) -> Limits:
    """The best limits for all records but some."""

    def total(limits: Limits) -> npt.NDArray[np.int64]:
        kept = [one for at, one in enumerate(found[limits]) if at not in without]
        return np.asarray(np.sum(kept, axis=0))

    return max(found, key=lambda limits: short(total(limits)))


def main() -> None:
    """Prints what the grid says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    names = sorted(path.stem for path in folder.glob("*.qrs"))
    if len(names) < 2:
        parser.error(f"no records with .qrs in {folder}")
    records = []
    for name in names:
        beats = beats_of(folder / name)
        records.append(record_of(beats, truth_of(folder / name, beats.samples)))
        if differ := int((decisions(records[-1], SHIPPED) != decide(beats)).sum()):
            parser.exit(1, f"{name}: {differ} of {len(beats.samples)} beats are decided otherwise by the detector\n")
    found = {limits: [counts(record, decisions(record, limits)) for record in records] for limits in {*GRID, SHIPPED}}
    chosen = best(found)
    held_out = [found[best(found, [at])][at] for at in range(len(records))]
    for what, one in (
        (f"shipped {SHIPPED}", found[SHIPPED]),
        (f"best of {len(found)} {chosen}", found[chosen]),
        ("each patient by the best for the others", held_out),
    ):
        print(f"{what}: {rates(*np.sum(one, axis=0).tolist())}")


if __name__ == "__main__":
    main()
