"""What a device may and may not do at a real server, and that revocation works at once."""

import asyncio
import json
import socket
import time

import nats
import pytest

from connectors.identity.authority import IdentityError
from connectors.identity.devices import authority_of
from dataflows.contracts.frames import Origin
from tests.connectors.identity.conftest import tls_context
from tests.stalls import Stalls

pytestmark = pytest.mark.services


async def stored(locked, subject):
    async with locked.pipeline() as client:
        return await client.jetstream().get_last_msg("VITALS", subject)


async def refused_by(client, refused, act):
    """Does something that the server must refuse; returns the refusal."""
    before = len(refused)
    await act()
    await client.flush()
    for _ in range(200):
        if len(refused) > before:
            return refused[-1]
        await asyncio.sleep(0.01)
    message = "nothing was refused"
    raise AssertionError(message)


def test_a_device_publishes_its_own_frames_and_is_told(locked):
    async def run():
        async with locked.device(locked_device) as (client, refused, _):
            js = client.jetstream()
            subject = "vitals.v1.main.Own-1.Patch_7.ecg_ii"
            first = await js.publish(subject, b"frame", headers={"Nats-Msg-Id": "own/1"})
            again = await js.publish(subject, b"frame", headers={"Nats-Msg-Id": "own/1"})
            assert (again.seq, again.duplicate) == (first.seq, True)
            assert not refused
            assert (await stored(locked, "vp.*.main.Own-1.Patch_7.ecg_ii")).data == b"frame"

    locked_device = locked.enrol(Origin("Own-1", "Patch_7"))
    asyncio.run(run())


@pytest.mark.parametrize(
    "subject",
    [
        "vitals.v1.main.p2.patch7.ecg_ii",
        "vitals.v1.main.p1.patch8.ecg_ii",
        "vitals.v1.main.p1.control.discharge",
        "vitals.v1.other.p1.patch7.ecg_ii",
        "vitals.v1.tick.4.broker.tick",
        "vitals.sched.4",
        "vitals.v1.main.p1.patch7.ecg_ii.more",
        "vp.3.main.p1.patch7.ecg_ii",
        "alerts.v1.main.p1.asystole",
        "audit.v1.main.enrol",
        "spill.v1.beats",
        "$KV.IDENTITY.main.p1.patch7.x",
        "$JS.API.STREAM.PURGE.VITALS",
        "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.MSG.GET.VITALS",
        "$SYS.REQ.CLAIMS.UPDATE",
        "_INBOX.p2.patch7.x",
    ],
)
def test_a_device_publishes_nothing_else(locked, subject):
    async def run():
        async with locked.device(device) as (client, refused, _):
            assert "permissions violation for publish" in await refused_by(
                client, refused, lambda: client.publish(subject, b"x")
            )

    device = locked.enrol(Origin("p1", "patch7"))
    asyncio.run(run())
    assert f'Publish Violation - Subject "{subject}"' in locked.server_log


@pytest.mark.parametrize(
    "subject",
    [">", "*.>", "vitals.v1.>", "alerts.v1.>", "_INBOX.>", "_INBOX.p1.>", "_INBOX.p2.patch7.>", "$SYS.>",
     "config.v1.main.p2.patch7", "config.v1.main.p1.*", "$MQTT.>"],
)  # fmt: skip
def test_a_device_hears_nobody_else(locked, subject):
    async def run():
        async with locked.device(device) as (client, refused, _):
            assert "permissions violation for subscription" in await refused_by(
                client, refused, lambda: client.subscribe(subject)
            )

    device = locked.enrol(Origin("p1", "patch7"))
    asyncio.run(run())


