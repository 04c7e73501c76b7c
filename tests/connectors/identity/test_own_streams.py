"""An organisation's own streams: its alerts, rejects and frames in order, through a restart, never another one's."""

import asyncio
import json
from contextlib import asynccontextmanager

import nats
import pytest

from connectors.identity.authority import IdentityError
from connectors.identity.claims import credentials_file
from connectors.identity.copies import API, COPIES
from connectors.identity.devices import authority_of
from connectors.identity.files import write_secret
from connectors.identity.roles import Grant
from connectors.identity.services import Services
from dataflows.contracts.frames import Origin
from tests.connectors.identity.conftest import Locked, tls_context

pytestmark = pytest.mark.services


@asynccontextmanager
async def connected(locked, file, **options):
    refused = []

    async def on_error(error):
        refused.append(str(error))

    client = await nats.connect(
        f"tls://127.0.0.1:{locked.port}", user_credentials=str(file), tls=tls_context(locked.ca), error_cb=on_error,
        allow_reconnect=False, connect_timeout=10, **options,
    )  # fmt: skip
    try:
        yield client, refused
    finally:
        await client.close()


@asynccontextmanager
async def reading(locked, issued):
    file = locked.folder / f"{issued.public}.creds"
    write_secret(file, credentials_file(issued.token, issued.seed))
    async with connected(locked, file, inbox_prefix=f"_INBOX.{issued.public}") as found:
        yield found


FRAMES_BYTES = 8 << 20
SUBJECTS = {
    "alerts": "alerts.v1.{}.p.asystole",
    "rejected": "rejected.v1.undecodable.{}.flow",
    "frames": "vitals.v1.{}.p.d.ecg_ii",
}
STREAMS = {copy.name: copy.stream for copy in COPIES}
each = pytest.mark.parametrize("kind", SUBJECTS)


async def enrol(locked, tenant, name, kind="alerts"):
    async with locked.pipeline() as client:
        services = Services(client, locked.settings, "test")
        if kind == "frames":
            if tenant not in authority_of(locked.settings).tenants():
                await services.enrol_reader(tenant, "first", 1.0)
            await services.limit(tenant, frames_bytes=FRAMES_BYTES)
        return await services.enrol_reader(tenant, name, 1.0, [kind])


async def tell(locked, tenant, *words, kind="alerts"):
    async with locked.pipeline() as client:
        for word in words:
            await client.jetstream().publish(SUBJECTS[kind].format(tenant), word.encode())


async def taken(client, name, number, kind="alerts"):
    subscription = await client.jetstream().pull_subscribe_bind(durable=name, stream=STREAMS[kind])
    found = []
    while len(found) < number:
        for message in await subscription.fetch(number - len(found), timeout=20):
            await message.ack_sync(timeout=60)
            assert any(part.startswith("own-") for part in message.subject.split("."))
            (tenant,) = (part for part in message.subject.split(".") if part.startswith("own-"))
            found.append((tenant, message.data.decode()))
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)
    return found


@each
def test_a_reader_gets_what_is_its_organisations_once_and_no_others(locked, kind):
    a, b = f"own-{kind}-a", f"own-{kind}-b"

    async def run():
        first = await enrol(locked, a, "another", kind)
        await tell(locked, a, "before", kind=kind)
        async with reading(locked, first) as (client, _):
            assert await taken(client, "another", 1, kind) == [(a, "before")]
        issued = await enrol(locked, a, "ehr", kind)
        await enrol(locked, b, "ehr", kind)
        await tell(locked, a, "p1", kind=kind)
        await tell(locked, b, "x1", "x2", kind=kind)
        await tell(locked, a, "p2", "p3", kind=kind)
        async with reading(locked, issued) as (client, refused):
            assert await taken(client, "ehr", 3, kind) == [(a, "p1"), (a, "p2"), (a, "p3")]
            assert not refused
        again = await enrol(locked, a, "ehr", kind)  # a new identity goes on where the consumer is
        await tell(locked, a, "p4", kind=kind)
        async with reading(locked, again) as (client, _):
            assert await taken(client, "ehr", 1, kind) == [(a, "p4")]

    asyncio.run(run())


