"""`vitals export` as a person types it: who took whose record away is in AUDIT before the files are there."""

import asyncio
import json

import pytest

from connectors.jetstream.connection import connect
from connectors.jetstream.history import bounds, messages
from connectors.lake.sink import LakePartition
from connectors.local.ports import free_ports
from connectors.local.stack import Stack
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings, Settings
from tests.connectors.export.test_export import START_NS, rows_of

SPAN = ("--from", "2026-11-01T00:00", "--to", "2026-12-01T00:00")


@pytest.fixture
def lake(tmp_path):
    partition = LakePartition(LakeSettings(root=tmp_path / "lake"), 0, "6a1b", None)
    partition.write_batch([StoredRows(list(rows_of("a161l", start_ns=START_NS).items()))])
    partition.snapshot()
    return tmp_path / "lake"


def audited():
    async def run():
        client = await connect(Settings().nats, "test")
        try:
            found = messages(client, "AUDIT", *await bounds(client, "AUDIT"))
            return [json.loads(one.data) async for one in found]
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.services
def test_who_took_a_record_away_is_in_audit(vitals, lake, monkeypatch, tmp_path):
    (port,) = free_ports(1)
    monkeypatch.setenv("VITALS_NATS__URL", f"nats://127.0.0.1:{port}")
    monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
    monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("VITALS_STREAMS__VITALS_MAX_BYTES", str(1 << 30))
    monkeypatch.setenv("VITALS_STREAMS__SPILL_MAX_BYTES", str(1 << 28))
    with Stack(Settings(), lambda _: None):
        code, _, err = vitals("export", "a161l", "out", "--lake", lake, "--forms", "csv", *SPAN)
        assert (code, err) == (0, "")
        assert vitals("export", "nobody", "none", "--lake", lake, *SPAN)[0] == 1
        (event,) = audited()
    assert (event["what"], event["patient"], event["detail"]) == ("read", "a161l", "export csv")
    assert event["actor"].startswith("local:")
    assert any((tmp_path / "out").iterdir())


def test_without_a_server_it_is_said_and_done(vitals, lake, nowhere, tmp_path):
    code, _, err = vitals("export", "a161l", "out", "--lake", lake, "--forms", "csv", *SPAN)
    assert code == 0
    assert "this export is not in AUDIT: NATS at nats://127.0.0.1:1 does not answer" in err
    assert any((tmp_path / "out").iterdir())
