"""The live WebSocket on real servers: strips, marks, alerts, commands' effects; keys and their limits."""

import asyncio
import json
import struct

import httpx
import numpy as np
import pytest
import websockets

from connectors.identity.registry import digest
from connectors.jetstream.connection import connect
from connectors.jetstream.streams import ensure_streams
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, WaveFramer, subject_of
from tests.connectors.api.served import Served
from tests.waiting import until

pytestmark = pytest.mark.services
FS_HZ = 250


@pytest.fixture
def live_server(nats_server, questdb):
    """The API on a NATS of its own, without a flow."""
    settings = nats_server.settings().model_copy(update={"questdb": questdb.settings})
    ensure_streams(settings)
    server = Served(settings).start()
    with server.client() as client:
        until(lambda: client.get("/status").json()["nats"]["connected_ns"])
    yield server
    server.stop()


class Device:
    """A patient with an ECG (a sine with R-like peaks) and SpO2, a frame a second from `start_ns`."""

    def __init__(self, tenant, patient, start_ns):
        origin = Origin(patient, "monitor", 1, tenant)
        self.ecg = WaveFramer(origin, pb.SIGNAL_ECG_II, FS_HZ * 1000, 0.005, start_ns)
        self.numeric = NumericFramer(origin)
        self.start_ns = start_ns

    def second(self, value=97.0):
        """The frames of the next second."""
        phase = (np.arange(FS_HZ) + self.ecg.next_sample) % 200  # an R peak every 0.8 s: 75/min
        samples = (200 * np.exp(-(((phase - 100) / 3.0) ** 2)) + 5 * np.sin(phase / 5)).astype(np.int16)
        device_ns = self.start_ns + self.numeric.seq * 10**9
        reading = Reading(pb.CODE_SPO2, value, pb.UNIT_PERCENT, quality_pct=90)
        return [self.ecg.frame(samples), self.numeric.frame([reading], device_ns)]


async def publish(settings, frames):
    """Publishes frames as devices do."""
    connection = await connect(settings.nats, "device")
    for frame in frames:
        await connection.jetstream().publish(subject_of(frame), frame.SerializeToString())
    await connection.close()


def unpack(message):
    """Header and counts of a wave."""
    (length,) = struct.unpack_from("<H", message)
    return json.loads(message[2 : 2 + length]), np.frombuffer(message, "<i2", offset=2 + length)


async def collect(socket, enough, timeout_s=20.0):
    """Messages until `enough(waves, texts)`."""
    waves, texts = [], []
    async with asyncio.timeout(timeout_s):
        while not enough(waves, texts):
            message = await socket.recv()
            if isinstance(message, bytes):
                waves.append(unpack(message))
            else:
                texts.append(json.loads(message))
    return waves, texts


def kinds(texts, kind):
    """Messages of a kind."""
    return [text for text in texts if text["type"] == kind]


def test_a_screen_sees_strips_marks_and_numbers(live_server):
    async def story():
        device = Device("live", "p1", now_ns())
        sent = [frame for _ in range(6) for frame in device.second()]
        async with websockets.connect(f"{live_server.live_url}?tenant=live") as socket:
            hello = json.loads(await socket.recv())
            assert (hello["type"], hello["tenant"], hello["role"]) == ("hello", "live", "admin")
            await socket.send(json.dumps({"watch": ["p1"]}))
            await publish(live_server.settings, sent)
            waves, texts = await collect(socket, lambda w, t: len(w) >= 6 and kinds(t, "beats"))
            assert [header["seq"] for header, _ in waves] == list(range(6))
            got = np.concatenate([counts for _, counts in waves])
            want = np.concatenate([np.frombuffer(f.waveform.samples, "<i2") for f in sent if f.waveform.samples])
            np.testing.assert_array_equal(got, want)
            more = []  # the rate may have come with the beats, and then no tile changes again
            if not any("hr" in tile["values"] for tile in tiles(texts)):
                _, more = await collect(socket, lambda _, t: any("hr" in tile["values"] for tile in tiles(t)))
            newest = tiles(texts + more)[-1]
            assert newest["values"]["spo2"]["value"] == 97
            assert newest["values"]["hr"]["value"] == pytest.approx(75, abs=1)
        async with websockets.connect(f"{live_server.live_url}?tenant=live") as socket:
            await socket.send(json.dumps({"watch": ["p1"]}))
            waves, texts = await collect(socket, lambda w, t: len(w) >= 6 and kinds(t, "beats"))
            assert [tile["patient"] for tile in texts[0]["tiles"]] == ["p1"]

    asyncio.run(story())


def tiles(texts):
    """All tiles of board messages."""
    return [tile for text in texts if text["type"] in {"board", "hello"} for tile in text["tiles"]]


def now_ns():
    """Now."""
    import time

    return time.time_ns() - 7 * 10**9


def test_what_the_flow_would_reject_is_not_shown(live_server):
    async def story():
        device = Device("live", "p2", now_ns())
        good, bad = device.second(), device.second(value=250.0)
        async with websockets.connect(f"{live_server.live_url}?tenant=live") as socket:
            await publish(live_server.settings, [*good, bad[1]])
            _, texts = await collect(socket, lambda _, t: any("spo2" in tile["values"] for tile in tiles(t)))
            assert tiles(texts)[-1]["values"]["spo2"]["value"] == 97
        with live_server.client() as client:
            until(lambda: client.get("/status").json()["rejected_live"] >= 1)

    asyncio.run(story())


