"""vitals.v1.Ingest/Upload: the same doors as over HTTP, an answer for each frame, and a gateway that dies."""

import asyncio
import contextlib
import functools
import itertools
import random
import socket
import threading
import time

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from connectors.identity.certs import DevelopmentCA
from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, message_id
from tests.connectors.gateway import raw
from tests.connectors.gateway.conftest import Served, gateway_command
from tests.connectors.gateway.grpc_client import Uploader, upload
from tests.connectors.gateway.test_frames import frames
from tests.waiting import until

pytestmark = pytest.mark.services
SERVING = health_pb2.HealthCheckResponse.SERVING
ASKED = health_pb2.HealthCheckRequest(service="vitals.v1.Ingest")


def payloads(patient, count=1, **origin):
    return [frame.SerializeToString() for frame in frames(patient, count, **origin)]


@pytest.fixture
def key(behind, served):
    """Makes keys: `key("p1", gateway)` is one of p1's device `d` that the gateway knows."""

    def make(patient, gateway=served, **kwargs):
        return gateway.knows(behind.enrol(Origin(patient, "d"), by="http", **kwargs).secret)

    return make


@pytest.fixture
def channel(served):
    with served.channel() as channel:
        yield channel


def status(channel, key, sent, **kwargs):
    """What a call ended with, and how many frames it had answered."""
    call = upload(channel, key, sent, **kwargs)
    answered = 0
    try:
        for _ in call:
            answered += 1
    except grpc.RpcError:
        pass
    return call.code(), call.details(), answered


def test_each_frame_is_in_the_log_as_it_came_when_it_is_answered(channel, key, log):
    sent = frames("rpc-one", 100)
    # A field that this version does not know stays where it is.
    raw = [frame.SerializeToString() + b"\xf8\x7f\x01" for frame in sent]
    answers = list(upload(channel, key("rpc-one"), raw))
    assert [answer.index for answer in answers] == list(range(100))
    assert all(answer.log_seq and not answer.reason and not answer.duplicate for answer in answers)
    assert [answer.log_seq for answer in answers] == sorted(answer.log_seq for answer in answers)
    assert [(payload, identity.rpartition("/")[0]) for _, payload, identity in log("rpc-one")] == [
        (payload, message_id(frame)) for payload, frame in zip(raw, sent, strict=True)
    ]


def test_a_bad_frame_is_named_and_its_neighbours_are_stored(channel, key, log):
    good = frames("rpc-mixed", 5)
    odd = pb.Frame.FromString(good[3].SerializeToString())
    odd.waveform.samples += b"x"
    forged = frames("rpc-victim")[0]
    command = pb.Frame(
        version=1, patient="rpc-mixed", device="control", command=pb.Command(name="discharge", actor="x")
    )
    unknown = pb.Frame.FromString(good[4].SerializeToString())
    unknown.signal = 99
    bad = {
        1: (odd.SerializeToString(), "odd_byte_count"),
        2: (forged.SerializeToString(), "identity_mismatch"),
        4: (b"\xff" * 50, "undecodable"),
        5: (command.SerializeToString(), "unknown_signal"),
        7: (unknown.SerializeToString(), "unknown_signal"),
        8: (b"", "identity_mismatch"),
    }
    rest = iter(good)
    sent = [bad[n][0] if n in bad else next(rest).SerializeToString() for n in range(11)]
    answers = list(upload(channel, key("rpc-mixed"), sent))
    assert {n for n, answer in enumerate(answers) if answer.reason} == set(bad)
    assert all(answer.detail for answer in answers if answer.reason)
    assert {n: answers[n].reason for n in (1, 2, 4)} == {n: bad[n][1] for n in (1, 2, 4)}
    assert [payload for _, payload, _ in log("rpc-mixed")] == [frame.SerializeToString() for frame in good]
    assert log("rpc-victim") == []


def test_sent_again_it_is_a_duplicate_by_either_listener(channel, served, key, log):
    secret, sent = key("rpc-again"), payloads("rpc-again", 3)
    assert not any(answer.duplicate for answer in upload(channel, secret, sent))
    assert all(answer.duplicate for answer in upload(channel, secret, sent))
    with served.client(secret) as client:
        answer = client.post("/frames", content=sent[0], headers={"Content-Type": "application/x-protobuf"})
    assert answer.json()["duplicates"] == 1
    assert len(log("rpc-again")) == 3


