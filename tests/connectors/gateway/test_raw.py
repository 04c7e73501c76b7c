"""Raw bytes on every listener: each goes on, and whoever sends rightly beside them loses nothing.

The bytes are the same in each run; `VITALS_FUZZ=1` takes new ones, and the seed is in the message of a failure.
"""

import asyncio
import os
import threading
import time
from pathlib import Path

import httpx
import pytest

from dataflows.contracts.frames import Origin, message_id
from tests.connectors.gateway import raw
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.gateway.test_frames import PROTOBUF, frames
from tests.connectors.identity.conftest import tls_context

pytestmark = [pytest.mark.services, pytest.mark.slow]
SEED = str(time.time_ns()) if os.environ.get("VITALS_FUZZ") else "raw"
CONVERSATIONS = 80
COUNT = 60
OWN = "vitals.v1.main.raw.d.pleth"


@pytest.fixture(scope="module")
def listeners(behind, served):
    device = {by: behind.enrol(Origin("raw", "d"), by=by).secret for by in ("nats", "mqtt", "http")}
    frame = frames("raw")[0].SerializeToString()
    behind.raw_secrets = [word for secret in device.values() for word in secret.split() if len(word) > 50]
    context = tls_context(behind.ca)
    return {
        "nats": raw.nats_listener(behind.port, context, device["nats"], OWN),
        "mqtt": raw.mqtt_listener(behind.mqtt_port, context, device["mqtt"], OWN.replace(".", "/")),
        "websocket": raw.websocket_listener(behind.websocket_port, context),
        "http": raw.http_listener(served.port, device["http"], frame),
        "grpc": raw.grpc_listener(served.grpc_port, device["http"], frame),
    }


def resident_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def subjects(locked):
    async def run():
        async with locked.pipeline() as client:
            info = await client.jetstream().stream_info("VITALS", subjects_filter="vp.*.*.*.*.*")
            return {subject.split(".", 2)[2] for subject in info.state.subjects or {} if ".tick." not in subject}

    return asyncio.run(run())


@pytest.fixture(params=["nats", "mqtt", "websocket", "http", "grpc"])
def attacked(request, listeners):
    """A listener under fire from two threads for the time of a test; what was answered."""
    answers, errors = [], []

    def fire(number):
        try:
            listener = listeners[request.param]
            answers.extend(raw.conversations(listener, f"{SEED}-{request.param}-{number}", CONVERSATIONS))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fire, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    yield request.param, answers
    for thread in threads:
        thread.join(120)
    assert not errors, (SEED, errors)
    assert len(answers) == 2 * CONVERSATIONS, SEED
    assert any(answers), (SEED, "nothing was ever answered: nobody got in, so nothing was tried")


def test_the_listener_goes_on_and_a_normal_device_loses_nothing(attacked, behind, served, log):
    name, answers = attacked
    patient = f"beside-raw-{name}"
    pid, before = behind.stack.pids()["nats"], subjects(behind)
    good = {
        by: behind.enrol(Origin(patient, by), by="nats" if by == "nats" else "http") for by in ("nats", "http", "grpc")
    }
    for by in ("http", "grpc"):
        served.knows(good[by].secret)
    sent = {by: frames(patient, COUNT, device=by) for by in good}

    async def publish():
        async with behind.device(good["nats"]) as (client, refused, _):
            for frame in sent["nats"]:
                headers = {"Nats-Msg-Id": message_id(frame)}
                subject = f"vitals.v1.main.{patient}.nats.pleth"
                await client.jetstream(timeout=30).publish(subject, frame.SerializeToString(), headers=headers)
            assert not refused

    asyncio.run(publish())
    with served.client(good["http"].secret) as client:
        for frame in sent["http"]:
            answer = client.post("/frames", content=frame.SerializeToString(), headers={"Content-Type": PROTOBUF})
            assert answer.status_code == 202, (SEED, answer.text)
    with served.channel() as channel:
        acks = list(upload(channel, good["grpc"].secret, [frame.SerializeToString() for frame in sent["grpc"]]))
    assert all(ack.log_seq for ack in acks), SEED
    while len(answers) < 2 * CONVERSATIONS:
        time.sleep(0.1)
    wanted = sorted(frame.SerializeToString() for one in sent.values() for frame in one)
    assert sorted(payload for _, payload, _ in log(patient)) == wanted, SEED
    assert behind.stack.pids()["nats"] == pid
    assert Path(f"/proc/{pid}").exists()
    assert resident_mb(pid) < 600
    assert "panic" not in behind.server_log
    assert httpx.get(f"{served.url}/v1/health", timeout=60).status_code == 200
    new = {subject for subject in subjects(behind) - before if f".{patient}." not in subject}
    # Who is let in may send rubbish under its own name (the flow rejects it), and under no other one.
    assert all(subject.startswith("main.raw.d.") for subject in new), (SEED, new)


def test_what_was_sent_is_in_the_servers_log(behind, listeners):
    for name in ("nats", "mqtt", "websocket"):
        list(raw.conversations(listeners[name], f"{SEED}-log-{name}", 20))
    said = behind.server_log
    for words in ("TLS handshake error", "Client parser ERROR", "mid:"):
        assert words in said, (SEED, words)
    # The server quotes what it does not understand, 32 bytes of it: never a whole secret.
    assert not [secret for secret in behind.raw_secrets if secret in said]
