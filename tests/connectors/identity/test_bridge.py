"""A bridge's identity, as the server enforces it: the frames and alerts of its organisation, and nothing else."""

import asyncio
import json

import nats
import pytest

from connectors.api.status import last_rejects
from connectors.bridge.inbound import Inbound, Incoming
from connectors.bridge.outbound import Outbound
from connectors.cli.bridge import with_bridge_credentials
from connectors.identity.claims import credentials_file, subject_of
from connectors.identity.devices import authority_of
from connectors.identity.files import write_secret
from connectors.identity.services import Services
from connectors.jetstream.connection import connect, inbox_prefix, native_options
from connectors.jetstream.history import bounds, messages
from connectors.jetstream.ids import MessageIds
from connectors.jetstream.source import open_puller
from connectors.ledger.evidence import refusals
from connectors.ledger.rejected import one
from connectors.questdb.spill import spill_messages
from dataflows._native import Publisher
from dataflows.contracts.frames import Origin
from dataflows.monitor.checking import validator
from dataflows.settings import BridgeSettings
from tests.connectors.bridge.conftest import bad, frames
from tests.connectors.export.test_export import rows_of
from tests.connectors.identity.conftest import tls_context
from tests.connectors.identity.test_doors import refused_by
from tests.connectors.identity.test_flow import flow_of
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def bridge(locked, tmp_path):
    """Settings of a bridge of the organisation `clinic-c`, with an identity of its own."""
    issued = authority_of(locked.settings).issue_service("bridge", "b", {"tenant": "clinic-c"}, days=1)
    file = tmp_path / "bridge.creds"
    write_secret(file, credentials_file(issued.token, issued.seed))
    nats_settings = locked.settings.nats.model_copy(update={"credentials": file})
    own = BridgeSettings(tenant="clinic-c", history=True)
    return locked.settings.model_copy(update={"nats": nats_settings, "bridge": own})


async def hostile(settings, errors):
    async def on_error(error):
        errors.append(str(error))

    return await nats.connect(
        settings.nats.url.replace("nats:", "tls:"), user_credentials=str(settings.nats.credentials), error_cb=on_error,
        tls=tls_context(settings.nats.tls_ca), inbox_prefix=inbox_prefix(settings.nats), allow_reconnect=False,
        connect_timeout=10,
    )  # fmt: skip


def test_it_brings_frames_and_rejects_in(locked, bridge):
    publisher = Publisher(native_options(bridge.nats, "bridge"))
    way_in = Inbound(publisher, MessageIds(bridge.nats), validator(bridge, models=False), "clinic-c", "amqp")
    good, wrong = frames("in", 5, tenant="clinic-c"), bad("in")
    sent = [Incoming(payload, f"amqp/q/{n}") for n, payload in enumerate([*good, *(payload for payload, _ in wrong)])]
    assert way_in.take(sent) == len(good)
    publisher.close()

    async def stored():
        async with locked.pipeline() as client:
            log = await client.jetstream().stream_info("VITALS", subjects_filter="vp.*.clinic-c.in.>")
            refused = await client.jetstream().stream_info("REJECTED", subjects_filter="rejected.v1.*.clinic-c.bridge")
            return sum(log.state.subjects.values()), sum(refused.state.subjects.values())

    assert asyncio.run(stored()) == (len(good), len(wrong))


def test_it_takes_alerts_of_its_organisation_out_and_goes_on_where_it_stopped(locked, bridge):
    async def run():
        taken = []

        async def send(group):
            taken.extend((alert.subject, alert.key) for alert in group)

        async def session():
            client = await connect(bridge.nats, "bridge")
            task = asyncio.create_task(Outbound(client, bridge, "amqp", "pages.of.the ward").run(send, None))
            return client, task

        async def alert(n, tenant="clinic-c"):
            body = json.dumps({"n": n}).encode()
            subject = f"alerts.v1.{tenant}.p1.asystole"
            await js.publish(subject, body, headers={"Nats-Msg-Id": f"{tenant}{n}.0"})

        async with locked.pipeline() as pipeline:
            js = pipeline.jetstream()
            for n in range(250):  # one after the other: their order is asked for
                await asyncio.gather(alert(n), alert(n, "main"))
            for upto in (250, 300):
                client, task = await session()
                if upto == 300:
                    for n in range(250, upto):
                        await alert(n)
                async with asyncio.timeout(90):
                    while len(taken) < upto and not task.done():
                        await asyncio.sleep(0.02)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                await client.close()
            assert (await js.stream_info("ALERTS")).state.consumer_count == 0
        assert taken == [("alerts.v1.clinic-c.p1.asystole", f"clinic-c{n}.0") for n in range(300)]

    asyncio.run(run())