def test_a_device_hears_its_configuration(locked):
    async def run():
        async with locked.device(device) as (client, refused, _), locked.pipeline() as pipeline:
            mine = await client.subscribe("config.v1.main.p1.patch7")
            await client.flush()
            await pipeline.publish("config.v1.main.p1.patch8", b"not mine")
            await pipeline.publish("config.v1.main.p1.patch7", b"mine")
            assert (await mine.next_msg(timeout=5)).data == b"mine"
            assert not refused

    device = locked.enrol(Origin("p1", "patch7"))
    asyncio.run(run())


def test_an_answer_goes_to_nobody_elses_inbox(locked):
    """A reply subject is no way around the rights: the acknowledgement stays in the device's own account."""

    async def run():
        async with locked.device(device) as (client, _, _), locked.pipeline() as pipeline:
            trap = await pipeline.subscribe("alerts.v1.>")
            await pipeline.flush()
            await client.publish("vitals.v1.main.p1.patch7.ecg_ii", b"x", reply="alerts.v1.main.p1.asystole")
            await client.flush()
            acknowledged = await client.jetstream().publish("vitals.v1.main.p1.patch7.ecg_ii", b"x")
            assert acknowledged.stream == "VITALS"
            with pytest.raises(nats.errors.TimeoutError):
                await trap.next_msg(timeout=0.3)

    device = locked.enrol(Origin("p1", "patch7"))
    asyncio.run(run())


def test_tenants_do_not_see_each_other(locked):
    """The same names in two organisations are two patients; what one publishes for the other reaches nobody."""

    async def run():
        async with locked.device(ours) as (our, _, _), locked.device(theirs) as (their, refused, _):
            await our.jetstream().publish("vitals.v1.main.same.d.ecg_ii", b"ours")
            await their.jetstream().publish("vitals.v1.clinic-b.same.d.ecg_ii", b"theirs")
            assert (await stored(locked, "vp.*.main.same.d.ecg_ii")).data == b"ours"
            assert (await stored(locked, "vp.*.clinic-b.same.d.ecg_ii")).data == b"theirs"
            await refused_by(their, refused, lambda: their.publish("vitals.v1.main.same.d.ecg_ii", b"forged"))
            assert (await stored(locked, "vp.*.main.same.d.ecg_ii")).data == b"ours"

    ours, theirs = locked.enrol(Origin("same", "d")), locked.enrol(Origin("same", "d", tenant="clinic-b"))
    asyncio.run(run())


def test_revocation_closes_the_connection_and_leaves_the_neighbour(locked):
    async def run():
        async with locked.device(bad) as (_, _, closed), locked.device(good) as (neighbour, refused, still_there):
            async with locked.devices() as devices:
                with Stalls() as stalls:
                    began = time.monotonic()
                    (revoked,) = await devices.revoke(Origin("revoked", "d"))
                    await asyncio.wait_for(closed.wait(), 60)
                    took_s = stalls.awake_s(began, time.monotonic())
                assert [c.state(0) for c in await devices.all(patient="revoked")] == ["revoked"]
                with pytest.raises(IdentityError, match="no valid identity"):
                    await devices.revoke(Origin("revoked", "d"))
            assert revoked.id == bad.credential.id
            assert took_s < 2.0
            await neighbour.jetstream().publish("vitals.v1.main.beside.d.ecg_ii", b"x")
            assert not refused
            assert not still_there.is_set()
        with pytest.raises(nats.errors.Error):
            async with locked.device(bad):
                pass

    bad, good = locked.enrol(Origin("revoked", "d")), locked.enrol(Origin("beside", "d"))
    asyncio.run(run())


def test_many_revocations_in_one_second_all_hold(locked):
    async def run():
        async with locked.devices() as devices:
            for device in enrolled[:-1]:
                await devices.revoke(device.credential.origin)
        for device in enrolled[:-1]:
            with pytest.raises(nats.errors.Error):
                async with locked.device(device):
                    pass
        async with locked.device(enrolled[-1]) as (client, _, _):
            await client.jetstream().publish("vitals.v1.main.many.d5.ecg_ii", b"x")

    enrolled = [locked.enrol(Origin("many", f"d{n}")) for n in range(6)]
    asyncio.run(run())


