"""`vitals devices` and `vitals certs` as a person types them."""

import asyncio
import json
import re
import stat

import pytest

from connectors.cli.console import console
from connectors.jetstream.connection import connect
from connectors.jetstream.history import bounds, messages
from connectors.local.ports import free_ports
from connectors.local.stack import Stack
from dataflows.contracts import vitals_pb2 as pb
from dataflows.settings import Settings

pytestmark = pytest.mark.services


@pytest.fixture
def stack(monkeypatch, tmp_path):
    """Locked, without QuestDB; the environment names it."""

    def start(security):
        (port,) = free_ports(1)
        monkeypatch.setenv("VITALS_NATS__URL", f"nats://127.0.0.1:{port}")
        monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
        monkeypatch.setenv("VITALS_STACK__SECURITY", security)
        monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("VITALS_STREAMS__VITALS_MAX_BYTES", str(1 << 30))
        monkeypatch.setenv("VITALS_STREAMS__SPILL_MAX_BYTES", str(1 << 28))
        return Stack(Settings(), lambda _: None)

    return start


def test_enrol_list_rotate_revoke(vitals, stack, tmp_path, monkeypatch):
    monkeypatch.setattr(console, "width", 80)
    with stack("true"):
        assert vitals("devices", "list") == (0, "no device is enrolled\n", "")
        code, out, err = vitals("devices", "enrol", "p0042", "patch7")
        assert (code, err) == (0, "")
        file = tmp_path / "main-p0042-patch7.creds"
        assert str(file) in out
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        seed = re.search(r"^SU[A-Z2-7]{50,}$", file.read_text(), re.MULTILINE)
        assert seed is not None
        assert seed.group() not in out
        assert vitals("devices", "enrol", "p0042", "patch7", "--by", "mqtt", "--out", "t")[0] == 0
        assert vitals("devices", "enrol", "p0042", "app", "--by", "http", "--days", "30", "--tenant", "b")[0] == 0
        listed = vitals("devices", "list")[1]
        rows = sorted(line.split()[:5] for line in listed.splitlines()[1:])
        assert rows == [
            ["b", "p0042", "app", "http", "valid"],
            ["main", "p0042", "patch7", "mqtt", "valid"],
            ["main", "p0042", "patch7", "nats", "valid"],
        ]
        assert max(len(line.split()[-1]) for line in listed.splitlines()) == 56  # ids whole, also where lines are short
        before = file.read_text()
        assert vitals("devices", "rotate", "p0042", "patch7")[0] == 0
        assert file.read_text() != before
        code, out, _ = vitals("devices", "revoke", "p0042", "patch7")
        assert (code, out.count("revoked: ")) == (0, 2)
        states = [line.split()[4] for line in vitals("devices", "list", "--patient", "p0042")[1].splitlines()[1:]]
        assert sorted(states) == ["revoked", "revoked", "revoked", "valid"]
        code, _, err = vitals("devices", "revoke", "p0042", "patch7")
        assert (code, err) == (1, "vitals: main/p0042/patch7 has no valid identity\n")


def stored(stream, subject):
    """What a stream holds on a subject, in order."""

    async def run():
        client = await connect(Settings().nats, "test")
        try:
            return [one.data async for one in messages(client, stream, *await bounds(client, stream), subject)]
        finally:
            await client.close()

    return asyncio.run(run())


def test_enrolling_with_fhir_tells_the_rules_and_notes_both(vitals, stack, tmp_path):
    patient = {"resourceType": "Patient", "name": [{"family": "Doe"}], "birthDate": "1950-12-01"}
    (tmp_path / "patient.json").write_text(json.dumps(patient))
    with stack("true"):
        assert vitals("devices", "enrol", "p1", "d", "--by", "http", "--fhir", "patient.json")[0] == 0
        (payload,) = stored("VITALS", "vp.*.main.p1.control.context")
        events = [json.loads(one) for one in stored("AUDIT", "audit.v1.main.>")]
    assert json.loads(pb.Frame.FromString(payload).command.argument_json) == {"age_band": "older"}
    assert [(one["what"], one["patient"]) for one in events] == [("enrol", "p1"), ("command", "p1")]
    assert events[1]["detail"] == "context"
    assert events[1]["actor"].startswith("local:")
    assert "Doe" not in json.dumps(events)


def test_a_reader_is_made_and_revoked(vitals, stack, tmp_path):
    with stack("true"):
        assert vitals("services", "reader", "ehr", "--tenant", "b")[0] == 0
        file = tmp_path / "reader-b-ehr.creds"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert vitals("services", "revoke", file, "--tenant", "b")[0] == 0
        code, _, err = vitals("services", "revoke", file, "--tenant", "c")
        assert (code, "there is no tenant 'c'" in err) == (1, True)
        assert vitals("services", "reader", "e h r")[0] == 1
        events = [json.loads(one) for one in stored("AUDIT", "audit.v1.b.>")]
    assert [one["what"] for one in events] == ["enrol", "revoke"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("enrol", "p 1", "d"), "patient 'p 1' must be 1 to 64 of the characters"),
        (("enrol", "p1", "control"), "is reserved"),
        (("enrol", "p1", "d", "--by", "fax"), "--by is one of nats, mqtt, http, not 'fax'"),
        (("enrol", "p1", "d", "--days", "4000"), "at most 366 days"),
        (("rotate", "p1", "d"), "has no valid identity for nats: enrol it"),
    ],
)
def test_what_cannot_be_is_said(vitals, stack, arguments, says):
    with stack("true"):
        code, _, err = vitals("devices", *arguments)
    assert code == 1
    assert says in err


def test_without_security_only_api_keys_can_be_made(vitals, stack):
    with stack("false"):
        code, _, err = vitals("devices", "enrol", "p1", "d")
        assert (code, "set stack.security" in err) == (1, True)
        assert vitals("devices", "enrol", "p1", "d", "--by", "http")[0] == 0


def test_nothing_listens_beyond_loopback_without_security(vitals, monkeypatch):
    monkeypatch.setenv("VITALS_STACK__HOST", "192.0.2.1")
    code, _, err = vitals("settings")
    assert code == 1
    assert "not loopback: switch stack.security on" in err


def test_certs_makes_certificates(vitals, tmp_path, monkeypatch):
    monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path / "data"))
    code, out, _ = vitals("certs", "--name", "vitals.example.org")
    assert code == 0
    key = tmp_path / "data" / "identity" / "tls" / "server.key"
    assert str(key) in out
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