@pytest.mark.parametrize(
    "subject",
    [
        "vitals.v1.main.p1.d.ecg_ii",
        "vitals.v1.clinic-c.p1.control.discharge",
        "vitals.v1.tick.4.broker.tick",
        "ticks.sched.4",
        "vp.3.clinic-c.p1.d.ecg_ii",
        "alerts.v1.clinic-c.p1.asystole",
        "rejected.v1.undecodable",
        "rejected.v1.undecodable.main",
        "rejected.v1.undecodable.main.bridge",
        "rejected.v1.undecodable.clinic-c.flow",
        "rejected.v1.storage_rejected",
        "bridges.v1.main.amqp-alerts",
        "bridges.origin.alerts",
        "audit.v1.main.enrol",
        "spill.v1.beats",
        "$KV.IDENTITY.main.p1.patch7.x",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.ALERTS",
        "$JS.API.STREAM.INFO.BRIDGES",
        "$JS.API.STREAM.MSG.GET.ALERTS",
        "$JS.API.DIRECT.GET.ALERTS",
        "$JS.API.DIRECT.GET.BRIDGES",
        "$JS.API.DIRECT.GET.BRIDGES.bridges.v1.main.amqp-alerts",
        "$JS.API.STREAM.PURGE.BRIDGES",
        "$JS.API.CONSUMER.CREATE.ALERTS",
        "$JS.API.CONSUMER.CREATE.VITALS",
        "$JS.API.CONSUMER.MSG.NEXT.ALERTS.notify-ward",
        "$JS.API.CONSUMER.DELETE.ALERTS.notify-ward",
        "$SYS.REQ.CLAIMS.UPDATE",
        "_INBOX.somebody.x",
    ],
)
def test_it_publishes_nothing_else(locked, bridge, subject):
    async def run():
        errors = []
        client = await hostile(bridge, errors)
        said = await refused_by(client, errors, lambda: client.publish(subject, b"x"))
        await client.close()
        assert "permissions violation for publish" in said

    asyncio.run(run())
    until(lambda: f'Publish Violation - Subject "{subject}"' in locked.server_log)


def test_it_asks_for_no_alerts_of_others(locked, bridge):
    """The filter in the subject of the request is checked by rights, and against the request by the server."""

    async def run():
        errors = []
        client = await hostile(bridge, errors)
        name = f"bridge-amqp-{subject_of(bridge.nats.credentials.read_text())}"
        own = f"$JS.API.CONSUMER.CREATE.ALERTS.{name}.alerts.v1.clinic-c.>"
        for config in (
            {"filter_subject": "alerts.v1.main.>"},
            {"filter_subject": ">"},
            {"filter_subjects": ["alerts.v1.clinic-c.>", "alerts.v1.main.>"]},
            {"filter_subject": "alerts.v1.clinic-c.>", "filter_subjects": [">"]},
            {},
        ):
            wanted = {"stream_name": "ALERTS", "config": {"name": name, "ack_policy": "none", **config}}
            answer = json.loads((await client.request(own, json.dumps(wanted).encode(), timeout=5)).data)
            assert "error" in answer, config
        for subject in (f"$JS.API.CONSUMER.CREATE.ALERTS.{name}.alerts.v1.main.>",
                        f"$JS.API.CONSUMER.CREATE.ALERTS.{name}.>",
                        f"$JS.API.CONSUMER.CREATE.ALERTS.{name}",
                        f"$JS.API.CONSUMER.CREATE.VITALS.{name}.vp.>",
                        "$JS.API.CONSUMER.CREATE.ALERTS.other.alerts.v1.clinic-c.>"):  # fmt: skip
            await refused_by(client, errors, lambda subject=subject: client.publish(subject, b"{}"))
        await client.close()

    asyncio.run(run())


