"""Whoever reads patients by a command is in AUDIT before he sees them: each command, with whom it was about."""

import asyncio
import getpass
import json
import time

import pytest

from connectors.jetstream.connection import connect
from connectors.jetstream.history import bounds, messages
from connectors.jetstream.streams import ensure_streams
from connectors.lake.sink import LakePartition
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, message_id, subject_of
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings, Settings
from tests.connectors.export.test_export import START_NS, rows_of
from tests.servers import NatsServer

ACTOR = f"local:{getpass.getuser()}"
SPAN = ("--from", "2026-11-01T00:00", "--to", "2026-12-01T00:00")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with an alert, a frame of clinic-a's p1, and a reject of it."""
    server = NatsServer(tmp_path_factory.mktemp("nats")).start()
    ensure_streams(server.settings())
    subject = "vp.3.clinic-a.p1.d.numeric"
    frame = NumericFramer(Origin("p1", "d", tenant="clinic-a")).frame(
        [Reading(pb.CODE_SPO2, 97, pb.UNIT_PERCENT)], time.time_ns()
    )
    headers = {"Vitals-Subject": subject, "Vitals-Reason": "undecodable", "Vitals-Log-Seq": "1"}

    async def publish():
        client = await connect(server.settings().nats, "test")
        js = client.jetstream()
        body = {
            "alert_id": "1", "event": "raised", "notify": True, "actor": "", "tenant": "clinic-a", "patient": "p1",
            "rule": "asystole", "priority": "high", "signal": "ecg_ii", "code": "", "value": 4.0, "limit": 4.0,
            "unit": "s", "log_ns": 1_700_000_000_000_000_000,
        }  # fmt: skip
        await js.publish("alerts.v1.clinic-a.p1.asystole", json.dumps(body).encode())
        payload = frame.SerializeToString()
        await js.publish(subject_of(frame), payload, headers={"Nats-Msg-Id": message_id(frame)})
        seq = (await js.publish("rejected.v1.undecodable", payload[:-1], headers=headers)).seq
        await client.close()
        return seq

    server.reject = asyncio.run(publish())
    yield server
    server.stop()


@pytest.fixture
def named(server, monkeypatch, tmp_path):
    """The environment names the server, and no database that answers."""
    monkeypatch.setenv("VITALS_NATS__URL", server.url)
    monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
    monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path / "data"))
    return server


@pytest.fixture
def lake(tmp_path):
    partition = LakePartition(LakeSettings(root=tmp_path / "lake"), 0, "6a1b", None)
    partition.write_batch([StoredRows(list(rows_of("a161l", start_ns=START_NS).items()))])
    partition.snapshot()
    return tmp_path / "lake"


def audited(server, before=0):
    """Events of AUDIT after the first so many."""

    async def run():
        client = await connect(server.settings().nats, "test")
        try:
            found = messages(client, "AUDIT", *await bounds(client, "AUDIT"))
            return [json.loads(one.data) async for one in found][before:]
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.services
@pytest.mark.parametrize(
    ("arguments", "event"),
    [
        (("alerts",), ("read", "main", "", "alerts * of every organisation")),
        (("alerts", "--tenant", "clinic-a", "--patient", "p1"), ("read", "clinic-a", "p1", "alerts *")),
        (("rejected",), ("read", "main", "", "rejected * of every organisation")),
        (("rejected", "show", "{reject}"), ("read", "clinic-a", "p1", "rejected show {reject}")),
        (("rejected", "redrive", "{reject}", "--force"), ("write", "clinic-a", "p1", "rejected redrive {reject}")),
        (("devices", "list", "--tenant", "clinic-a"), ("read", "clinic-a", "", "devices list")),
        (("batch", "{lake}"), ("read", "main", "", "batch {lake} of every organisation")),
        (("export", "a161l", "out", "--lake", "{lake}", *SPAN), ("read", "main", "a161l", "export wfdb report")),
    ],
    ids=lambda part: " ".join(part[:2]) if part[0] not in ("read", "write") else "",
)
def test_a_command_that_reads_patients_is_in_audit(vitals, named, lake, arguments, event):
    def filled(words):
        return tuple(word.format(reject=named.reject, lake=lake) for word in words)

    before = len(audited(named))
    code, out, err = vitals(*filled(arguments))
    assert (code, err) == (0, ""), out
    (found,) = audited(named, before)
    assert (found["what"], found["tenant"], found["patient"], found["detail"]) == filled(event)
    assert found["actor"] == ACTOR


@pytest.mark.services
def test_what_is_not_there_was_not_read(vitals, named, lake):
    before = len(audited(named))
    assert vitals("export", "nobody", "none", "--lake", lake, *SPAN)[0] == 1
    assert vitals("rejected", "show", 10_000)[0] == 1
    assert audited(named, before) == []


def test_without_a_server_it_is_said_and_done(vitals, lake, nowhere, tmp_path):
    code, _, err = vitals("export", "a161l", "out", "--lake", lake, "--forms", "csv", *SPAN)
    assert code == 0
    assert "this is not in AUDIT: NATS at nats://127.0.0.1:1 does not answer" in err
    assert any((tmp_path / "out").iterdir())


@pytest.mark.services
def test_where_there_is_no_audit_it_is_said_and_done(vitals, named, monkeypatch):
    ensure_streams(Settings())
    asyncio.run(_delete(named))
    code, out, err = vitals("alerts")
    assert (code, "clinic-a/p1" in out) == (0, True)
    assert "this is not in AUDIT: " in err
    ensure_streams(Settings())


async def _delete(server):
    client = await connect(server.settings().nats, "test")
    await client.jetstream().delete_stream("AUDIT")
    await client.close()