@pytest.mark.parametrize(
    ("presented", "word"),
    [("", "key_missing"), ("nonsense", "key_malformed"), ("vd_0000000000000000_secret", "key_unknown")],
)
def test_without_a_key_no_call_is_taken(channel, presented, word):
    code, detail, answered = status(channel, presented, payloads("rpc-x"))
    assert (code, answered) == (grpc.StatusCode.UNAUTHENTICATED, 0)
    assert detail.startswith(word)


def test_an_open_call_ends_when_its_key_is_revoked(behind, channel, key):
    secret = key("rpc-revoked")
    wanted, go = payloads("rpc-revoked", 400), threading.Event()

    def sending():
        yield wanted[0]
        assert go.wait(60)
        yield from wanted[1:]

    call = upload(channel, secret, sending())
    assert next(call).log_seq

    async def revoke():
        async with behind.devices() as devices:
            await devices.revoke(Origin("rpc-revoked", "d"))

    asyncio.run(revoke())
    until(lambda: status(channel, secret, [])[1].startswith("key_revoked"))
    go.set()
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() == grpc.StatusCode.UNAUTHENTICATED
    assert call.details().startswith("key_revoked")


def test_an_expired_key_opens_no_call(channel, key):
    secret = key("rpc-short", days=1.5 / 86_400)
    until(lambda: status(channel, secret, [])[1].startswith("key_expired"))


def test_what_is_too_large_or_compressed_is_refused(served, key, log):
    secret = key("rpc-large")
    big = frames("rpc-large")[0]
    big.waveform.samples = np.zeros(40_000, np.int16).tobytes()
    with served.channel() as channel:
        code, _, answered = status(channel, secret, [big.SerializeToString()])
        assert (code, answered) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
        code, _, answered = status(channel, secret, [b"\0" * 4_000_000])
        assert (code, answered) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 0)
    with served.channel(default_compression_algorithm=2) as channel:  # gzip
        code, _, answered = status(channel, secret, [b"\0" * 50_000_000])
        assert code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert answered == 0
    assert log("rpc-large") == []


def test_a_flood_waits_for_its_turn_and_delays_nobody(served, channel, key, log):
    """200 frames a second after 400 at once: no more is taken, none is lost, and a neighbour is answered meanwhile."""
    answers, sent, enough = [], [], threading.Event()
    loud, calm = key("rpc-flood"), key("rpc-beside")
    made = payloads("rpc-flood", 20_000)

    def flood():
        for payload in made:
            if enough.is_set() and len(sent) >= 1000:
                return
            sent.append(payload)
            yield payload

    began_s = time.monotonic()
    flooding = threading.Thread(target=lambda: answers.extend(upload(channel, loud, flood())))
    flooding.start()
    until(lambda: len(answers) >= 300)
    with served.channel() as other:
        for payload in payloads("rpc-beside", 20):
            (answer,) = upload(other, calm, [payload])
            assert answer.log_seq
    assert len(answers) <= 400 + 200 * (time.monotonic() - began_s) + 1, "it was not held back"
    enough.set()
    flooding.join()  # what was sent by then is answered at the rate
    assert [answer.index for answer in answers] == list(range(len(sent)))
    assert 400 + 200 * (time.monotonic() - began_s) + 1 >= len(sent) >= 1000
    assert len(log("rpc-flood")) == len(sent)


@contextlib.contextmanager
def held(calls, refused):
    """Keeps open what `calls` open on a stream of no frames, from where `refused()` on, to the end of the block.

    A call that comes while `refused` asks is itself the one too many: it is opened again.
    """
    over, opened = threading.Event(), {}

    def nothing():
        over.wait()
        yield from ()

    def full():
        for number, call in enumerate(calls):
            if number not in opened or opened[number].done():
                opened[number] = call(nothing())
        return refused()

    try:
        until(full)
        yield
    finally:
        for call in opened.values():
            call.cancel()
        over.set()


