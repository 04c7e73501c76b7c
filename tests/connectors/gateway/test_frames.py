"""POST /v1/frames: what is stored, what is refused, and that nothing is said before JetStream has it."""

import asyncio
import gzip
import io
import json
import socket
import time

import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.proto import serialize_length_prefixed

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer, message_id
from tests.connectors.gateway.conftest import Served
from tests.stalls import Stalls
from tests.waiting import until

pytestmark = pytest.mark.services
PROTOBUF, STREAM = "application/x-protobuf", "application/vnd.vitals.frames"


def frames(patient, count=1, device="d", **origin):
    framer = WaveFramer(
        Origin(patient, device, **origin), pb.SIGNAL_PLETH, 100_000, 1.0, time.time_ns() - count * 10**9
    )
    return [framer.frame(np.arange(100, dtype=np.int16) + n) for n in range(count)]


def send(client, body, kind=PROTOBUF, path="/frames", **headers):
    return client.post(path, content=body, headers={"Content-Type": kind, **headers})


def test_a_frame_is_in_the_log_with_its_identity_when_the_answer_comes(sender, log):
    (frame,) = frames("gw-one")
    answer = send(sender("gw-one"), frame.SerializeToString())
    assert (answer.status_code, answer.json()["stored"], answer.json()["duplicates"]) == (202, 1, 0)
    ((subject, payload, identity),) = log("gw-one")
    assert subject.endswith(".main.gw-one.d.pleth")
    assert (payload, identity.rpartition("/")[0]) == (frame.SerializeToString(), message_id(frame))


def test_the_same_request_again_stores_nothing_more(sender, log):
    client, body = sender("gw-again"), frames("gw-again")[0].SerializeToString()
    answers = [send(client, body).json() for _ in range(3)]
    assert [answer["duplicates"] for answer in answers] == [0, 1, 1]
    assert len({answer["log_seq"] for answer in answers}) == 1
    assert len(log("gw-again")) == 1


def test_a_batch_and_json_become_the_same_messages(sender, log):
    sent = frames("gw-batch", 40)
    stream = io.BytesIO()
    for frame in sent:
        serialize_length_prefixed(frame, stream)
    client = sender("gw-batch")
    assert send(client, stream.getvalue(), STREAM).json()["stored"] == 40
    body = json.dumps([MessageToDict(frame) for frame in sent]).encode()
    assert send(client, body, "application/json").json() | {"log_seq": 0} == {
        "stored": 40, "duplicates": 40, "log_seq": 0,
    }  # fmt: skip
    assert sorted(payload for _, payload, _ in log("gw-batch")) == sorted(frame.SerializeToString() for frame in sent)


def test_json_may_leave_out_whom_the_key_names(sender, log):
    entry = MessageToDict(frames("gw-json")[0])
    for name in ("tenant", "patient", "device"):
        entry.pop(name, None)
    assert send(sender("gw-json"), json.dumps(entry).encode(), "application/json").status_code == 202
    assert pb.Frame.FromString(log("gw-json")[0][1]).patient == "gw-json"


def test_one_bad_frame_stores_nothing_and_is_named(sender, log):
    sent = frames("gw-bad", 5)
    sent[3].waveform.samples += b"x"
    stream = io.BytesIO()
    for frame in sent:
        serialize_length_prefixed(frame, stream)
    answer = send(sender("gw-bad"), stream.getvalue(), STREAM)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(e["index"], e["reason"]) for e in answer.json()["errors"]] == [(3, "odd_byte_count")]
    assert log("gw-bad") == []


def test_the_key_decides_whose_frame_it_is(sender, log):
    """A forged patient, tenant or device in the payload, and a command in place of a measurement."""
    client = sender("gw-forger")
    command = pb.Frame(
        version=1, patient="gw-victim", device="control", command=pb.Command(name="discharge", actor="x")
    )
    forged = [frames("gw-victim"), frames("gw-forger", device="other"), frames("gw-forger", tenant="clinic"), [command]]
    for (frame,) in forged:
        answer = send(client, frame.SerializeToString())
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["reason"] in {"identity_mismatch", "unknown_signal", "body_mismatch"}
    assert log("gw-victim") == log("gw-forger") == []


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("nonsense", "key_malformed"),
        ("vd_0000000000000000_secret", "key_unknown"),
        ("vd_' OR 1=1 --_x", "key_unknown"),
        ("vd__", "key_malformed"),
    ],
)
def test_without_a_key_nothing_is_taken(served, key, title):
    with served.client(key) as client:
        answer = send(client, frames("gw-x")[0].SerializeToString())
    assert (answer.status_code, answer.json()["title"]) == (401, title)
    assert answer.headers["www-authenticate"] == "Bearer"
    assert httpx.post(f"{served.url}/v1/frames", content=b"x", timeout=60).json()["title"] == "key_missing"


def test_a_key_with_another_secret_is_unknown(behind, served):
    key = served.knows(behind.enrol(Origin("gw-guess", "d"), by="http").secret)
    with served.client(key[:-1] + ("A" if key[-1] != "A" else "B")) as client:
        assert send(client, b"x").json()["title"] == "key_unknown"


