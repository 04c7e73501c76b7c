"""A scorer of an ONNX file: `scorer = "onnx:<file>"`. The matrix of features in, one number a row out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from dataflows.models.features import Batch


class OnnxScorer:
    """Runs a model with one input of shape (n, features), float32 or float64, on one thread.

    The score is the last column of its last output that holds numbers: scikit-learn's classifiers put the probability
    of the positive class there, a regression its only value. A row with a NaN has no score unless the model was made
    for that, which its metadata say with `missing=nan`.

    Args:
        file: The model.

    Raises:
        ValueError: It has another input.
    """

    def __init__(self, file: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        kinds = {"tensor(float)": np.float32, "tensor(double)": np.float64}
        if len(inputs) != 1 or inputs[0].type not in kinds or len(inputs[0].shape) != 2:
            message = f"{file.name} needs one input of floats, shape (n, features), not {[one.type for one in inputs]}"
            raise ValueError(message)
        self._input, self._kind = inputs[0].name, kinds[inputs[0].type]
        self._takes_nan = self._session.get_modelmeta().custom_metadata_map.get("missing") == "nan"

    def __call__(self, batch: Batch) -> npt.NDArray[np.float64]:
        """Scores of a batch."""
        outputs = self._session.run(None, {self._input: batch.features.astype(self._kind)})
        numbers = [one for one in outputs if isinstance(one, np.ndarray) and one.dtype.kind == "f"]
        if not numbers:
            message = "the model has no output of floats"
            raise ValueError(message)
        scores = numbers[-1].reshape(len(batch), -1)[:, -1].astype(np.float64)
        if not self._takes_nan:
            scores[np.isnan(batch.features).any(axis=1)] = np.nan
        return scores
