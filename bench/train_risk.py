"""Trains the example model of docs/models.md and writes it as ONNX: logistic regression on windows of six hours.

`python bench/train_risk.py DIR [--json FILE] [--write]` with DIR the folder of recorded data. Features come from the
same windows as in production (`dataflows.models`). Weights and limits are of one half of the patients of Challenge 2019
and figures of the other half, so they stand beside those of bench/early_warning.py. `--write` replaces risk.onnx.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from alert_scoring import WINDOW_NS, Alert, Course, figures
from early_warning import first_half
from early_warning_data import HOUR_NS, Stay, challenge2019
from report import publish

from connectors.models.onnx import OnnxScorer
from connectors.models.process import batch_of
from dataflows.models.features import Window
from dataflows.models.spec import Model, read_model
from dataflows.models.windows import Windows

Floats = npt.NDArray[np.float64]
HERE = Path(__file__).parent / "risk"
RIDGE = 1.0
STEPS = 25
TARGETS_PCT = (15.0, 25.0)


@dataclass(frozen=True)
class Logistic:
    """A logistic regression on standardised features; what is missing stands at the mean.

    Attributes:
        mean: Of each feature.
        std: Of each feature.
        weights: Of each standardised feature.
        bias: Constant.
    """

    mean: Floats
    std: Floats
    weights: Floats
    bias: float

    @classmethod
    def fit(cls, features: Floats, labels: Floats) -> Logistic:
        """Newton's method with a ridge; no randomness."""
        mean, std = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
        x = np.nan_to_num((features - mean) / std)
        x = np.hstack([x, np.ones((len(x), 1))])
        beta, ridge = np.zeros(x.shape[1]), np.diag([RIDGE] * (x.shape[1] - 1) + [0.0])
        for _ in range(STEPS):
            p = 1 / (1 + np.exp(-(x @ beta)))
            hessian = (x * (p * (1 - p))[:, None]).T @ x + ridge
            beta += np.linalg.solve(hessian, x.T @ (labels - p) - ridge @ beta)
        return cls(mean, std, beta[:-1], float(beta[-1]))

    def write(self, file: Path, columns: tuple[str, ...]) -> None:
        """Writes it as ONNX: one input (n, features) with NaN for what is missing, one output (n, 1)."""
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        names = {"mean": self.mean, "std": self.std, "weights": self.weights[:, None], "bias": np.array([self.bias])}
        constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in names.items()]
        nodes = [
            helper.make_node("IsNaN", ["x"], ["absent"]),
            helper.make_node("Where", ["absent", "mean", "x"], ["filled"]),
            helper.make_node("Sub", ["filled", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "weights"], ["weighted"]),
            helper.make_node("Add", ["weighted", "bias"], ["logit"]),
            helper.make_node("Sigmoid", ["logit"], ["risk"]),
        ]
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(columns)])]
        outputs = [helper.make_tensor_value_info("risk", TensorProto.FLOAT, ["n", 1])]
        graph = helper.make_graph(nodes, "risk", inputs, outputs, constants)
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=9, producer_name="vitals")
        helper.set_model_props(model, {"missing": "nan", "features": " ".join(columns)})
        onnx.checker.check_model(model)
        file.write_bytes(model.SerializeToString(deterministic=True))


def windows_of(model: Model, stay: Stay) -> list[Window]:
    """The windows of a stay that the model would be asked about."""
    points = [(one.log_ns, one.code, one.ts_ns, one.value) for one in stay.readings if one.code in model.codes]
    return [one for one in Windows(model).on_points("bench", stay.name, points, stay.end_ns) if one.ready]


def labels_of(stay: Stay, windows: list[Window]) -> list[float]:
    """1 where the patient deteriorates within a day."""
    event_ns = stay.event_ns
    return [float(event_ns is not None and event_ns - one.end_ns <= WINDOW_NS) for one in windows]


def alerts_of(windows: list[Window], scores: Floats, limit: float) -> Iterator[Alert]:
    """Stretches in which the score is above a limit."""
    begun: int | None = None
    for window, score in zip(windows, scores, strict=True):
        if score > limit:
            begun = window.end_ns if begun is None else begun
        elif begun is not None:
            yield begun, window.end_ns
            begun = None
    if begun is not None:
        yield begun, windows[-1].end_ns + HOUR_NS


def roc_area(labels: Floats, scores: Floats) -> float:
    """Area under the ROC curve by ranks (ties shared)."""
    _, where, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    positive = int(labels.sum())
    return float((ranks[labels == 1].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def measure(folder: Path, out: Path) -> dict[str, Any]:
    """Trains on one half, writes the model, and returns figures of the written file on the other half."""
    model = read_model((HERE / "risk.toml").read_text())
    halves: dict[bool, list[tuple[Stay, list[Window]]]] = {True: [], False: []}
    for stay in challenge2019(folder):
        halves[first_half(stay)].append((stay, windows_of(model, stay)))

    def matrix(half: bool) -> tuple[Floats, Floats]:
        listed = [window for _, windows in halves[half] for window in windows]
        return batch_of(model, listed).features, np.array(
            [label for stay, windows in halves[half] for label in labels_of(stay, windows)]
        )

    features, labels = matrix(True)
    Logistic.fit(features, labels).write(out, model.columns)
    scorer = OnnxScorer(out)

    def courses(half: bool, limit: float) -> list[Course]:
        found = []
        for stay, windows in halves[half]:
            scores = scorer(batch_of(model, windows)) if windows else np.empty(0)
            found.append(Course(stay.start_ns, stay.end_ns, stay.event_ns, list(alerts_of(windows, scores, limit))))
        return found

    def all_scores(half: bool) -> Floats:
        return scorer(batch_of(model, [one for _, some in halves[half] for one in some]))

    limits = np.quantile(all_scores(True), np.linspace(0.8, 0.998, 40))
    quiet = {float(limit): float(figures(courses(True, limit))["quiet windows with alert %"]) for limit in limits}
    rows = []
    for target in TARGETS_PCT:
        limit = min(quiet, key=lambda one, target=target: abs(quiet[one] - target))
        name = f"model, for {target:g} % of quiet days"
        rows.append({"detector": name, "limit": limit, **figures(courses(False, limit))})
    _, truth = matrix(False)
    area = roc_area(truth, all_scores(False))
    return {"rows": rows, "roc_area": area, "windows": [len(labels), len(truth)], "columns": list(model.columns)}


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = (HERE if arguments.write else Path(scratch)) / "risk.onnx"
        publish(measure(arguments.folder, out), arguments.json)


if __name__ == "__main__":
    main()