def test_who_reads_no_answers_or_sends_nothing_harms_nobody(served, key, log):
    lazy_key, calm_key = key("rpc-lazy"), key("rpc-calm")
    with served.channel() as lazy, served.channel() as calm:

        def unread(nothing):
            return upload(lazy, lazy_key, itertools.chain(payloads("rpc-lazy", 300), nothing))

        def silent(nothing):
            return upload(lazy, lazy_key, nothing)

        with held([unread, *3 * [silent]], lambda: status(lazy, lazy_key, [])[1].startswith("too_many_calls")):
            assert all(answer.log_seq for answer in upload(calm, calm_key, payloads("rpc-calm", 20)))
        until(lambda: status(lazy, lazy_key, [])[0] == grpc.StatusCode.OK)


def test_health_and_reflection_say_what_there_is(channel):
    assert health_pb2_grpc.HealthStub(channel).Check(ASKED).status == SERVING
    described = ProtoReflectionDescriptorDatabase(channel)
    assert "vitals.v1.Ingest" in described.get_services()
    service = DescriptorPool(described).FindServiceByName("vitals.v1.Ingest")
    (method,) = service.methods
    assert (method.input_type.full_name, method.output_type.full_name) == ("vitals.v1.Frame", "vitals.v1.Ack")
    assert method.client_streaming
    assert method.server_streaming


def test_who_has_no_key_takes_no_calls_from_who_has(behind, key, log):
    """Health and reflection need no key: calls that are left open, or that never say what they ask."""
    sent = payloads("rpc-crowd", 20)
    with Served(behind.settings, connections=10) as gateway, contextlib.ExitStack() as stack:
        calls, crowd = [], key("rpc-crowd", gateway)
        for _ in range(6):  # a connection carries a few calls at once only
            watching = stack.enter_context(gateway.channel(use_local_subchannel_pool=1))
            for method in ("v1alpha.ServerReflection/ServerReflectionInfo", "Health/Check"):
                path = f"/grpc.{'reflection' if 'Info' in method else 'health.v1'}.{method}"
                ask = watching.stream_stream(path)
                calls += [ask(iter(threading.Event().wait, True), timeout=60) for _ in range(8)]
        # The last 32 are who could still push a question out that came before them.
        until(lambda: sum(call.done() for call in calls) >= len(calls) - 32)
        with gateway.channel(use_local_subchannel_pool=1) as channel:
            assert [bool(ack.log_seq) for ack in upload(channel, crowd, sent)] == [True] * 20
            health = health_pb2_grpc.HealthStub(channel)
            assert [health.Check(ASKED, timeout=5).status for _ in range(50)] == [SERVING] * 50
            with pytest.raises(grpc.RpcError, match="UNIMPLEMENTED"):
                next(health.Watch(ASKED, timeout=5))
        until(lambda: all(call.done() for call in calls), 20)
    assert len(log("rpc-crowd")) == 20


def test_more_calls_than_there_may_be_are_told_to_come_back(behind, key):
    with Served(behind.settings, connections=2) as gateway, gateway.channel() as channel:
        late = key("rpc-late", gateway)
        many = [key(f"rpc-many-{number}", gateway) for number in range(2)]
        calls = [functools.partial(upload, channel, secret) for secret in many]
        with held(calls, lambda: status(channel, late, [])[1].startswith("busy")):
            assert status(channel, late, [])[0] == grpc.StatusCode.UNAVAILABLE
        until(lambda: status(channel, late, [])[0] == grpc.StatusCode.OK)


def test_who_connects_and_asks_nothing_is_hung_up_on(behind):
    with Served(behind.settings, call_idle_s=1.0) as gateway:
        for said in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"):
            with socket.create_connection(("127.0.0.1", gateway.grpc_port), timeout=20) as connection:
                connection.sendall(said)
                while connection.recv(65536):
                    pass


def test_a_path_that_is_no_text_ends_nothing(served, channel, key, log):
    """It ended grpcio's loop: one such call by anybody, and the listener was gone."""
    for number in range(3):
        with socket.create_connection(("127.0.0.1", served.grpc_port), timeout=10) as connection:
            connection.sendall(raw.PREFACE + raw.grpc_head(1, "nobody", b"/vitals.v1.Ingest/Uplo\xe1d"))
            until(lambda connection=connection: connection.recv(1))
        (answer,) = upload(channel, key(f"rpc-path-{number}"), payloads(f"rpc-path-{number}"))
        assert answer.log_seq


