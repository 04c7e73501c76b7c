"""Other scorers behind one call, and the defects of theirs that their numbers show."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from types import ModuleType

import numpy as np
import numpy.typing as npt

from dataflows.detectors import DesaturationDetector

Series = npt.NDArray[np.float64]
Interval = tuple[float, float]
Scorer = Callable[[Series, float, float], list[Interval]]


def ours(profile: str) -> Scorer:
    """The streaming detector by a profile."""

    def score(values: Series, fs_hz: float, drop: float) -> list[Interval]:
        detector = DesaturationDetector(fs_hz, drop, profile=profile)
        events = detector.push(values) + detector.flush()
        return [(event.onset_s, event.end_s) for event in events if event.kind != "provisional"]

    return score


def filled(values: Series) -> Series:
    """Without missing readings, which pobm and psgscoring cannot take: the last reading is held."""
    valid = (values >= 50) & (values <= 100)
    if not valid.any():
        return np.full(len(values), 97.0)
    last = np.maximum.accumulate(np.where(valid, np.arange(len(values)), -1))
    return values[np.where(last < 0, int(np.argmax(valid)), last)]


class _Numpy:
    """NumPy as pobm 1.2.0 expects it: with the class that version 2 moved and, if asked, with a wider int8."""

    RankWarning = np.exceptions.RankWarning if hasattr(np, "exceptions") else None

    def __init__(self, *, wide: bool) -> None:
        if wide:
            self.int8 = np.int32

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


def pobm(*, wide: bool = True) -> tuple[Scorer | None, str]:
    """Technion's toolbox, on whole percents at 1 Hz.

    Version 1.2.0 fails at its first use on NumPy 2 (`np.RankWarning`) and numbers events in an int8: beyond 128 they
    are merged on NumPy 1 and fail on NumPy 2. Both are mended here so that its detector can be compared at all;
    `wide=False` leaves the second as it is.
    """
    try:
        from pobm.obm import desat
    except ImportError as error:
        return None, str(error)

    def score(values: Series, fs_hz: float, drop: float) -> list[Interval]:
        desat.np = _Numpy(wide=wide)
        result = desat.DesaturationsMeasures(ODI_Threshold=int(drop)).compute(np.round(filled(values)))
        return [(begin / fs_hz, end / fs_hz) for begin, end in zip(result.begin, result.end, strict=True)]

    return score, "pobm " + importlib.metadata.version("pobm")


def psgscoring() -> tuple[Scorer | None, str]:
    """The polysomnography scorer."""
    try:
        from psgscoring import spo2
    except ImportError as error:
        return None, str(error)
    module: ModuleType = spo2

    def score(values: Series, fs_hz: float, drop: float) -> list[Interval]:
        values = np.where((values >= 50) & (values <= 100), values, np.nan)
        events = module.detect_desaturations(values, fs_hz, np.ones(len(values), dtype=bool), drop_pct=drop)
        return [(event["onset_s"], event["onset_s"] + event["duration_s"]) for event in events]

    return score, "psgscoring " + importlib.metadata.version("psgscoring")


def scorers() -> tuple[dict[str, Scorer], list[str]]:
    """Every scorer that can run here, and why others cannot."""
    found: dict[str, Scorer] = {"standard": ours("standard"), "sensitive": ours("sensitive")}
    missing = []
    for make in (pobm, psgscoring):
        scorer, text = make()
        if scorer is None:
            missing.append(f"{make.__name__} is not installed ({text}): uv sync --group peers")
        else:
            found[text] = scorer
    return found, missing


def defects(found: dict[str, Scorer]) -> list[dict[str, object]]:
    """What each scorer counts in three series whose truth is plain."""
    dip = np.concatenate([np.full(40, 96.0), 96 - np.arange(1, 9) / 1.0, np.arange(89.0, 97), np.full(34, 96.0)])
    cases = {
        "200 equal dips of 8 points": (np.tile(dip, 200), 200),
        "a fall from 96 to 84 that never recovers": (
            np.concatenate([np.full(300, 96.0), np.round(np.linspace(96, 84, 60)), np.full(900, 84.0)]),
            1,
        ),
        "a rise from 84 to 96 and nothing else": (
            np.concatenate([np.full(300, 84.0), np.round(np.linspace(84, 96, 60)), np.full(900, 96.0)]),
            0,
        ),
    }
    shipped, name = pobm(wide=False)
    asked = found if shipped is None else found | {name + " as shipped": shipped}
    return [
        {"case": case, "truth": truth} | {name: _count(score, values) for name, score in asked.items()}
        for case, (values, truth) in cases.items()
    ]


def _count(score: Scorer, values: Series) -> int | str:
    try:
        return len(score(values, 1.0, 3.0))
    except OverflowError as error:
        return type(error).__name__
