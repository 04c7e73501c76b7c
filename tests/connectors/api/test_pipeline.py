"""When a screen says that no alert can come: by what the health endpoints answer, and how long."""

import pytest

from connectors.api.pipeline import BEHIND_S, STALE_S, TICK_S, Pipeline


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


def answer(state="running", log_s=1000.0, lag_s=0.0, reason=""):
    partitions = {"VITALS/p0": {"log_s": log_s, "lag_s": lag_s, "pending": 0.0, "last_seq": 5.0, "durable_seq": 4.0}}
    return {"state": state, "restarts": 2, "reason": reason, "unaccounted": 0, "partitions": partitions}


@pytest.fixture
def clock():
    return Clock()


def looks(pipeline, clock, answers, seconds):
    """Half a second after half a second."""
    for _ in range(round(seconds * 2)):
        pipeline.take([answers(clock.now_s)] if answers else [])
        clock.now_s += 0.5


def healthy(now_s):
    return answer(log_s=float(int(now_s)))


def test_nothing_is_said_of_an_endpoint_that_never_answered(clock):
    pipeline = Pipeline(["http://x"], ticks=True, clock=clock)
    looks(pipeline, clock, None, 60)
    assert pipeline.brief() == {"known": False, "stale_s": 0.0, "says": ""}


@pytest.mark.parametrize(
    ("trouble", "says", "after_s"),
    [
        (None, "does not answer", STALE_S),
        (lambda _: answer("pausing", reason="killed by signal 9"), "pausing: killed by signal 9", STALE_S),
        (lambda _: answer(log_s=160.0), "log time stands still", STALE_S + TICK_S + 0.5),
        (lambda now_s: answer(log_s=now_s, lag_s=BEHIND_S + 1), "11 s behind", STALE_S),
    ],
)
def test_a_flow_that_does_not_get_on_is_said_in_time_and_comes_back(clock, trouble, says, after_s):
    pipeline = Pipeline(["http://x"], ticks=True, clock=clock)
    looks(pipeline, clock, healthy, 60)
    assert pipeline.brief()["stale_s"] == 0
    looks(pipeline, clock, trouble, STALE_S - 0.5)
    assert pipeline.brief()["stale_s"] == 0
    looks(pipeline, clock, trouble, after_s - STALE_S + 1.5)
    assert says in pipeline.brief()["says"]
    assert pipeline.brief()["stale_s"] > STALE_S
    looks(pipeline, clock, lambda now_s: answer(log_s=now_s), 1)
    assert pipeline.brief() == {"known": True, "stale_s": 0.0, "says": ""}


def test_in_a_replay_log_time_may_stand_still(clock):
    pipeline = Pipeline(["http://x"], ticks=False, clock=clock)
    looks(pipeline, clock, lambda _: answer(log_s=5.0), 60)
    assert pipeline.brief()["stale_s"] == 0


def test_several_endpoints_are_one_pipeline(clock):
    pipeline = Pipeline(["http://a", "http://b"], ticks=True, clock=clock)
    other = answer(lag_s=3.0) | {"partitions": {"VITALS/p1": {"log_s": 1.0, "lag_s": 3.0, "pending": 7.0}}}
    pipeline.take([answer(), other])
    found = pipeline.whole()
    assert (found["lag_s"], found["pending"], found["restarts"]) == (3.0, 7, 4)
    assert [one["partition"] for one in found["partitions"]] == ["VITALS/p0", "VITALS/p1"]
