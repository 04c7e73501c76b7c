"""Signs of life of a model: one a step in which every batch was scored."""

import numpy as np

from connectors.jetstream.ids import MessageIds
from connectors.models.graph import PIPELINE_KEY, Asking
from connectors.models.process import Result
from dataflows.contracts import vitals_pb2 as pb
from dataflows.models.features import Series, Window
from dataflows.models.spec import read_model
from dataflows.settings import NatsSettings

S = 1_000_000_000
START = 1_700_000_000 // 60 * 60 * S
IDS = MessageIds(NatsSettings())
MODEL = read_model(
    'name = "risk"\nversion = 1\nscorer = "a:b"\nfeatures = ["hr.last"]\nwindow_s = 300\nstep_s = 60\nbatch = 2\n'
)


class Scorer:
    """Answers with these results, batch by batch."""

    def __init__(self, *results):
        self._results = list(results)

    def score(self, windows):
        return self._results.pop(0), [0.5] * len(windows)


def patient(number, step):
    series = {"hr": Series(np.array([0.0]), np.array([70.0]))}
    return f"main/p{number}", Window("main", f"p{number}", START + step * 60 * S, series, ready=True)


def pipeline(step):
    return PIPELINE_KEY, Window("tick", "models", START + step * 60 * S, {}, ready=False)


def said(asking, *windows):
    """(key, step) of the frames that are published."""
    frames = [(key, pb.Frame.FromString(message.payload)) for key, message in asking(list(windows))]
    return [(key, (frame.device_ns - START) // (60 * S)) for key, frame in frames]


def test_the_first_scores_are_the_first_sign_of_life():
    asking = Asking(MODEL, Scorer(Result.SCORED, Result.SCORED), IDS, live=False)
    assert said(asking, patient(1, 1)) == [("main/p1", 1), (PIPELINE_KEY, 1)]
    assert said(asking, patient(1, 2)) == [("main/p1", 2)], "from then on the ticks ask for it"
    assert said(asking, pipeline(2)) == [(PIPELINE_KEY, 2)]


def test_a_batch_that_fails_takes_the_sign_of_life_of_its_step_and_no_other():
    asking = Asking(MODEL, Scorer(Result.SCORED, Result.CRASHED, Result.SCORED), IDS, live=False)
    found = said(asking, patient(1, 1), patient(2, 1), patient(3, 1), pipeline(1))
    assert found == [("main/p1", 1), ("main/p2", 1)], "the second batch of the step had no scores"
    assert said(asking, patient(1, 2), pipeline(2)) == [("main/p1", 2), (PIPELINE_KEY, 2)]


def test_with_nothing_to_score_it_lives_and_without_a_first_score_it_says_nothing():
    asking = Asking(MODEL, Scorer(Result.OVER_BUDGET), IDS, live=False)
    assert said(asking, patient(1, 1)) == []
    assert said(asking, pipeline(2)) == []
    assert said(asking, pipeline(3)) == [(PIPELINE_KEY, 3)]