def test_rotation_replaces_the_identity(locked):
    async def run():
        async with locked.device(old) as (_, _, closed), locked.devices() as devices:
            new = await devices.rotate(Origin("rotated", "d"), "nats", 1.0)
            await asyncio.wait_for(closed.wait(), 5)
        async with locked.device(new) as (client, _, _):
            await client.jetstream().publish("vitals.v1.main.rotated.d.ecg_ii", b"x")
        with pytest.raises(nats.errors.Error):
            async with locked.device(old):
                pass

    old = locked.enrol(Origin("rotated", "d"))
    asyncio.run(run())


def test_an_expired_identity_is_thrown_out(locked):
    async def run():
        async with locked.device(short) as (_, _, closed):
            await asyncio.wait_for(closed.wait(), 19)
        for _ in range(200):
            try:
                async with locked.device(short):
                    await asyncio.sleep(0.01)  # a token holds to the end of its last second
            except nats.errors.Error:
                return
        pytest.fail("it is let in again")

    short = locked.enrol(Origin("short", "d"), days=12 / 86_400)  # enough to come in on a slow machine
    asyncio.run(run())


def test_nobody_comes_in_without_an_identity_or_in_clear(locked):
    async def attempt(url, **options):
        client = await nats.connect(url, allow_reconnect=False, max_reconnect_attempts=1, connect_timeout=60, **options)
        await client.close()

    url = f"nats://127.0.0.1:{locked.port}"
    with pytest.raises(nats.errors.Error):
        asyncio.run(attempt(url, tls=tls_context(locked.ca)))
    with pytest.raises(nats.errors.Error):
        asyncio.run(attempt(url, user="admin", password="x" * 8, tls=tls_context(locked.ca)))
    # The server's certificate is not one that the system's authorities know.
    with pytest.raises((nats.errors.Error, OSError)):
        asyncio.run(attempt(url))


def test_the_audit_log_has_every_act_and_no_secret(locked):
    device = locked.enrol(Origin("audited", "d"), by="http")

    async def run():
        async with locked.devices() as devices:
            await devices.revoke(Origin("audited", "d"))
        async with locked.pipeline() as client:
            js = client.jetstream()
            last = (await js.stream_info("AUDIT")).state.last_seq
            messages = [await js.get_msg("AUDIT", seq) for seq in range(1, last + 1)]
            with pytest.raises(nats.js.errors.APIError):
                await js.delete_msg("AUDIT", 1)
            with pytest.raises(nats.js.errors.APIError):
                await js.purge_stream("AUDIT")
        events = [json.loads(message.data) for message in messages]
        mine = [event for event in events if event["patient"] == "audited"]
        assert [(event["what"], event["actor"], event["outcome"]) for event in mine] == [
            ("enrol", "test", "done"),
            ("revoke", "test", "done"),
        ]
        secret = device.secret.split("_", 2)[2]
        assert all(secret not in message.data.decode() for message in messages)

    asyncio.run(run())


def test_no_secret_is_in_a_log(locked):
    authority = authority_of(locked.settings)
    seeds = [path.read_text() for path in authority.folder.glob("*.seed")]
    written = locked.server_log + "\n".join(locked.said)
    assert len(seeds) >= 6
    assert not [seed for seed in seeds if seed in written]


def test_who_is_slow_with_the_handshake_is_waited_for(locked):
    """Thousands that come back at once after a restart, or a busy machine: two seconds, the server's own, are short."""
    with socket.create_connection(("127.0.0.1", locked.port), timeout=10) as connection:
        connection.recv(4096)
        time.sleep(3)
        with tls_context(locked.ca).wrap_socket(connection, server_hostname="127.0.0.1") as inside:
            inside.sendall(b"CONNECT {}\r\n")
            assert b"Authorization Violation" in inside.recv(4096)