async def own_frames(client):
    """What the copy of frames may hold; None: there is none."""
    try:
        return (await client.jetstream().stream_info("VITALS")).config.max_bytes
    except nats.js.errors.NotFoundError:
        return None


def test_a_copy_of_frames_is_there_as_long_and_as_large_as_was_said(locked):
    async def run():
        await enrol(locked, "own-h", "r")
        owner = authority_of(locked.settings).credentials("owner-own-h")
        found = []
        async with connected(locked, owner) as (client, _), locked.pipeline() as pipeline:
            services = Services(pipeline, locked.settings, "test")
            with pytest.raises(IdentityError, match="keeps no frames of its own"):
                await services.enrol_reader("own-h", "r", 1.0, ["frames"])
            for size in (0, 4 << 20, 32 << 20, 2 << 20):
                await services.limit("own-h", frames_bytes=size)
                found.append(await own_frames(client))
            await services.limit("own-h", connections=7)
            assert authority_of(locked.settings).granted("own-h") == Grant(7, 2 << 20)
            found.append(await own_frames(client))
            await services.limit("own-h", frames_bytes=0)
            found.append(await own_frames(client))
            with pytest.raises(IdentityError, match="bytes"):
                await services.limit("own-h", frames_bytes=5)
        assert found == [None, 4 << 20, 32 << 20, 2 << 20, 2 << 20, None]

    asyncio.run(run())


def test_a_copy_begins_with_what_the_log_holds_and_a_reader_with_what_comes_from_now_on(locked):
    """At once after the copy was switched on, while it still comes."""

    async def run():
        await enrol(locked, "own-j", "r")
        async with locked.pipeline() as pipeline:
            js = pipeline.jetstream(timeout=60)
            await asyncio.gather(*(js.publish(SUBJECTS["frames"].format("own-j"), b"old" * 9999) for _ in range(200)))
        issued = await enrol(locked, "own-j", "late", "frames")
        await tell(locked, "own-j", "new", kind="frames")
        async with reading(locked, issued) as (client, _):
            assert await taken(client, "late", 1, "frames") == [("own-j", "new")]
        owner = authority_of(locked.settings).credentials("owner-own-j")
        async with connected(locked, owner) as (client, _):
            assert (await client.jetstream().stream_info("VITALS")).state.messages == 201

    asyncio.run(run())


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.PURGE.ALERTS",
        "$JS.API.STREAM.INFO.ALERTS",
        "$JS.API.CONSUMER.CREATE.ALERTS.mine.alerts.v1.>",
        "$JS.API.CONSUMER.MSG.NEXT.ALERTS.another",
        "$JS.API.CONSUMER.MSG.NEXT.VITALS.another",
        "$JS.API.STREAM.MSG.GET.REJECTED",
        "$JS.API.DIRECT.GET.VITALS",
        "$JS.ACK.ALERTS.another.1.1.1.1.0",
        f"{API}.CONSUMER.CREATE.ALERTS.x.alerts.v1.own-c.>",
        f"{API}.CONSUMER.CREATE.VITALS.x.vp.*.own-c.>",
        "vitals.v1.own-c.p.d.ecg_ii",
        "vitals.v1.own-c.p.control.discharge",
        "alerts.v1.own-c.p.asystole",
    ],
)
def test_a_reader_may_nothing_else(locked, subject):
    async def run():
        async with reading(locked, await enrol(locked, "own-c", "r")) as (client, refused):
            await client.publish(subject, b"{}")
            await client.subscribe("alerts.v1.>")
            await client.flush()
            for _ in range(200):
                if len(refused) == 2:
                    break
                await asyncio.sleep(0.01)
            assert sorted(text.split(" ")[4] for text in refused) == ["publish", "subscription"], refused

    asyncio.run(run())


