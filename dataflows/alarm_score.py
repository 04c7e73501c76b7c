"""How likely a monitor's arrhythmia alarm is true: extremely randomised trees, one forest a kind of alarm.

The forests (`alarm_score.json`) are grown by `bench/train_rhythm.py`; each tree is four lists: the feature it asks (-1
in a leaf), the threshold, the node for values above it (the next node is for the others), and the share of true alarms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

FORMAT = 1


@dataclass(frozen=True)
class AlarmVerdict:
    """What is thought of an alarm.

    Attributes:
        probability: That the alarm is true, 0 to 1, for a set with as many true as false alarms.
        keep: The alarm stands; otherwise it may be suppressed.
    """

    probability: float
    keep: bool


@dataclass(frozen=True)
class Forest:
    """Trees of one kind of alarm, and the probability from which the alarm stands."""

    trees: Sequence[Sequence[Sequence[float]]]
    threshold: float

    def probability(self, values: Sequence[float]) -> float:
        """Mean share of true alarms in the leaves that these feature values reach."""
        total = 0.0
        for feature, limit, above, share in self.trees:
            node = 0
            while (asked := int(feature[node])) >= 0:
                node = int(above[node]) if values[asked] > limit[node] else node + 1
            total += share[node]
        return total / len(self.trees)


@dataclass(frozen=True)
class AlarmScore:
    """The forests of all kinds and the features they ask, in order."""

    features: Sequence[str]
    forests: Mapping[str, Forest]

    def judge(self, kind: str, found: Mapping[str, float]) -> AlarmVerdict:
        """Judges an alarm of a kind by its evidence (`dataflows.rhythm.AlarmEvidence.features`).

        A kind without a forest stands: what is not known is not suppressed.
        """
        forest = self.forests.get(kind)
        if forest is None:
            return AlarmVerdict(1.0, keep=True)
        probability = forest.probability([found.get(name, 0.0) for name in self.features])
        return AlarmVerdict(probability, keep=probability > forest.threshold)


def from_document(document: Mapping[str, Any]) -> AlarmScore:
    """Reads what the trainer writes.

    Raises:
        ValueError: It is of another format.
    """
    if document.get("format") != FORMAT:
        msg = f"forests are of format {document.get('format')}, this program reads {FORMAT}"
        raise ValueError(msg)
    forests = {kind: Forest(f["trees"], f["threshold"]) for kind, f in document["kinds"].items()}
    return AlarmScore(document["features"], forests)


@cache
def shipped() -> AlarmScore:
    """The forests that come with the program."""
    text = resources.files("dataflows").joinpath("alarm_score.json").read_text(encoding="utf-8")
    return from_document(json.loads(text))
