"""Notifications against a real server and a receiver: nothing lost, nothing doubled, whatever is killed or fails."""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
from fhir.resources.R4B.flag import Flag
from hypothesis import given
from hypothesis import strategies as st

from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.streams import ensure_streams
from connectors.notify.service import back_off_s, body_for, wanted
from connectors.notify.signature import sign, verify
from dataflows._native import Publisher
from dataflows.contracts import vitals_pb2 as pb
from dataflows.settings import NotifyTarget
from tests.connectors.notify.receiver import Receiver
from tests.dataflows.alerts.story import Story, finding
from tests.waiting import until

REPO = Path(__file__).parents[3]
SECRET = "a-key-of-the-ward-1234"  # noqa: S105  (of a test)
IN_FLIGHT = 4


def transitions(patients):
    """Alerts of many patients, most of which page."""
    found = []
    for number in range(patients):
        story = Story()
        story.tell(finding(0, "asystole", device=f"d{number}"), finding(5, "pause", device=f"d{number}"), until_s=70)
        story.tell(finding(80, "pause", raised=False, device=f"d{number}"))
        found += story.alerts
    return found


def publish(publisher, alerts):
    publisher.publish_all([(one.subject(), [("Nats-Msg-Id", one.message_id)], one.body()) for one in alerts])


