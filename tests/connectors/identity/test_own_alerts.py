"""An organisation's own stream: its alerts in order, through a restart, and never another one's."""

import asyncio
import json
from contextlib import asynccontextmanager

import nats
import pytest

from connectors.identity.authority import IdentityError
from connectors.identity.claims import credentials_file
from connectors.identity.devices import authority_of
from connectors.identity.files import write_secret
from connectors.identity.roles import API
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
        allow_reconnect=False, **options,
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


async def enrol(locked, tenant, name):
    async with locked.pipeline() as client:
        return await Services(client, locked.settings, "test").enrol_reader(tenant, name, 1.0)


async def tell(locked, tenant, *patients):
    async with locked.pipeline() as client:
        for patient in patients:
            await client.jetstream().publish(f"alerts.v1.{tenant}.{patient}.asystole", patient.encode())


async def taken(client, name, number):
    subscription = await client.jetstream().pull_subscribe_bind(durable=name, stream="ALERTS")
    found = []
    while len(found) < number:
        for message in await subscription.fetch(number - len(found), timeout=20):
            await message.ack_sync()
            found.append((message.subject.split(".")[2], message.data.decode()))
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.fetch(1, timeout=0.5)
    return found


def test_a_reader_gets_its_organisations_alerts_once_and_no_others(locked):
    async def run():
        first = await enrol(locked, "own-a", "another")
        await tell(locked, "own-a", "before")
        async with reading(locked, first) as (client, _):
            assert await taken(client, "another", 1) == [("own-a", "before")]
        issued = await enrol(locked, "own-a", "ehr")
        await enrol(locked, "own-b", "ehr")
        await tell(locked, "own-a", "p1")
        await tell(locked, "own-b", "x1", "x2")
        await tell(locked, "own-a", "p2", "p3")
        async with reading(locked, issued) as (client, refused):
            assert await taken(client, "ehr", 3) == [("own-a", "p1"), ("own-a", "p2"), ("own-a", "p3")]
            assert not refused
        again = await enrol(locked, "own-a", "ehr")  # a new identity goes on where the consumer is
        await tell(locked, "own-a", "p4")
        async with reading(locked, again) as (client, _):
            assert await taken(client, "ehr", 1) == [("own-a", "p4")]

    asyncio.run(run())


@pytest.mark.parametrize(
    "subject",
    [
        "$JS.API.STREAM.PURGE.ALERTS",
        "$JS.API.STREAM.INFO.ALERTS",
        "$JS.API.CONSUMER.CREATE.ALERTS.mine.alerts.v1.>",
        "$JS.API.CONSUMER.MSG.NEXT.ALERTS.another",
        "$JS.ACK.ALERTS.another.1.1.1.1.0",
        f"{API}.CONSUMER.CREATE.ALERTS.x.alerts.v1.own-c.>",
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


@pytest.mark.parametrize("asked", ["own-e", "own-d"])
def test_the_account_itself_cannot_ask_for_others(locked, asked):
    """With every right in its own account: the import names the organisation, and the server compares the body."""

    async def run():
        for tenant in ("own-d", "own-e"):
            await enrol(locked, tenant, "r")
        await tell(locked, "own-e", "secret")
        owner = authority_of(locked.settings).credentials("owner-own-d")
        async with connected(locked, owner) as (client, _):
            heard = await client.subscribe("copies.v1.own-d.x")
            config = {
                "deliver_subject": "copies.v1.own-d.x",
                "filter_subject": "alerts.v1.own-e.>",
                "ack_policy": "none",
            }
            body = json.dumps({"stream_name": "ALERTS", "config": config | {"name": "x", "deliver_policy": "all"}})
            subject = f"{API}.CONSUMER.CREATE.ALERTS.x.alerts.v1.{asked}.>"
            try:
                answer = json.loads((await client.request(subject, body.encode(), timeout=3)).data)
            except nats.errors.NoRespondersError:
                answer = {"error": "nobody"}
            assert "error" in answer
            with pytest.raises(nats.errors.TimeoutError):
                await heard.next_msg(timeout=1)

    asyncio.run(run())


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
