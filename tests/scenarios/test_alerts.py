"""Golden scenarios: each rule where it fires, where it must not, and at its exact boundary.

The same files run without the engine, and through the real flow with one and two workers and through kills.
"""

import json
import random
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from dataflows._native import Validator, check_threshold, detector_rules
from dataflows.alerts.rules import BUILTIN
from dataflows.contracts.frames import command_frame, subject_of
from dataflows.monitor.patient import run
from tests.faults.whole import Whole, doubles
from tests.scenarios.scenario import SECOND_NS, START_NS, cases, short
from tests.waiting import until

CASES = cases()
STEPS = {
    "/min": 1, "%": 1, "mm[Hg]": 1, "Cel": 0.1, "kg": 0.1, "mg/dL": 1, "mg/dL/min": 0.1, "1": 1, "min": 5, "s": 1,
    "%.s": 2, "h": 1,
}  # fmt: skip
"""One step of what a device shows, by unit."""
SETTABLE = [
    rule for rule in BUILTIN.rules.values() if rule.bounds is not None or rule.is_score or rule.name in detector_rules()
]
"""Rules whose limit a command may move."""
ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "silence": [("tests/scenarios/test_silence.py", "test_a_signal_that_falls_silent")],
    "model_silent": [
        ("tests/dataflows/models/test_silent.py", "test_a_model_that_is_silent_is_told"),
        ("tests/dataflows/models/test_silent.py", "test_three_steps_are_silence_and_a_nanosecond_less_is_none"),
    ],
    "log_hole": [("native/src/puller/log.rs", "a_hole_is_told_to_every_patient_and_once_to_the_pipeline")],
}
"""A log whose time is a header knows no silence: these tests have the three cases of each."""


def merged():
    """All patients in one log, in the order of log time: (log_ns, subject, payload)."""
    return sorted((message for case in CASES for message in case.messages), key=lambda one: one[0])


def compared(case, bodies):
    """The transitions that a case speaks of."""
    until_ns = START_NS + round(case.until_s * SECOND_NS)
    return [short(body) for body in bodies if body["rule"] in case.rules and body["log_ns"] <= until_ns]


def without_the_engine(case, *first):
    """Bodies of the alerts that the flow's own logic makes of a case, after these messages."""
    entries = [
        (subject.replace("vitals.v1.", "vp.0.").encode(), number, log_ns, payload)
        for number, (log_ns, subject, payload) in enumerate([*first, *case.messages], 1)
    ]
    steps = list(run(entries, Validator()))
    assert [reject.reason for step in steps for reject in step.rejects] == []
    return [json.loads(alert.body()) for step in steps for alert in step.alerts]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.patient)
def test_without_the_engine(case):
    assert compared(case, without_the_engine(case)) == case.expect


@pytest.mark.parametrize("side", [-1, 1], ids=["lower", "higher"])
@pytest.mark.parametrize("rule", SETTABLE, ids=lambda rule: rule.name)
def test_a_limit_that_is_one_step_away_is_noticed(rule, side):
    """So the cases lie at the boundary indeed: one step of what the device shows decides."""
    of_rule = [case for case in CASES if case.patient.startswith(f"{rule.name}-") and case.rules == {rule.name}]
    (fires,) = (case for case in of_rule if case.patient == f"{rule.name}-fires")
    shipped = next(body["limit"] for body in without_the_engine(fires) if body["rule"] == rule.name)
    limit = round(shipped + side * STEPS[rule.unit], 6)
    argument = json.dumps({"rule": rule.name, "limit": limit})
    if not rule.range[0] <= limit <= rule.range[1] or (rule.name in detector_rules() and check_threshold(argument)):
        pytest.skip("no patient can have that limit")

    def noticed(case):
        frame = command_frame(case.patient, "threshold", actor="test", idempotency_key="moved", argument_json=argument)
        said = without_the_engine(case, (START_NS, subject_of(frame), frame.SerializeToString()))
        return compared(case, said) != case.expect

    assert any(map(noticed, of_rule)), argument


def test_every_rule_has_a_case_that_fires_one_that_must_not_and_one_at_the_boundary():
    found = defaultdict(set)
    for case in CASES:
        rule, _, name = case.patient.partition("-")
        found[rule].add(name)
        assert bool(case.expect) == ("quiet" not in name), case.patient
    for rule, tests in ELSEWHERE.items():
        assert rule in BUILTIN.rules
        for file, name in tests:
            assert name in (ROOT / file).read_text(), (rule, name)
    for rule in BUILTIN.rules.keys() - ELSEWHERE.keys():
        names = found[rule]
        assert {"fires", "quiet"} <= names, rule
        assert names & {"boundary_quiet", "boundary_fires"}, rule


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("workers", "kills"), [(1, 0), (2, 0), (2, 4)], ids=["one", "two", "killed"])
def test_through_the_flow(nats_server, own_questdb, tmp_path, workers, kills):
    whole = Whole(nats_server, own_questdb, tmp_path, processes=workers, log_time="header", dedupe_window_s=1.0)
    publish = whole.publisher()
    messages = merged()
    log = [(subject, [("Vitals-Log-Time", str(log_ns))], payload) for log_ns, subject, payload in messages]
    flow, pause, seeded = whole.flow(), threading.Event(), random.Random(7)
    part = len(log) // (kills + 1) + 1
    for start in range(0, len(log), part):
        publish.publish_all(log[start : start + part])
        if start + part < len(log):
            pause.wait(seeded.uniform(2, 6))
            flow.kill()
    last = publish.stream_state("VITALS")[2]
    until(lambda: flow.check() or flow.done_to() >= last, 180, poll_s=0.3)
    flow.stop()
    whole.close()
    stored = whole.messages("ALERTS")
    assert doubles(stored) == []
    bodies = defaultdict(list)
    for _, message in stored:
        body = json.loads(message.partition(b" ")[2])
        bodies[body["patient"]].append(body)
    for case in CASES:
        assert compared(case, bodies[case.patient]) == case.expect, case.patient