@each
@pytest.mark.parametrize("asked", ["own-e", "own-d", "*", "*.>"])
def test_the_account_itself_cannot_ask_for_others(locked, asked, kind):
    """With every right in its own account: the import names the organisation, and the server compares the body."""
    (copy,) = (copy for copy in COPIES if copy.name == kind)

    async def run():
        for tenant in ("own-d", "own-e"):
            await enrol(locked, tenant, "r")
        await tell(locked, "own-e", "secret", kind=kind)
        owner = authority_of(locked.settings).credentials("owner-own-d")
        async with connected(locked, owner) as (client, _):
            heard = await client.subscribe("copies.v1.own-d.x")
            for wanted in ({"filter_subject": copy.of("own-e")}, {"filter_subjects": [copy.of("own-e")]}, {}):
                config = {"deliver_subject": "copies.v1.own-d.x", "ack_policy": "none", "name": "x"} | wanted
                body = json.dumps({"stream_name": copy.stream, "config": config | {"deliver_policy": "all"}})
                subject = f"{API}.CONSUMER.CREATE.{copy.stream}.x.{copy.of(asked)}"
                try:
                    answer = json.loads((await client.request(subject, body.encode(), timeout=60)).data)
                except nats.errors.NoRespondersError:
                    answer = {"error": "nobody"}
                assert "error" in answer
            with pytest.raises(nats.errors.TimeoutError):
                await heard.next_msg(timeout=0.3)
            config["filter_subject"] = copy.of("own-d")  # what is its own it may ask for: the requests come through
            body = json.dumps({"stream_name": copy.stream, "config": config})
            subject = f"{API}.CONSUMER.CREATE.{copy.stream}.x.{copy.of('own-d')}"
            assert "error" not in json.loads((await client.request(subject, body.encode(), timeout=60)).data)

    asyncio.run(run())


def test_an_organisation_of_before_gets_the_new_copies_with_the_next_start(tmp_path, monkeypatch):
    """Claims that were signed when there were copies of alerts alone, and a folder of then."""
    locked = Locked(tmp_path)
    with monkeypatch.context() as before:
        for module in ("copies", "own_streams"):
            before.setattr(f"connectors.identity.{module}.COPIES", COPIES[:1])
        with locked.stack:
            locked.enrol(Origin("p", "d", tenant="own-i"))
            alerts = asyncio.run(enrol(locked, "own-i", "ehr"))
            asyncio.run(tell(locked, "own-i", "r0", kind="rejected"))
    with locked.stack:

        async def run():
            rejected = await enrol(locked, "own-i", "quality", "rejected")
            await tell(locked, "own-i", "r1", kind="rejected")
            await tell(locked, "own-i", "a1")
            async with reading(locked, rejected) as (client, _):
                assert await taken(client, "quality", 1, "rejected") == [("own-i", "r1")]
            async with reading(locked, alerts) as (client, _):
                assert await taken(client, "ehr", 1) == [("own-i", "a1")]
            owner = authority_of(locked.settings).credentials("owner-own-i")
            async with connected(locked, owner) as (client, _):
                return (await client.jetstream().stream_info("REJECTED")).state.messages

        assert asyncio.run(run()) == 2


def test_a_restart_of_the_server_loses_and_doubles_nothing(tmp_path):
    locked = Locked(tmp_path)
    with locked.stack:
        locked.enrol(Origin("p", "d", tenant="own-f"))
        issued = asyncio.run(enrol(locked, "own-f", "ehr"))
        asyncio.run(tell(locked, "own-f", "p0", "p1", "p2"))
    with locked.stack:
        asyncio.run(tell(locked, "own-f", "p3", "p4"))

        async def run():
            async with reading(locked, issued) as (client, _):
                return await taken(client, "ehr", 5)

        assert [patient for _, patient in asyncio.run(run())] == ["p0", "p1", "p2", "p3", "p4"]


def test_a_revoked_reader_is_cut_off(locked):
    async def run():
        issued = await enrol(locked, "own-g", "r")
        async with reading(locked, issued) as (client, _):
            async with locked.pipeline() as pipeline:
                await Services(pipeline, locked.settings, "test").revoke(issued.public, "own-g")
            for _ in range(200):
                if client.is_closed:
                    break
                await asyncio.sleep(0.05)
            assert client.is_closed
        with pytest.raises(nats.errors.Error):
            async with reading(locked, issued):
                pass
        with pytest.raises(IdentityError, match="no name"):
            await enrol(locked, "own-g", "a b")

    asyncio.run(run())
