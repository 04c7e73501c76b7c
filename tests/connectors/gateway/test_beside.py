"""While attackers try every door, a normal device beside them loses nothing, and nothing of theirs is stored."""

import asyncio
import threading

import grpc
import httpx
import pytest

from dataflows.contracts.frames import Origin, message_id
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.gateway.test_frames import frames
from tests.connectors.identity.mqtt import MqttDevice

pytestmark = pytest.mark.services
COUNT = 150
SUBJECT = "vitals.v1.main.hostile-victim.d.pleth"


def rounds(stop):
    """Until told to stop, but once at least: a door that was not tried proves nothing."""
    yield
    while not stop.is_set():
        yield


def over_nats(locked, device, stop):
    async def run():
        async with locked.device(device) as (client, refused, _):
            for _ in rounds(stop):
                for subject in (
                    SUBJECT,
                    "vitals.v1.main.hostile-victim.control.discharge",
                    "$JS.API.STREAM.PURGE.VITALS",
                ):
                    await client.publish(subject, b"\xff" * 100)
                await client.subscribe(">")
                await client.flush()
            return len(refused)

    return asyncio.run(run())


def over_mqtt(locked, device, stop):
    with MqttDevice(locked, device.secret, client_id="hostile") as mqtt:
        sent = 0
        for _ in rounds(stop):
            if mqtt.gone.is_set() and sent:
                break
            mqtt.publish(SUBJECT.replace(".", "/"), b"\xff" * 100, 1)
            sent += 1
        return sent


def over_http(served, device, stop):
    payload, refused = frames("hostile-victim")[0].SerializeToString(), 0
    with served.client(device.secret) as client:
        for _ in rounds(stop):
            for body in (payload, b"\xff" * 1000, b"\0" * (1 << 21)):
                try:
                    answer = client.post("/frames", content=body, headers={"Content-Type": "application/x-protobuf"})
                    refused += 400 <= answer.status_code < 500
                except httpx.TransportError:  # hung up on the large one while it was being sent
                    refused += 1
    return refused


def over_grpc(served, device, stop):
    forged, refused = frames("hostile-victim")[0].SerializeToString(), 0
    with served.channel() as channel:
        for _ in rounds(stop):
            refused += sum(bool(ack.reason) for ack in upload(channel, device.secret, [forged, b"\xff" * 1000, b""]))
            try:
                list(upload(channel, device.secret, [b"\0" * (1 << 20)]))
            except grpc.RpcError:
                refused += 1
    return refused


def test_a_normal_device_loses_nothing(behind, served, log):
    good = behind.enrol(Origin("hostile-beside", "d"))
    attackers = {by: behind.enrol(Origin("hostile", "d"), by=by) for by in ("nats", "mqtt", "http")}
    attackers["grpc"] = attackers["http"]
    served.knows(attackers["http"].secret)
    stop, tried = threading.Event(), {}
    acts = {
        "nats": lambda: over_nats(behind, attackers["nats"], stop),
        "mqtt": lambda: over_mqtt(behind, attackers["mqtt"], stop),
        "http": lambda: over_http(served, attackers["http"], stop),
        "grpc": lambda: over_grpc(served, attackers["grpc"], stop),
    }
    threads = [threading.Thread(target=lambda by=by: tried.update({by: acts[by]()})) for by in acts]
    for thread in threads:
        thread.start()
    sent = frames("hostile-beside", COUNT)

    async def publish():
        async with behind.device(good) as (client, refused, _):
            js = client.jetstream(timeout=60)
            for frame in sent:
                subject = "vitals.v1.main.hostile-beside.d.pleth"
                await js.publish(subject, frame.SerializeToString(), headers={"Nats-Msg-Id": message_id(frame)})
            assert not refused

    asyncio.run(publish())
    stop.set()
    for thread in threads:
        thread.join(30)
    assert min(tried.values()) > 0, tried
    assert [payload for _, payload, _ in log("hostile-beside")] == [frame.SerializeToString() for frame in sent]
    assert log("hostile-victim") == log("hostile") == []