def test_alerts_arrive_and_other_tenants_see_nothing(live_server):
    def body(tenant, state, transition):
        return json.dumps({"alert_id": f"a-{tenant}", "transition": transition, "tenant": tenant, "patient": "p1",
                           "rule": "asystole", "priority": "high", "state": state}).encode()  # fmt: skip

    async def story():
        connection = await connect(live_server.settings.nats, "test")
        async with (
            websockets.connect(f"{live_server.live_url}?tenant=one") as one,
            websockets.connect(f"{live_server.live_url}?tenant=two") as two,
        ):
            assert [json.loads(await screen.recv())["type"] for screen in (one, two)] == ["hello", "hello"]
            for tenant, state, transition in (("one", "raised", 0), ("two", "raised", 0), ("one", "cleared", 1)):
                await connection.jetstream().publish(f"alerts.v1.{tenant}.p1.asystole", body(tenant, state, transition))
            _, texts = await collect(one, lambda _, t: len(kinds(t, "alert")) == 2)
            assert [text["alert"]["state"] for text in kinds(texts, "alert")] == ["raised", "cleared"]
            assert {text["alert"]["tenant"] for text in kinds(texts, "alert")} == {"one"}
            await collect(two, lambda _, t: kinds(t, "alert"))
        async with websockets.connect(f"{live_server.live_url}?tenant=two") as late:
            hello = json.loads(await late.recv())
            assert [alert["alert_id"] for alert in hello["alerts"]] == ["a-two"]
        await connection.close()

    asyncio.run(story())


def test_a_lost_nats_is_told_and_found_again(live_server, nats_server):
    async def story():
        async with websockets.connect(live_server.live_url) as socket:
            await collect(socket, lambda _, t: any(u["upstream"]["connected_ns"] for u in t))
            await asyncio.to_thread(nats_server.stop)
            await collect(socket, lambda _, t: t and t[-1]["upstream"]["connected_ns"] is None)
            await asyncio.to_thread(nats_server.start)
            await collect(socket, lambda _, t: t and t[-1]["upstream"]["connected_ns"], 30)

    asyncio.run(story())


@pytest.fixture
def with_keys(nats_server, questdb, tmp_path):
    """The API with three keys, of which the viewer's is of one tenant only."""
    settings = nats_server.settings().model_copy(update={"questdb": questdb.settings})
    ensure_streams(settings)
    entries = [
        f'[[key]]\nname = "{role}"\nrole = "{role}"\nsha256 = "{digest(role)}"\n' for role in ("clinician", "admin")
    ]
    entries.append(f'[[key]]\nname = "looker"\nrole = "viewer"\ntenant = "ward"\nsha256 = "{digest("viewer")}"\n')
    (tmp_path / "keys.toml").write_text("".join(entries))
    server = Served(settings, keys=tmp_path / "keys.toml").start()
    with httpx.Client(base_url=f"{server.url}/api/v1", headers={"Authorization": "Bearer admin"}, timeout=60) as client:
        until(lambda: client.get("/status").json()["nats"]["connected_ns"])
    yield server
    server.stop()


def test_roles_and_tenants(with_keys):
    def ask(key, method, path, **more):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.request(method, f"{with_keys.url}/api/v1{path}", headers=headers, timeout=20, **more)

    note = {"json": {"idempotency_key": "n1", "argument": {"text": "seen"}}}
    assert ask("", "GET", "/patients").status_code == 401
    assert ask("wrong", "GET", "/patients").status_code == 401
    assert ask("viewer", "GET", "/patients").status_code == 200
    assert ask("viewer", "GET", "/patients?tenant=other").status_code == 403
    assert ask("admin", "GET", "/patients?tenant=other").status_code == 200
    assert ask("viewer", "POST", "/patients/p1/commands/note", **note).status_code == 403
    answer = ask("clinician", "POST", "/patients/p1/commands/note", **note)
    assert (answer.status_code, answer.json()["actor"]) == (202, "clinician")
    assert ask("clinician", "POST", "/patients/p1/commands/delivered", **note).status_code == 403


def test_a_browser_gets_in_by_its_cookie(with_keys):
    with httpx.Client(base_url=f"{with_keys.url}/api/v1", timeout=60) as browser:
        assert browser.post("/session", json={"key": "wrong"}).status_code == 401
        assert browser.get("/me").status_code == 401
        answer = browser.post("/session", json={"key": "viewer"})
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "samesite=strict" in answer.headers["set-cookie"].lower()
        assert browser.get("/me").json() == {"name": "looker", "role": "viewer", "tenant": "ward", "keys_needed": True}
        cookie = {"Cookie": f"vitals_key={browser.cookies['vitals_key']}"}

    async def sockets():
        async with websockets.connect(with_keys.live_url, additional_headers=cookie) as socket:
            assert json.loads(await socket.recv())["tenant"] == "ward"
        other = {**cookie, "Origin": "http://elsewhere.example"}
        for headers in ({}, other):
            async with websockets.connect(with_keys.live_url, additional_headers=headers) as socket:
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd.code == 1008

    asyncio.run(sockets())


def test_the_database_is_read_as_a_user_who_cannot_write(questdb):
    import psycopg

    from connectors.api.database import Database

    async def story():
        database = Database(questdb.settings)
        assert await database.rows("SELECT %s a", ["it's"]) == [{"a": "it's"}]
        for sql in ("DROP TABLE beats", "TRUNCATE TABLE beats", "INSERT INTO beats(ts) VALUES (now())"):
            with pytest.raises(psycopg.Error, match="permission denied"):
                await database.rows(sql)
        await database.close()

    asyncio.run(story())
