"""Alerts as server-sent events: every transition once, also for whoever comes back, nothing for a key that is gone."""

import asyncio
import json
import threading
import time

import httpx
import pytest

from connectors.identity.registry import digest
from connectors.jetstream.connection import connect
from connectors.jetstream.streams import ensure_streams
from tests.connectors.api.served import Served
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def server(nats_server, questdb, tmp_path):
    """The API with a key that can be locked."""
    settings = nats_server.settings().model_copy(update={"questdb": questdb.settings})
    ensure_streams(settings)
    file = tmp_path / "keys.toml"
    file.write_text(f'[[key]]\nname = "app"\nrole = "viewer"\ntenant = "one"\nsha256 = "{digest("app")}"\n')
    server = Served(settings, keys=file).start()
    server.keys = file
    headers = {"Authorization": "Bearer app"}
    with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, timeout=60) as client:
        until(lambda: client.get("/status").json()["nats"]["connected_ns"])
    yield server
    server.stop()


class Reader(threading.Thread):
    """An app that listens."""

    def __init__(self, server, **more):
        super().__init__(daemon=True)
        self._server, self._more = server, more
        self.events, self.comments, self.over = [], [], threading.Event()
        self.start()

    def run(self):
        headers = {"Authorization": "Bearer app", **self._more.pop("headers", {})}
        url = f"{self._server.url}/api/v1/alerts/stream"
        try:
            self._read(url, headers)
        except httpx.RemoteProtocolError:
            return  # the server stopped in the midst of the answer: the test is over
        self.over.set()

    def _read(self, url, headers):
        fields = {}
        with httpx.stream("GET", url, headers=headers, params=self._more, timeout=30) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if line.startswith(":"):
                    self.comments.append(line)
                elif line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                    fields = {}

    @property
    def names(self):
        return [body["alert_id"] for _, _, body in self.events]


def raise_alerts(settings, *names, tenant="one", rule="asystole"):
    async def publish():
        connection = await connect(settings.nats, "flow")
        for name in names:
            body = {"alert_id": name, "tenant": tenant, "patient": "p1", "rule": rule, "priority": "high"}
            text = json.dumps(body | {"state": "active", "transition": 0})
            await connection.jetstream().publish(f"alerts.v1.{tenant}.p1.{rule}", text.encode())
        await connection.close()

    asyncio.run(publish())


def test_each_transition_comes_once_and_whoever_comes_back_goes_on(server):
    raise_alerts(server.settings, "before")
    first = Reader(server)
    until(lambda: first.comments)
    raise_alerts(server.settings, "a", "b")
    raise_alerts(server.settings, "not mine", tenant="two")
    until(lambda: len(first.events) == 2)
    assert first.names == ["a", "b"]
    again = Reader(server, headers={"Last-Event-ID": str(first.events[0][0])})
    raise_alerts(server.settings, "c")
    until(lambda: len(again.events) == 2)
    assert again.names == ["b", "c"]
    assert Reader(server, after=0, rule="pause").names == []
    everything = Reader(server, after=0, rule="asystole")
    until(lambda: len(everything.events) == 4)
    assert everything.names == ["before", "a", "b", "c"]


def test_what_retention_removed_is_told_as_a_gap(server):
    raise_alerts(server.settings, "a", "b", "c")

    async def purge():
        connection = await connect(server.settings.nats, "test")
        await connection.jetstream().purge_stream(server.settings.streams.alerts, keep=1)
        await connection.close()

    asyncio.run(purge())
    reader = Reader(server, after=1)
    until(lambda: len(reader.events) == 2)
    assert reader.events[0] == (2, "gap", {"from": 2, "to": 2})
    assert reader.events[1][2]["alert_id"] == "c"


def test_a_lost_nats_is_said_and_nothing_is_left_out(server, nats_server):
    reader = Reader(server)
    until(lambda: reader.comments)
    raise_alerts(server.settings, "a")
    until(lambda: reader.names == ["a"])
    nats_server.restart()
    until(lambda: any("away" in comment for comment in reader.comments), 20)
    raise_alerts(server.settings, "b")
    until(lambda: reader.names == ["a", "b"], 30)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "locked = true\n",
        lambda text: text + "expires = 2020-01-01T00:00:00Z\n",
        lambda text: text.replace(digest("app"), digest("another")),
    ],
)
def test_a_key_that_is_locked_expired_or_revoked_is_refused_and_its_stream_ends(server, change):
    reader = Reader(server)
    until(lambda: reader.comments)
    server.keys.write_text(change(server.keys.read_text()))
    headers = {"Authorization": "Bearer app"}
    until(lambda: httpx.get(f"{server.url}/api/v1/patients", headers=headers, timeout=60).status_code in {401, 403}, 5)
    raise_alerts(server.settings, "too late")
    assert reader.over.wait(15)
    assert reader.names in ([], ["too late"])


def test_a_file_of_keys_that_is_half_written_locks_nobody_out(server, caplog):
    before = server.keys.read_text()
    server.keys.write_text(before[:40])
    headers = {"Authorization": "Bearer app"}
    time.sleep(1.2)  # two looks
    assert httpx.get(f"{server.url}/api/v1/me", headers=headers, timeout=60).status_code == 200
    assert "those of before go on" in caplog.text
    server.keys.write_text(before.replace('"app"', '"renamed"'))
    until(lambda: httpx.get(f"{server.url}/api/v1/me", headers=headers, timeout=60).json()["name"] == "renamed", 5)
