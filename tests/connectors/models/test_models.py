"""A model beside the flow on a real server: exact through kills, replayed to the same alerts, and in nobody's way."""

import asyncio
import json
import statistics
import threading
import time

import pytest

from connectors.history.compare import Comparer, Window
from connectors.history.graph import Range
from connectors.history.replay import Replay
from connectors.jetstream.connection import connect
from dataflows._native import Messages, Signals, SignalsConfig, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, message_id, subject_of
from dataflows.models.scores import score_frame
from dataflows.models.windows import Windows
from tests.connectors.models.beside import Ground
from tests.waiting import until

S = 1_000_000_000
START = 1_700_000_000 // 60 * 60 * S
RULES = """
[rules.risk_high]
text = "The model expects that this patient gets worse"
unit = "1"
code = "model_score"
device = "model-risk"
above = 100
clear = 95
priority = "medium"
range = [0, 300]

[rules.at_once]
text = "Heart rate above 150 at once"
unit = "/min"
code = "hr"
above = 150
priority = "high"
range = [0, 300]
"""
RISK = """
name = "risk"
version = 1
scorer = "scorers:first_column"
features = ["hr.mean"]
window_s = 120
step_s = 30
sample_s = 10
budget_s = 30
"""
QUICK = """
name = "{name}"
version = 1
scorer = "scorers:{scorer}"
features = ["hr.mean"]
window_s = 600
step_s = 1
sample_s = 1
budget_s = 0.2
"""
PATIENTS, SECONDS = ("p1", "p2", "p3", "p4"), 900


def readings():
    """(log_ns, subject, payload) in log order; p2 is above 100 from minute 5 to minute 9."""
    framers = {patient: NumericFramer(Origin(patient, "watch")) for patient in PATIENTS}
    for at_s in range(0, SECONDS, 5):
        for number, patient in enumerate(PATIENTS):
            rate = 110 if patient == "p2" and 300 <= at_s < 540 else 70 + number + at_s % 7
            log_ns = START + at_s * S + number
            frame = framers[patient].frame([Reading(pb.CODE_HR, rate, pb.UNIT_PER_MIN)], log_ns)
            yield log_ns, subject_of(frame), frame.SerializeToString()


def expected(model, log):
    """Frames that the log alone decides: (message id, body)."""
    found = []
    for patient in PATIENTS:
        entries = [
            (subject.replace("vitals.v1.", "vp.0.").encode(), number, log_ns, payload)
            for number, (log_ns, subject, payload) in enumerate(log, 1)
            if f".{patient}." in subject
        ]
        items, _ = Validator().check(f"main/{patient}", Messages.build(entries))
        output = Signals(SignalsConfig(silence_reading_s=0)).on_items(items)
        for window in Windows(model).on_output(output):
            frame = score_frame(model, window, float(window.series["hr"].value.mean()))
            found.append((message_id(frame), frame.SerializeToString()))
    return sorted(found)


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_scores_are_exact_through_kills_and_replay_to_the_same_alerts(nats_server, tmp_path):
    ground = Ground(nats_server, tmp_path, RULES, log_time="header", dedupe_window_s=1.0)
    publish, log = ground.publisher(), list(readings())
    flow, beside = ground.flow(), ground.model(RISK)
    part, done = len(log) // 4, 0
    for kill in (beside.kill_scorer, beside.kill_graph, beside.kill_scorer, None):
        some, done = log[done : done + part], done + part
        publish.publish_all([(subject, [("Vitals-Log-Time", str(at))], payload) for at, subject, payload in some])
        # The kills fall into the middle of a part's scores: only some of them are there.
        every = len(expected(beside.model, log[:done]))
        if kill is not None:
            until(lambda some=every - 9: len(ground.scores("model-risk")) >= some, 90, poll_s=0.2)
            kill()
        # The next part moves log time on: a score of this one behind it would leave its alert standing for that long.
        until(lambda every=every: len(ground.scores("model-risk")) >= every, 90, poll_s=0.2)
    assert sorted(ground.scores("model-risk")) == expected(beside.model, log)
    beside.stop()
    last = publish.stream_state("VITALS")[2]
    until(lambda: flow.check() or flow.done_to() >= last, 90, poll_s=0.2)
    flow.stop()
    found = [(one["patient"], one["event"], one["value"]) for one in ground.alerts("risk_high")]
    assert [one[:2] for one in found] == [("p2", "raised"), ("p2", "cleared")]
    replay = Replay(ground.settings, tmp_path / "replay", Range(1, last), print)
    replay.in_background().join(120)
    compared = asyncio.run(_compared(ground, tmp_path / "replay", last))
    assert (compared.differing, compared.only_live, compared.only_replay) == (0, [], [])
    assert compared.same >= 2


