"""Grows the forests of `dataflows/alarm_score.json` and says how they do on records they have not seen.

`python -m bench.train_rhythm DIR` cross-validates by record on the alarms of DIR (ten folds, stratified by truth,
several shuffles; a fold's forests are grown on the others alone) and, with `--write`, grows the shipped forests on all
of them.
Extremely randomised trees (Geurts, Ernst and Wehenkel 2006) in NumPy; the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.rhythm_alarms import Alarm, alarms, evidence_of, report, summary
from dataflows.alarm_score import FORMAT, Forest

Floats = npt.NDArray[np.float64]
Tree = tuple[list[float], list[float], list[float], list[float]]

TREES = 120
LEAST_IN_LEAF = 3
SHARE_OF_FEATURES = 0.3
FOLDS = 10
SHUFFLES = 5
THRESHOLDS = {"Asystole": 0.2, "Ventricular_Flutter_Fib": 0.15}
"""From here the alarm stands. Low where a lost alarm is a lost patient."""
THRESHOLD = 0.33
"""Of the other kinds: near where five times the cost of a loss balances a false alarm in a balanced forest."""


def grow(x: Floats, y: npt.NDArray[np.bool_], rng: np.random.Generator) -> Tree:
    """One tree on weighted samples: both classes weigh the same."""
    weight = np.where(y, 0.5 / max(y.sum(), 1), 0.5 / max((~y).sum(), 1))
    tree: Tree = ([], [], [], [])

    def node(rows: npt.NDArray[np.int64]) -> None:
        at = len(tree[0])
        share = float(weight[rows][y[rows]].sum() / weight[rows].sum())
        for values, value in zip(tree, (-1.0, 0.0, 0.0, round(share, 4)), strict=True):
            values.append(value)
        found = split(x[rows], y[rows], weight[rows], rng) if 0.0 < share < 1.0 else None
        if found is None:
            return
        feature, limit = found
        above = x[rows, feature] > limit
        tree[0][at], tree[1][at], tree[3][at] = feature, limit, 0.0
        node(rows[~above])
        tree[2][at] = len(tree[0])
        node(rows[above])

    node(np.arange(len(y)))
    return tree


def split(x: Floats, y: npt.NDArray[np.bool_], weight: Floats, rng: np.random.Generator) -> tuple[int, float] | None:
    """The purest of randomly drawn thresholds, one a drawn feature; None when a leaf would be too small."""
    if len(y) < 2 * LEAST_IN_LEAF:
        return None
    drawn = rng.permutation(x.shape[1])
    low, high = x[:, drawn].min(axis=0), x[:, drawn].max(axis=0)
    drawn, low, high = drawn[high > low], low[high > low], high[high > low]
    most = max(1, round(SHARE_OF_FEATURES * x.shape[1]))
    drawn, low, high = drawn[:most], low[:most], high[:most]
    limits = np.array([float(f"{v:.6g}") for v in rng.uniform(low, high)])
    above = x[:, drawn] > limits
    enough = (above.sum(axis=0) >= LEAST_IN_LEAF) & ((~above).sum(axis=0) >= LEAST_IN_LEAF)
    if not enough.any():
        return None
    impurity = np.zeros(len(drawn))
    for side in (above, ~above):
        true, whole = (side * (weight * y)[:, None]).sum(axis=0), (side * weight[:, None]).sum(axis=0)
        impurity += true * (whole - true) / np.maximum(whole, 1e-12)
    best = int(np.argmin(np.where(enough, impurity, np.inf)))
    return int(drawn[best]), float(limits[best])


def forest(x: Floats, y: npt.NDArray[np.bool_], kind: str, seed: int) -> Forest:
    """The forest of one kind."""
    rng = np.random.default_rng(seed)
    return Forest([grow(x, y, rng) for _ in range(TREES)], THRESHOLDS.get(kind, THRESHOLD))


def folds(y: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Fold of each record, with the same share of true alarms in each as far as it goes."""
    fold = np.zeros(len(y), np.int64)
    for truth in (True, False):
        rows = np.flatnonzero(y == truth)
        fold[rng.permutation(rows)] = np.arange(len(rows)) % FOLDS
    return fold


def cross_validate(x: Floats, listed: list[Alarm], seed: int) -> Floats:
    """Probability of each alarm from forests that did not see its record."""
    probability, rng = np.zeros(len(listed)), np.random.default_rng(seed)
    for kind in sorted({alarm.kind for alarm in listed}):
        rows = np.array([n for n, alarm in enumerate(listed) if alarm.kind == kind])
        y = np.array([listed[n].truth for n in rows])
        fold = folds(y, rng)
        for held in np.unique(fold):
            seen = rows[fold != held]
            grown = forest(x[seen], y[fold != held], kind, seed)
            for n in rows[fold == held]:
                probability[n] = grown.probability(x[n].tolist())
    return probability


def main() -> None:
    """Cross-validates and, if asked, writes the shipped forests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="cross-validated table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="grow on all records and write the forests")
    options = parser.parse_args()
    listed = list(alarms(options.folder))
    found = [evidence_of(options.folder / alarm.record) for alarm in listed]
    features = sorted(set().union(*found))
    x = np.array([[row.get(name, 0.0) for name in features] for row in found])
    threshold = np.array([THRESHOLDS.get(alarm.kind, THRESHOLD) for alarm in listed])
    lost: Counter[str] = Counter()
    scores: list[float] = []
    tables: list[dict[str, Any]] = []
    for seed in range(SHUFFLES):
        keep = cross_validate(x, listed, seed) > threshold
        rows = list(zip(listed, keep.tolist(), strict=True))
        print(f"shuffle {seed}")
        tables.append(report(rows))
        scores.append(summary([(alarm.truth, kept) for alarm, kept in rows])["score"])
        lost.update(f"{alarm.record} ({alarm.kind})" for alarm, kept in rows if alarm.truth and not kept)
    print(f"cross-validated score, {SHUFFLES} shuffles: mean {np.mean(scores):.2f}, {min(scores)} to {max(scores)}")
    print("lost, in how many shuffles:", ", ".join(f"{name} {count}" for name, count in lost.most_common()))
    if options.json:
        document = {"scores": scores, "mean": float(np.mean(scores)), "lost": dict(lost), "shuffles": tables}
        options.json.write_text(json.dumps(document, indent=1))
    if options.write:
        grown = {}
        for kind in sorted({alarm.kind for alarm in listed}):
            rows = [n for n, alarm in enumerate(listed) if alarm.kind == kind]
            trees = forest(x[rows], np.array([listed[n].truth for n in rows]), kind, 0)
            grown[kind] = {"threshold": trees.threshold, "trees": trees.trees}
        document = {"format": FORMAT, "features": features, "kinds": grown}
        options.write.write_text(json.dumps(document, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
