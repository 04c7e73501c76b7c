"""A scorer's process: whatever the user's code does, the graph gets an answer in time."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from connectors.models.process import Result, ScorerProcess, StartError
from dataflows.models.features import Series, Window
from dataflows.models.spec import read_model

HERE = Path(__file__).parent
TEXT = """
name = "risk"
version = 1
scorer = "scorers:{scorer}"
features = ["hr.last", "spo2.min"]
window_s = 300
step_s = 60
budget_s = {budget_s}
"""


def windows(*rates):
    def series(value):
        return Series(np.array([-30.0, 0.0]), np.array([value - 2, value]))

    return [
        Window("main", f"p{rate}", 60_000_000_000, {"hr": series(float(rate)), "spo2": series(97.0)}, ready=True)
        for rate in rates
    ]


@pytest.fixture
def scorer():
    made = []

    def make(name, budget_s=20.0, clock=time.monotonic, text=TEXT):
        made.append(ScorerProcess(read_model(text.format(scorer=name, budget_s=budget_s)), HERE, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_batch_in_scores_out_as_matrix_and_as_series(scorer):
    assert scorer("first_column").score(windows(70, 80)) == (Result.SCORED, [70.0, 80.0])
    assert scorer("mean_of_series").score(windows(70)) == (Result.SCORED, [71.0])
    assert scorer("talks").score(windows(70)) == (Result.SCORED, [70.0])


@pytest.mark.parametrize("name", ["raises", "too_few", "no_numbers"])
def test_an_error_loses_the_batch_and_keeps_the_process(scorer, name):
    broken = scorer(name)
    assert broken.score(windows(70)) == (Result.RAISED, [])
    pid = broken.pid
    assert broken.score(windows(71)) == (Result.RAISED, [])
    assert broken.pid == pid is not None


def test_a_slow_batch_is_given_up_in_its_budget_and_the_process_with_it(scorer):
    slow = scorer("hangs_above_100", budget_s=5.0)
    assert slow.score(windows(70))[0] is Result.SCORED
    pid, began = slow.pid, time.monotonic()
    assert slow.score(windows(70, 120)) == (Result.OVER_BUDGET, [])
    assert time.monotonic() - began < 30
    assert slow.pid is None
    assert not Path(f"/proc/{pid}").exists()


def test_a_scorer_that_keeps_dying_is_left_alone_for_longer_and_longer(scorer):
    now = [0.0]
    dying = scorer("dies", clock=lambda: now[0])
    found = []
    for second in (0.0, 0.1, 0.5, 0.6, 3.0):
        now[0] = second
        found.append(dying.score(windows(70))[0])
    assert found == [Result.CRASHED, Result.PAUSED, Result.CRASHED, Result.PAUSED, Result.CRASHED]


def test_one_that_is_killed_between_batches_or_by_a_batch_goes_on(scorer):
    good = scorer("dies_above_100")
    assert good.score(windows(70)) == (Result.SCORED, [70.0])
    os.kill(good.pid, signal.SIGKILL)
    assert good.score(windows(71)) == (Result.SCORED, [71.0])
    assert good.score(windows(140)) == (Result.CRASHED, [])


def test_what_cannot_start_says_why(scorer):
    with pytest.raises(StartError, match="has no attribute 'nothing'"):
        scorer("nothing").start()
    with pytest.raises(StartError, match="No module named 'nowhere'"):
        scorer("x", text=TEXT.replace("scorers:", "nowhere:")).start()
    late = scorer("x", text=TEXT.replace("scorers:", "slow_to_load:") + "startup_s = 0.3\n")
    with pytest.raises(StartError, match=r"not ready after 0\.3 s"):
        late.start()


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux")
def test_a_scorer_may_not_take_the_memory_of_others(scorer):
    assert scorer("first_column", text=TEXT + "memory_mb = 4096\n").score(windows(70))[0] is Result.SCORED
    assert scorer("hungry", text=TEXT + "memory_mb = 4096\n").score(windows(70)) == (Result.RAISED, [])