async def _compared(ground, scratch, last):
    client = await connect(ground.settings.nats, "test")
    found = await Comparer(ground.settings, Window({}, {}, {}, last), scratch).alerts(client)
    await client.close()
    return found


ALARMS = 10


async def _latencies(ground, publish, name):
    """How long after its publication each of some alarms is there, s."""
    client = await connect(ground.settings.nats, "test")
    subscription = await client.subscribe("alerts.v1.main.*.at_once")
    await client.flush()
    found = []
    for number in range(ALARMS):
        framer = NumericFramer(Origin(f"{name}{number}", "watch"))
        began = time.monotonic()
        frame = framer.frame([Reading(pb.CODE_HR, 180, pb.UNIT_PER_MIN)], time.time_ns())
        await asyncio.to_thread(publish.publish_all, [(subject_of(frame), [], frame.SerializeToString())])
        while json.loads((await subscription.next_msg(60)).data)["patient"] != f"{name}{number}":
            pass  # what nobody acknowledged is raised again after a minute
        found.append(time.monotonic() - began)
    await client.close()
    return found


MANY = [f"m{number}" for number in range(12)]
STEP = """
name = "risk"
version = 1
scorer = "scorers:first_column"
features = ["hr.mean"]
window_s = 60
step_s = 1
sample_s = 1
late_s = 5
budget_s = 5
"""


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_model_that_dies_is_one_alert_of_the_pipeline_however_many_patients_it_has(nats_server, tmp_path):
    ground = Ground(nats_server, tmp_path, RULES, silence_reading_s=12.0)
    publish, flow = ground.publisher(), ground.flow()
    framers, stop = [NumericFramer(Origin(patient, "watch")) for patient in MANY], threading.Event()

    def live():
        while not stop.wait(0.5):
            frames = [framer.frame([Reading(pb.CODE_HR, 70, pb.UNIT_PER_MIN)], time.time_ns()) for framer in framers]
            publish.publish_all([(subject_of(frame), [], frame.SerializeToString()) for frame in frames])

    devices = threading.Thread(target=live, daemon=True)
    devices.start()
    beside = ground.model(STEP)
    until(lambda: len(ground.beats("model-risk")) >= 6, 90, poll_s=0.3)
    assert ground.alerts("model_silent") == []
    beside.stop()
    until(lambda: ground.alerts("model_silent"), 60, poll_s=0.3)
    again = ground.model(STEP)
    until(lambda: len(ground.alerts("model_silent")) >= 2, 90, poll_s=0.3)
    again.stop()
    stop.set()
    devices.join()
    flow.stop()
    said = [(one["tenant"], one["patient"], one["device"], one["event"]) for one in ground.alerts("model_silent")]
    assert said[:2] == [("tick", "models", "model-risk", event) for event in ("raised", "cleared")]
    assert {one[:3] for one in said} == {("tick", "models", "model-risk")}
    assert {patient for patient, _ in ground.scored("model-risk")} == set(MANY)


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_hanging_or_dying_model_delays_no_alarm(nats_server, tmp_path):
    ground = Ground(nats_server, tmp_path, RULES)
    publish, flow = ground.publisher(), ground.flow()
    until(lambda: flow.done_to() >= 0)
    before = asyncio.run(_latencies(ground, publish, "before"))
    hanging = ground.model(QUICK.format(name="hanging", scorer="hangs"), "hanging.toml")
    dying = ground.model(QUICK.format(name="dying", scorer="dies"), "dying.toml")
    until(lambda: hanging.batches("over_budget") >= 1 and dying.batches("crashed") >= 1, 90, poll_s=0.2)
    during = asyncio.run(_latencies(ground, publish, "during"))
    for one in (hanging, dying):
        assert [line for line in one.said if "died" in line] == [], "the graph outlives its scorer"
        one.stop()
    flow.stop()
    for device in ("model-hanging", "model-dying"):
        assert publish.scan("VITALS", 1, "", [f"vp.*.*.*.{device}.numeric"]) == []
    # Medians of one run on a machine that others use, too: a model in the flow would add its whole budget to each.
    assert statistics.median(during) < 2 * statistics.median(before) + 0.25, (before, during)
