"""What the NATS, MQTT and WebSocket listeners refuse is counted, through the rotation of the server's log."""

import asyncio
import socket

import nats
import pytest
from prometheus_client import REGISTRY

from connectors.identity.roles import MAX_PAYLOAD
from connectors.local.refusals import Refusals, kind_of
from dataflows.contracts.frames import Origin
from tests.connectors.identity.conftest import tls_context
from tests.connectors.identity.mqtt import MqttDevice
from tests.waiting import until

REFUSED = b'[7] 2026/11/29 20:00:00.000000 [ERR] 127.0.0.1:1 - cid:9 - "x" - Publish Violation - Subject "a"\n'


def counted(kind):
    return REGISTRY.get_sample_value("vitals_server_refusals_total", {"kind": kind}) or 0.0


@pytest.fixture
def refused(locked):
    """Waits until so many more refusals of a kind were counted."""
    locked.stack.check()
    before = {kind: counted(kind) for kind in ("identity", "publish", "subscribe", "tls", "limit", "protocol")}

    def more(kind, number):
        def there():
            locked.stack.check()
            return counted(kind) >= before[kind] + number

        until(there, 10)
        assert counted(kind) == before[kind] + number

    return more


@pytest.mark.services
def test_what_a_device_may_not_is_counted(locked, refused):
    device = locked.enrol(Origin("refused", "d"))

    async def run():
        async with locked.device(device) as (client, _, _):
            for subject in ("vitals.v1.main.other.d.ecg_ii", "$JS.API.INFO", "audit.v1.main.x"):
                await client.publish(subject, b"")
            for subject in (">", "alerts.v1.>"):
                await client.subscribe(subject)
            await client.flush()

    asyncio.run(run())
    refused("publish", 3)
    refused("subscribe", 2)
    with MqttDevice(locked, locked.enrol(Origin("refused", "m"), by="mqtt").secret) as mqtt:
        mqtt.publish("vitals/v1/main/other/m/ecg_ii", b"", 0)
        refused("publish", 4)


@pytest.mark.services
def test_who_is_not_let_in_is_counted(locked, refused):
    async def run():
        url, context = f"tls://admin:guessed@127.0.0.1:{locked.port}", tls_context(locked.ca)
        with pytest.raises(nats.errors.Error):
            await nats.connect(url, tls=context, allow_reconnect=False, connect_timeout=60)

    asyncio.run(run())
    refused("identity", 1)
    with MqttDevice(locked, "no token") as mqtt:
        assert mqtt.refused
    refused("identity", 2)
    with socket.create_connection(("127.0.0.1", locked.port)) as stranger:
        stranger.sendall(b"\x16\x03\x01\0\5hello")
        refused("tls", 1)


@pytest.mark.services
def test_what_is_too_large_is_counted(locked, refused):
    device = locked.enrol(Origin("refused-large", "d"))

    async def run():
        async with locked.device(device) as (client, _, closed):
            client._max_payload = 10 * MAX_PAYLOAD  # noqa: SLF001  (or it would refuse by itself)
            await client.publish("vitals.v1.main.refused-large.d.ecg_ii", b"x" * 2 * MAX_PAYLOAD)
            await asyncio.wait_for(closed.wait(), 10)

    asyncio.run(run())
    refused("limit", 1)


def test_rotation_loses_and_doubles_nothing(tmp_path):
    log = tmp_path / "nats.log"
    log.write_bytes(REFUSED)
    follower, before = Refusals(log), counted("publish")
    follower.look()
    assert counted("publish") == before
    with log.open("ab") as file:
        file.write(REFUSED + REFUSED[:50])
        file.flush()
        follower.look()
        assert counted("publish") == before + 1
        file.write(REFUSED[50:])
    log.rename(tmp_path / "nats.log.1")
    log.write_bytes(REFUSED * 3)
    for _ in range(4):
        follower.look()
    assert counted("publish") == before + 5
    follower.close()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (REFUSED, "publish"),
        (b"[7] 2026/11/29 20:00:00.000000 [INF] Server is ready", ""),
        (b"[7] 2026/11/29 20:00:00.000000 [ERR] JetStream is out of space", ""),
        (
            b'[7] 2026/11/29 20:00:00.000000 [ERR] 127.0.0.1:1 - mid:9 - "x" - unable to connect: authentication error',
            "",
        ),
        (b"[7] 2026/11/29 20:00:00.000000 [ERR] 127.0.0.1:1 - wid:9 - Client parser ERROR, state=0", "protocol"),
    ],
)
def test_lines_are_told_apart(line, kind):
    assert kind_of(line) == kind
