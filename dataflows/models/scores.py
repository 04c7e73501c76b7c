"""A score as a frame of the log. Its identity depends on the model and the window alone."""

import math

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import VERSION
from dataflows.models.features import Window
from dataflows.models.spec import Model

LARGEST = 1e6
"""What the validator takes of a score, either way."""


def score_frame(model: Model, window: Window, score: float, *, stored: bool = False) -> pb.Frame:
    """Returns the frame that says a score of a window; NaN says that the model lives and has none.

    The frame's number counts windows since 1970, so that no state is needed to give a window the same one again. What
    a model leaves out is a gap like any other.

    Args:
        model: Who speaks.
        window: Of which patient and moment.
        score: At most `LARGEST`.
        stored: Too late for anybody to act on.

    Raises:
        ValueError: The score is infinite or too large.
    """
    if math.isinf(score) or abs(score) > LARGEST:
        message = f"a score is at most {LARGEST:g} or NaN, not {score:g}"
        raise ValueError(message)
    number = window.end_ns // model.step_ns
    observation = pb.Observation(code=pb.CODE_MODEL_SCORE, value=score, unit=pb.UNIT_ONE)
    return pb.Frame(
        version=VERSION,
        tenant=window.tenant,
        patient=window.patient,
        device=model.device,
        boot_id=model.version,
        signal=pb.SIGNAL_NUMERIC,
        seq=number,
        first_sample=number,
        device_ns=window.end_ns,
        stored=stored,
        observations=pb.Observations(items=[observation]),
    )