def test_calls_that_nobody_knows_are_bounded(served, channel, key):
    with served.channel(use_local_subchannel_pool=1) as strangers:
        unknown = strangers.stream_stream("/vitals.v1.Ingest/Unknown")
        calls = [unknown(iter(()), timeout=5) for _ in range(1200)]
        (answer,) = upload(channel, key("rpc-unknown"), payloads("rpc-unknown"))
        assert answer.log_seq
        for call in calls:
            call.cancel()


def test_no_log_has_what_was_presented(served, caplog):
    with socket.create_connection(("127.0.0.1", served.grpc_port), timeout=10) as connection:
        connection.sendall(raw.PREFACE + raw.grpc_head(1, b"vd_0123_SECRETSECRET\xff"))
        until(lambda: "gateway refused grpc" in caplog.text, 10)
    assert "SECRETSECRET" not in caplog.text


def test_tls_by_the_gateways_setting(behind, key, tmp_path):
    authority = DevelopmentCA(tmp_path)
    pair = authority.server()
    with Served(behind.settings, authority.certificate, tls_cert=pair.certificate, tls_key=pair.key) as served:
        secret, sent = key("rpc-tls", served), payloads("rpc-tls", 2)
        trusted = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{served.grpc_port}", trusted) as channel:
            assert all(answer.log_seq for answer in upload(channel, secret, sent))
        with served.channel() as clear:
            assert status(clear, secret, sent, timeout=10)[0] == grpc.StatusCode.UNAVAILABLE
        with grpc.secure_channel(f"localhost:{served.grpc_port}", grpc.ssl_channel_credentials()) as distrusting:
            assert status(distrusting, secret, sent, timeout=10)[0] == grpc.StatusCode.UNAVAILABLE
        with served.client(secret) as client:
            answer = client.post("/frames", content=sent[0], headers={"Content-Type": "application/x-protobuf"})
        assert answer.json()["duplicates"] == 1


def test_a_stream_through_a_kill_of_the_gateway_loses_and_doubles_nothing(behind, key, log, tmp_path):
    http_port, port = free_ports(2)
    command, env = gateway_command(behind.settings, port=http_port, grpc_port=port, frames_per_s=500, burst_frames=100)
    gateway = ServerProcess("gateway", command, tmp_path / "gateway.log", tmp_path / "gateway.pid", env=env)
    sent = payloads("rpc-kills", 800)
    uploader = Uploader(f"127.0.0.1:{port}", key("rpc-kills"), sent)
    thread = threading.Thread(target=uploader.run, daemon=True)
    gateway.start()
    try:
        thread.start()
        until(lambda: len(uploader.answers) >= 200)
        gateway.kill()
        gateway.wait(10)
        gateway.start()
        thread.join(90)
    finally:
        uploader.given_up.set()
        gateway.stop()
    assert not uploader.unanswered
    assert uploader.broken >= 1
    assert [payload for _, payload, _ in log("rpc-kills")] == sent


def test_four_hundred_random_messages_are_each_answered(channel, key, log):
    """Random bytes, and good frames with bytes changed: each is stored or named, and the call goes on."""
    rng, good = random.Random(8), payloads("rpc-fuzz", 200)
    sent = [rng.randbytes(rng.randrange(300)) for _ in range(200)]
    for payload in good[1:]:
        changed = bytearray(payload)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        sent.append(bytes(changed))
    rng.shuffle(sent)
    answers = list(upload(channel, key("rpc-fuzz"), [*sent, good[0]]))
    assert [answer.index for answer in answers] == list(range(400))
    assert all(bool(answer.reason) != bool(answer.log_seq) for answer in answers)
    assert answers[-1].log_seq
    stored = {payload for _, payload, _ in log("rpc-fuzz")}
    taken = [payload for payload, answer in zip([*sent, good[0]], answers, strict=True) if answer.log_seq]
    # A changed frame may keep its identity: the log keeps the first of them.
    assert stored <= set(taken)