def test_revocation_works_at_once(behind, served):
    enrolled = behind.enrol(Origin("gw-revoked", "d"), by="http")
    served.knows(enrolled.secret)

    async def revoke():
        async with behind.devices() as devices:
            await devices.revoke(Origin("gw-revoked", "d"))

    with served.client(enrolled.secret) as client:
        assert send(client, frames("gw-revoked")[0].SerializeToString()).status_code == 202
        asyncio.run(revoke())
        with Stalls() as stalls:
            assert stalls.timed(lambda: until(lambda: send(client, b"x").json()["title"] == "key_revoked")) < 2.0


def test_an_expired_key_is_refused(behind, served):
    enrolled = behind.enrol(Origin("gw-short", "d"), by="http", days=1.5 / 86_400)
    with served.client(enrolled.secret) as client:
        until(lambda: send(client, b"x").json()["title"] == "key_expired", 10.0)


def test_compressed_bodies_are_refused_unread(sender):
    bomb = gzip.compress(b"\0" * 50_000_000)
    client = sender("gw-bomb")
    for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
        answer = send(client, bomb, **{"Content-Encoding": encoding})
        assert (answer.status_code, answer.json()["title"]) == (415, "compressed")


def test_large_bodies_are_refused_before_they_are_sent(behind, served):
    """100 MB that are only announced, and a chunked body that never says how large it is."""
    key = served.knows(behind.enrol(Origin("gw-large", "d"), by="http").secret)
    head = f"POST /v1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: {PROTOBUF}\r\n"
    for rest in ("Content-Length: 104857600\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as connection:
            connection.sendall((head + rest).encode())
            if "chunked" in rest:
                chunk = b"10000\r\n" + b"\0" * 0x10000 + b"\r\n"
                try:
                    for _ in range(40):
                        connection.sendall(chunk)
                except OSError:
                    pass  # the gateway has hung up
            assert b" 413 " in connection.recv(4096).partition(b"\r\n")[0]


def test_a_slow_body_is_cut_off_and_delays_nobody(behind):
    slow, calm = (behind.enrol(Origin(patient, "d"), by="http").secret for patient in ("gw-slow", "gw-beside"))
    head = f"POST /v1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {slow}\r\nContent-Length: 1000\r\n\r\nx"
    with Served(behind.settings, body_s=1.0) as gateway, gateway.client(gateway.knows(calm)) as beside:
        gateway.knows(slow)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as connection:
            connection.sendall(head.encode())
            assert send(beside, frames("gw-beside")[0].SerializeToString()).status_code == 202
            answer = connection.recv(4096)
    assert b" 408 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("body", "kind", "status", "title"),
    [
        (b"", PROTOBUF, 422, "invalid"),
        (b"\xff" * 100, PROTOBUF, 422, "invalid"),
        (b"\xff" * 100, STREAM, 422, "invalid"),
        (b"", STREAM, 422, "empty"),
        (b"\xff\xff\xff\xff\x0f", STREAM, 422, "invalid"),
        (b"{", "application/json", 400, "no_json"),
        (b"[" * 100_000, "application/json", 400, "no_json"),
        (b"[]", "application/json", 422, "empty"),
        (b"[1, null]", "application/json", 422, "invalid"),
        (b'{"seq": -1}', "application/json", 422, "invalid"),
        (b'{"unknown": 1}', "application/json", 422, "invalid"),
        (b"x", "text/plain", 415, "content_type"),
        (b"x", "", 415, "content_type"),
    ],
)
def test_what_is_no_frame_is_said(sender, body, kind, status, title):
    answer = send(sender("gw-garbage"), body, kind)
    assert (answer.status_code, answer.json()["title"]) == (status, title)


def test_a_device_over_its_rate_is_told_when_to_come_back(behind):
    fast, calm = (behind.enrol(Origin(patient, "d"), by="http").secret for patient in ("gw-fast", "gw-calm"))
    stream = io.BytesIO()
    for frame in frames("gw-fast", 400):
        serialize_length_prefixed(frame, stream)
    with Served(behind.settings, burst_frames=400, frames_per_s=1.0) as gateway:  # 400 s until it may send as much
        with gateway.client(fast) as client:
            assert send(client, stream.getvalue(), STREAM).status_code == 202
            answer = send(client, stream.getvalue(), STREAM)
            assert (answer.status_code, answer.json()["title"]) == (429, "over_rate")
            assert int(answer.headers["retry-after"]) >= 1
            serialize_length_prefixed(frames("gw-fast")[0], stream)
            assert send(client, stream.getvalue(), STREAM).status_code == 413
        with gateway.client(calm) as client:
            assert send(client, frames("gw-calm")[0].SerializeToString()).status_code == 202


def test_the_audit_log_notes_who_writes_and_no_log_has_a_key(behind, served, caplog):
    key = served.knows(behind.enrol(Origin("gw-audit", "d"), by="http").secret)
    with served.client(key) as client:
        for frame in frames("gw-audit", 3):
            send(client, frame.SerializeToString())
        send(client, b"\xff")

    async def events():
        async with behind.pipeline() as client:
            js = client.jetstream()
            last = (await js.stream_info("AUDIT")).state.last_seq
            return [json.loads((await js.get_msg("AUDIT", seq)).data) for seq in range(1, last + 1)]

    mine = [event for event in asyncio.run(events()) if event["patient"] == "gw-audit"]
    assert [event["what"] for event in mine] == ["enrol", "write"]
    secret = key.split("_", 2)[2]
    assert secret not in json.dumps(mine) + caplog.text + behind.server_log
    assert "gateway refused frames from 127.0.0.1: invalid (422)" in caplog.text
