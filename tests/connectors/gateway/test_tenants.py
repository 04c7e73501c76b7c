"""The rate of an organisation at the gateway: what one sends above its own costs the others nothing."""

import io
import threading
import time

import grpc
import pytest
from google.protobuf.proto import serialize_length_prefixed

from dataflows.contracts.frames import Origin
from tests.connectors.gateway.conftest import Served
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.gateway.test_frames import PROTOBUF, STREAM, frames

pytestmark = pytest.mark.services
RATE, BURST = 40, 80
DEVICES, COUNT = 3, 40


@pytest.fixture(scope="module")
def limited(behind):
    """A gateway that lets an organisation send little; its devices could send more, one by one."""
    limits = {"tenant_frames_per_s": RATE, "tenant_burst_frames": BURST, "frames_per_s": 1000.0, "burst_frames": 1000}
    with Served(behind.settings, **limits) as gateway:
        yield gateway


def over_http(gateway, key, origin, stop, tally):
    """Twenty frames at a time: also on a slow machine more than the rate."""
    with gateway.client(key) as client:
        while not stop.is_set():
            body = io.BytesIO()
            for frame in frames(origin.patient, 20, tenant=origin.tenant):
                serialize_length_prefixed(frame, body)
            answer = client.post("/frames", content=body.getvalue(), headers={"Content-Type": STREAM})
            tally.extend([answer.status_code] * (20 if answer.status_code == 202 else 1))
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
                assert "this organisation may send" in answer.json()["detail"]


def over_grpc(gateway, key, origin, stop, tally):
    room = threading.Semaphore(100)  # more than the gateway stores at once: the rate is what holds it back

    def sending():
        while not stop.is_set():
            if room.acquire(timeout=0.1):
                yield frames(origin.patient, tenant=origin.tenant)[0].SerializeToString()

    with gateway.channel() as channel:
        try:
            for ack in upload(channel, key, sending()):
                tally.append(202 if ack.log_seq else 422)
                room.release()
        except grpc.RpcError:
            tally.append(0)


@pytest.mark.parametrize(("way", "flood"), [("http", over_http), ("grpc", over_grpc)])
def test_an_organisation_over_its_rate_delays_no_other(limited, behind, log, way, flood):
    loud, calm, patient = f"loud-{way}", f"calm-{way}", f"calm-{way}"
    senders = [Origin(f"{loud}-{n}", "d", tenant=loud) for n in range(DEVICES)]
    keys = [limited.knows(behind.enrol(origin, by="http").secret) for origin in senders]
    mine = limited.knows(behind.enrol(Origin(patient, "d", tenant=calm), by="http").secret)
    stop, tally = threading.Event(), []
    threads = [
        threading.Thread(target=flood, args=(limited, key, origin, stop, tally))
        for key, origin in zip(keys, senders, strict=True)
    ]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    waits_s = []
    with limited.client(mine) as client:
        for frame in frames(patient, COUNT, tenant=calm):
            asked_s = time.monotonic()
            answer = client.post("/frames", content=frame.SerializeToString(), headers={"Content-Type": PROTOBUF})
            waits_s.append(time.monotonic() - asked_s)
            assert answer.status_code == 202, answer.text
            time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(60)
    took_s = time.monotonic() - began_s
    assert len(log(patient)) == COUNT
    assert sorted(waits_s)[COUNT // 2] < 1.0
    taken = tally.count(202)
    assert BURST <= taken <= BURST + RATE * took_s + 1, (taken, took_s)
    assert sum(len(log(origin.patient)) for origin in senders) <= taken
    if way == "http":  # over gRPC nobody is refused: the call waits, and HTTP/2 holds its sender back
        assert tally.count(429) > 0