def limited(locked, bridge):
    """Every identity in the pipeline's account that is not the pipeline's own."""
    model = authority_of(locked.settings).issue_service("model", "risk", {"device": "model-risk"}, days=1)
    file = bridge.nats.credentials.with_name("model.creds")
    write_secret(file, credentials_file(model.token, model.seed))
    gateway = authority_of(locked.settings).credentials("gateway")
    return {"bridge": bridge.nats.credentials, "model": file, "gateway": gateway}


def test_no_program_hears_what_is_sent_to_another(locked, bridge):
    """The flow is sent the whole log on its inbox: `_INBOX.>` would be a right to read everybody."""

    async def run(credentials):
        settings = bridge.model_copy(update={"nats": bridge.nats.model_copy(update={"credentials": credentials})})
        errors = []
        client = await hostile(settings, errors)
        for subject in (
            ">",
            "_INBOX.>",
            "_INBOX.*.*",
            f"{inbox_prefix(locked.settings.nats)}.>",
            "$JS.>",
            "alerts.v1.>",
        ):
            said = await refused_by(client, errors, lambda subject=subject: client.subscribe(subject))
            assert "permissions violation for subscription" in said
        await client.close()

    for credentials in limited(locked, bridge).values():
        asyncio.run(run(credentials))
    puller = open_puller(locked.settings, "flow", "VITALS/p0", None)
    puller.close()


def test_a_gateway_sends_no_commands_and_reads_no_log(locked, bridge):
    credentials = authority_of(locked.settings).credentials("gateway")
    settings = bridge.model_copy(update={"nats": bridge.nats.model_copy(update={"credentials": credentials})})

    async def run():
        errors = []
        client = await hostile(settings, errors)
        await client.jetstream().publish("vitals.v1.main.by-gateway.d.ecg_ii", b"x")
        for subject in (
            "vitals.v1.main.p1.control.discharge",
            "alerts.v1.main.p1.asystole",
            "$JS.API.CONSUMER.CREATE.VITALS",
            "$JS.API.STREAM.MSG.GET.VITALS",
            "$KV.IDENTITY.main.p1.d.x",
        ):
            said = await refused_by(client, errors, lambda subject=subject: client.publish(subject, b"x"))
            assert "permissions violation for publish" in said
        await client.close()

    asyncio.run(run())


def test_its_rejects_are_driven_again_within_its_organisation_alone(locked, bridge):
    """Who drives rejects again has the pipeline's rights: what a bridge writes there must not choose where it goes."""

    async def run():
        client = await connect(bridge.nats, "bridge")
        found = []
        for reason, subject in (
            ("undecodable", "vitals.v1.main.victim.control.discharge"),
            ("undecodable", "vitals.v1.clinic-c.victim.control.discharge"),
            ("storage_rejected", "beats"),
            ("undecodable", "vp.0.main.victim.d.ecg_ii"),
            ("undecodable", "vitals.v1.clinic-c.own.d.ecg_ii"),
        ):
            headers = {"Vitals-Subject": subject, "Vitals-Table": subject, "Vitals-Reason": "storage_rejected"}
            ack = await client.jetstream().publish(f"rejected.v1.{reason}.clinic-c.bridge", b"x", headers=headers)
            async with locked.pipeline() as pipeline:
                found.append(await one(pipeline, locked.settings, ack.seq))
        await client.close()
        return [rejected.again for rejected in found], found[0].reason

    again, reason = asyncio.run(run())
    assert again == [*["vitals.v1.clinic-c.unknown.bridge.unknown"] * 4, "vitals.v1.clinic-c.own.d.ecg_ii"]
    assert reason == "undecodable"


