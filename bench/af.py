"""Atrial fibrillation from RR intervals: beat by beat against the annotated rhythm.

`python -m bench.af DIR` scores every record of DIR that has beats (`.qrs`, else `.atr`) and rhythm (`.atr`). With
`--own-beats` the beats and their labels come from the R-peak detector, on records that have signals.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import wfdb

from bench.qrs_scoring import BEAT_CODES
from dataflows._native import AfDetector, QrsDetector

CHUNK = 1024
VENTRICULAR_CODES = frozenset("VE!r")


@dataclass(frozen=True)
class Beats:
    """Beats of a record.

    Attributes:
        fs_hz: Samples per second.
        samples: R peaks, ascending.
        labels: 1 where ventricular.
    """

    fs_hz: float
    samples: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]


def beats_of(path: Path) -> Beats:
    """Reads annotated beats; those of `.qrs` carry no labels."""
    audited = not path.with_suffix(".qrs").exists()
    annotation: Any = wfdb.rdann(str(path), "atr" if audited else "qrs")
    kept = [n for n, code in enumerate(annotation.symbol) if code in BEAT_CODES]
    samples, first = np.unique(np.asarray(annotation.sample, np.int64)[kept], return_index=True)
    codes = np.asarray(annotation.symbol)[kept][first]
    labels = np.isin(codes, list(VENTRICULAR_CODES)) if audited else np.zeros(len(samples), bool)
    return Beats(fs_of(path), samples, labels.astype(np.uint8))


def own_beats_of(path: Path) -> Beats:
    """Detects beats in the first lead."""
    record: Any = wfdb.rdrecord(str(path), channels=[0], physical=False)
    detector = QrsDetector(float(record.fs))
    signal = record.d_signal[:, 0].astype(np.int16)
    parts = [detector.push_full(signal[at : at + CHUNK]) for at in range(0, len(signal), CHUNK)]
    parts.append(detector.flush_full())
    samples = np.concatenate([part.sample for part in parts])
    labels = np.concatenate([part.label for part in parts])
    return Beats(float(record.fs), samples, (labels == 1).astype(np.uint8))


def fs_of(path: Path) -> float:
    """Samples per second, from the header."""
    lines = path.with_suffix(".hea").read_text(encoding="utf-8", errors="replace").splitlines()
    first = next(line for line in lines if line.strip() and not line.startswith("#"))
    return float(first.split()[2].split("/")[0].split("(")[0])


def truth_of(path: Path, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each beat lies in `(AFIB`; flutter is not fibrillation."""
    annotation: Any = wfdb.rdann(str(path), "atr")
    rhythm = [(s, note.rstrip("\x00")) for s, note in zip(annotation.sample, annotation.aux_note, strict=True)]
    changes = [(s, note == "(AFIB") for s, note in rhythm if note.startswith("(")]
    starts = np.array([s for s, _ in changes], np.int64)
    fibrillation = np.array([False, *(af for _, af in changes)])
    return fibrillation[np.searchsorted(starts, samples, side="right")]


def decide(beats: Beats) -> npt.NDArray[np.bool_]:
    """Decisions of the streaming detector, one for each beat."""
    detector = AfDetector(beats.fs_hz)
    parts = [
        detector.push(beats.samples[at : at + CHUNK], beats.labels[at : at + CHUNK])
        for at in range(0, len(beats.samples), CHUNK)
    ]
    return np.concatenate([*parts, detector.flush()])


def intervals(beats: Beats, af: npt.NDArray[np.bool_]) -> list[list[float]]:
    """Runs of AF beats, each from its first to its last, seconds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], af, [False]]).astype(np.int8)))
    times = beats.samples / beats.fs_hz
    return [[float(times[a]), float(times[b - 1])] for a, b in zip(edges[::2], edges[1::2], strict=True)]


def percent(part: int, whole: int) -> float | None:
    """A share in percent; None of nothing."""
    return round(100.0 * part / whole, 3) if whole else None


def rates(tp: int, fp: int, fn: int, tn: int) -> dict[str, float | None]:
    """Sensitivity, specificity and positive predictive value, percent."""
    return {"se": percent(tp, tp + fn), "sp": percent(tn, tn + fp), "ppv": percent(tp, tp + fp)}


def main() -> None:
    """Prints one line a record and the total over all beats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--own-beats", action="store_true", help="detect beats and their labels in the first lead")
    options = parser.parse_args()
    begun, counts, records = time.perf_counter(), np.zeros(4, np.int64), {}
    names = sorted(path.stem for path in options.folder.glob("*.atr"))
    if not names:
        parser.error(f"no annotated records in {options.folder}")
    for name in names:
        path = options.folder / name
        beats = own_beats_of(path) if options.own_beats else beats_of(path)
        af, truth = decide(beats), truth_of(path, beats.samples)
        count = np.array([(af & truth).sum(), (af & ~truth).sum(), (~af & truth).sum(), (~af & ~truth).sum()])
        counts += count
        found = rates(*map(int, count))
        records[name] = {"se": found["se"], "sp": found["sp"], "af": intervals(beats, af)}
        print(
            f"{name:8} beats {count.sum():6}  AF {truth.sum():6}"
            f"  Se {found['se']}  Sp {found['sp']}  PPV {found['ppv']}"
        )
    total = {**rates(*map(int, counts)), "beats": int(counts.sum())}
    print(
        f"total    Se {total['se']}  Sp {total['sp']}  PPV {total['ppv']}  beats {total['beats']}  "
        f"in {time.perf_counter() - begun:.1f} s"
    )
    if options.json:
        options.json.write_text(json.dumps({"total": total, "records": records}, indent=1))


if __name__ == "__main__":
    main()
