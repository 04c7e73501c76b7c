"""The ONNX example of the documentation: the shipped file says what its own weights say."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from connectors.cli.app import app
from connectors.models.onnx import OnnxScorer
from dataflows.models.features import Batch
from dataflows.models.spec import read_model

EXAMPLE = Path(__file__).parents[3] / "bench" / "risk"


def batch(features, columns):
    return Batch(columns, np.asarray(features, dtype=np.float64), [None] * len(features))


def test_the_example_scores_as_its_weights_say_and_takes_what_is_missing():
    model = read_model((EXAMPLE / "risk.toml").read_text())
    graph = onnx.load(EXAMPLE / "risk.onnx").graph
    weights = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in graph.initializer}
    made = np.random.default_rng(1)
    features = weights["mean"] + made.normal(0, 2, (50, len(model.columns))) * weights["std"]
    features[::3, 2] = np.nan
    filled = np.where(np.isnan(features), weights["mean"], features)
    logit = (filled - weights["mean"]) / weights["std"] @ weights["weights"][:, 0] + weights["bias"]
    scores = OnnxScorer(EXAMPLE / "risk.onnx")(batch(features, model.columns))
    assert scores == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def written(file, shape, kind=TensorProto.FLOAT):
    """A model that returns its input."""
    ends = [helper.make_tensor_value_info(name, kind, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 17)]
    file.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
    return file


def test_a_row_with_a_hole_has_no_score_unless_the_model_says_otherwise(tmp_path):
    scorer = OnnxScorer(written(tmp_path / "m.onnx", ["n", 2], TensorProto.DOUBLE))
    found = scorer(batch([[1, 2], [np.nan, 4]], ("hr.last", "hr.min")))
    assert found[0] == 2
    assert np.isnan(found[1])
    for shape, kind in ((["n"], TensorProto.FLOAT), (["n", 2], TensorProto.INT64)):
        with pytest.raises(ValueError, match="one input of floats"):
            OnnxScorer(written(tmp_path / "m.onnx", shape, kind))


def test_check_loads_it_as_run_does():
    done = CliRunner().invoke(app, ["models", "check", str(EXAMPLE / "risk.toml"), "--patients", "20"])
    assert done.exit_code == 0, done.output
    assert "20 windows scored in" in done.output