class Service:
    """`vitals notify` as a process."""

    def __init__(self, settings, folder, **target):
        self.folder = folder
        values = {"name": "ward", "secret": SECRET, "in_flight": IN_FLIGHT, "retry_s": 0.05, "history": True} | target
        self.environment = {
            **os.environ, "VITALS_NATS__URL": settings.nats.url, "VITALS_NOTIFY__TARGETS": json.dumps([values]),
            "PYTHONPATH": str(REPO),
        }  # fmt: skip
        self.start()

    def start(self):
        command = [sys.executable, "-m", "connectors.cli", "notify"]
        with (self.folder / "notify.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, cwd=self.folder, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()


def read(settings, subject, stream):
    async def fetch():
        client = await connect(settings.nats, "test")
        js = client.jetstream()
        messages = []
        count = (await js.stream_info(stream, subjects_filter=subject)).state.subjects or {}
        subscription = await js.subscribe(subject, stream=stream, ordered_consumer=True)
        while len(messages) < sum(count.values()):
            messages.append(await subscription.next_msg(timeout=5))
        await client.close()
        return messages

    return asyncio.run(fetch())


@pytest.mark.services
@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing_after_the_key(nats_server, tmp_path):
    settings = nats_server.settings()
    ensure_streams(settings)
    publisher = Publisher(native_options(settings.nats, "test"))
    seeded, pause = random.Random(5), threading.Event()
    receiver = Receiver(
        SECRET, lambda _, attempt: pause.wait(0.02) or (200 if attempt > 1 or seeded.random() > 0.2 else 503)
    )
    alerts = transitions(120)
    expected = {one.message_id: one.body() for one in alerts if one.notify}
    service, kills = Service(settings, tmp_path, url=receiver.url), 0
    for start in range(0, len(alerts), 60):
        publish(publisher, alerts[start : start + 60])
        if kills < 6:
            taken = len(receiver.applied)
            until(lambda taken=taken: len(receiver.applied) > taken + 5 or len(receiver.applied) == len(expected), 60)
            service.kill()
            kills += 1
            service.start()
    until(lambda: len(receiver.applied) >= len(expected), 90)
    # What was applied is confirmed a moment later; the service may not be killed in between, or it confirms no more.
    until(lambda: len(read(settings, "vp.*.*.*.control.delivered", "VITALS")) >= len(expected), 60, poll_s=0.2)
    service.kill()
    receiver.close()
    assert receiver.applied == expected
    assert receiver.forged == 0
    assert sum(receiver.raw.values()) - len(expected) <= kills * IN_FLIGHT
    # The log was told of each delivery once, under the patient it concerns.
    confirmed = [
        pb.Frame.FromString(one.data).command for one in read(settings, "vp.*.*.*.control.delivered", "VITALS")
    ]
    told = {f"{one['alert']}.{one['transition']}" for one in (json.loads(c.argument_json) for c in confirmed)}
    assert told >= expected.keys() - {name for name, count in receiver.raw.items() if count == 1 and name not in told}
    assert len(told) >= len(expected) - IN_FLIGHT
    assert len({one.idempotency_key for one in confirmed}) == len(confirmed)


@pytest.mark.services
def test_what_is_refused_or_never_taken_becomes_a_dead_letter(nats_server, tmp_path):
    settings = nats_server.settings()
    ensure_streams(settings)
    first, second, third = (one for one in transitions(3) if one.rule == "asystole" and one.transition == 0)
    answers = {first.message_id: 400, second.message_id: 503}
    receiver = Receiver(SECRET, lambda key, _: answers.get(key, 200))
    publish(Publisher(native_options(settings.nats, "test")), [first, second, third])
    service = Service(settings, tmp_path, url=receiver.url, attempts=3)
    until(lambda: third.message_id in receiver.applied, 60)
    watch = Publisher(native_options(settings.nats, "test"))
    until(lambda: watch.stream_state("UNDELIVERED")[2] == 2, 60, poll_s=0.1)
    until(lambda: read(settings, "audit.v1.*.command", "AUDIT"), 60, poll_s=0.1)
    service.kill()
    receiver.close()
    dead = {one.headers["Nats-Msg-Id"]: one for one in read(settings, "notify.dead.v1.>", "UNDELIVERED")}
    assert dead[f"{first.message_id}/ward"].headers["Vitals-Attempts"] == "1"
    assert dead[f"{first.message_id}/ward"].headers["Vitals-Reason"] == "HTTP 400"
    assert dead[f"{second.message_id}/ward"].headers["Vitals-Attempts"] == "3"
    assert dead[f"{second.message_id}/ward"].data == second.body()
    assert receiver.attempts == {first.message_id: 1, second.message_id: 3, third.message_id: 1}
    noted = [json.loads(one.data) for one in read(settings, "audit.v1.*.command", "AUDIT")]
    assert [(one["actor"], one["patient"], one["detail"]) for one in noted] == [
        ("notify/ward", third.patient, "delivered")
    ]
    (began,) = (json.loads(one.data)["detail"] for one in read(settings, "audit.v1.*.read", "AUDIT"))
    assert began == "notify ward of every organisation"


def test_without_a_target_the_service_says_what_to_do(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    command = [sys.executable, "-m", "connectors.cli", "notify"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "there is no target: docs/notifications.md" in ended.stderr


def target(**changes):
    return NotifyTarget.model_validate({"name": "t", "url": "https://x", "secret": SECRET} | changes)


@pytest.mark.parametrize(
    ("changes", "takes"),
    [
        ({}, True), ({"least": "high"}, True), ({"kinds": ["technical"]}, False), ({"level": 2}, False),
        ({"tenant": "main"}, True), ({"tenant": "other"}, False),
    ],
)  # fmt: skip
def test_a_target_gets_what_it_asked_for(changes, takes):
    alert = msgspec.to_builtins(transitions(1)[0])
    assert wanted(target(**changes), alert) is takes
    assert wanted(target(**changes), alert | {"notify": False}) is False
    assert wanted(target(events="all", **changes), alert | {"notify": False}) is takes
    assert wanted(target(least="high"), alert | {"priority": "medium"}) is False


def test_a_target_gets_the_alert_as_it_is_or_as_a_flag_of_fhir():
    for one in transitions(1):
        alert = json.loads(one.body())
        assert body_for(target(), alert, one.body()) == one.body()
        flag = Flag.model_validate_json(body_for(target(form="fhir"), alert, one.body()))
        assert (flag.id, flag.meta.versionId) == (alert["alert_id"], str(alert["transition"]))
        assert flag.status == ("inactive" if alert["state"] == "cleared" else "active")


@given(attempt=st.integers(1, 1000), seed=st.integers(0, 100))
def test_pauses_grow_to_their_bound_and_differ(attempt, seed):
    pause_s = back_off_s(target(retry_s=1, retry_max_s=60), attempt, random.Random(seed))
    longest_s = min(60, 2.0 ** min(attempt - 1, 20))
    assert longest_s / 2 <= pause_s <= longest_s


@given(body=st.binary(), other=st.binary(), at_s=st.integers(0, 2**40))
def test_a_signature_holds_for_its_body_its_time_and_its_secret_alone(body, other, at_s):
    signature = sign(SECRET, at_s, body)
    assert verify(SECRET, at_s, body, signature, now_s=at_s + 300)
    assert not verify(SECRET, at_s, body, signature, now_s=at_s + 301)
    assert not verify(SECRET, at_s + 1, body, signature, now_s=at_s)
    assert not verify("another-secret-of-it", at_s, body, signature, now_s=at_s)
    assert verify(SECRET, at_s, other, signature, now_s=at_s) is (other == body)