@pytest.mark.parametrize("reason", ["undecodable", "storage_rejected"])
def test_its_rejects_explain_nothing_away_and_are_on_nobody_elses_screen(locked, bridge, reason):
    """The ledger counts a message that is lost as refused when REJECTED says so: a bridge could hide a loss."""

    async def run():
        row = next(spill_messages([("waveforms", rows_of("a161l")["waveforms"][0])]))[2]
        headers = {
            "Vitals-Subject": "vp.0.main.victim.d.ecg_ii", "Vitals-Reason": reason, "Vitals-Log-Seq": "1",
            "Vitals-Writer": "rejected-0",
        }  # fmt: skip
        client = await connect(bridge.nats, "bridge")
        before = f"rejected.v1.{reason}.clinic-c"  # as bridges of before wrote, when they were believed
        await client.jetstream().publish(f"{before}.bridge", row, headers=headers)
        await client.close()
        async with locked.pipeline() as pipeline:
            js = pipeline.jetstream()
            await js.publish(before, row, headers=headers)
            refused = await refusals(pipeline, "REJECTED")
            state = (await js.stream_info("REJECTED")).state
            screens = [await last_rejects(js, "REJECTED", state, tenant) for tenant in ("main", "clinic-c")]
            return refused, screens

    refused, (victims, own) = asyncio.run(run())
    assert refused == ([], [])
    assert victims == []
    assert [reject["reason"] for reject in own[:2]] == [reason] * 2


def test_it_keeps_no_reject_of_the_flow_out_of_the_stream(locked, bridge, tmp_path):
    """What has an id that REJECTED knows is dropped, whoever used it before: the next places in the log are guessed."""
    device = locked.enrol(Origin("guessed-place", "d"))
    subject = "rejected.v1.undecodable.{}"

    async def run():
        async with locked.pipeline() as pipeline:
            last = (await pipeline.jetstream().stream_info("VITALS")).state.last_seq
        client = await connect(bridge.nats, "bridge")
        js = client.jetstream()
        for seq in range(last + 1, last + 301):
            await js.publish(subject.format("clinic-c.bridge"), b"x", headers={"Nats-Msg-Id": f"{seq}"})
        await client.close()
        async with locked.device(device) as (sender, _, _):
            for n in range(5):
                ack = await sender.jetstream().publish("vitals.v1.main.guessed-place.d.ecg_ii", b"no frame %d" % n)
                assert last < ack.seq <= last + 300

    async def kept():
        async with locked.pipeline() as pipeline:
            first, last = await bounds(pipeline, "REJECTED")
            found = messages(pipeline, "REJECTED", first, last, subject.format("main.flow"))
            return [one.data async for one in found if "guessed-place" in one.headers["Vitals-Subject"]]

    asyncio.run(run())
    flow = flow_of(locked, tmp_path)
    flow.start()
    try:
        until(lambda: flow.alive and len(asyncio.run(kept())) >= 5, 60, poll_s=0.2)
    finally:
        flow.stop()
    assert sorted(asyncio.run(kept())) == [b"no frame %d" % n for n in range(5)]


def test_a_revoked_program_is_cut_off_and_let_in_no_more(locked, bridge):
    async def run():
        errors = []
        client = await hostile(bridge, errors)
        async with locked.pipeline() as pipeline:
            await Services(pipeline, locked.settings, "test").revoke(subject_of(bridge.nats.credentials.read_text()))
        async with asyncio.timeout(5):
            while not client.is_closed:
                await asyncio.sleep(0.01)
        with pytest.raises(nats.errors.Error):
            await connect(bridge.nats, "bridge")
        async with locked.pipeline() as pipeline:  # whom it does not concern goes on
            assert pipeline.is_connected

    asyncio.run(run())
    authority_of(locked.settings).prepare()  # as the next start does
    public = subject_of(bridge.nats.credentials.read_text())
    assert public in authority_of(locked.settings).revocations("VITALS")


def test_beside_the_keys_a_bridge_finds_an_identity_of_its_own(locked):
    settings = locked.settings.model_copy(update={"bridge": BridgeSettings(tenant="clinic-d")})
    found = with_bridge_credentials(settings).nats.credentials
    assert found.name == "bridge-clinic-d.creds"
    assert found.stat().st_mode & 0o777 == 0o600
    assert with_bridge_credentials(settings).nats.credentials.read_text() == found.read_text()
