"""One organisation floods the log, over NATS and over MQTT: another one's device hardly notices."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path

import nats
import pytest

from connectors.identity.authority import IdentityError
from connectors.identity.devices import authority_of
from connectors.identity.resolver import push_account
from dataflows.contracts.frames import Origin
from tests.connectors.identity import flooder
from tests.connectors.identity.conftest import Locked
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow]
RATE, BURST_S, FLOOD_S = 1000, 2, 6


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """A stack whose organisations may send little."""
    limits = {"tenant_frames_per_s": RATE, "tenant_burst_s": BURST_S, "flood_ban_s": 3.0}
    locked = Locked(tmp_path_factory.mktemp("limited"), **limits)
    with locked.stack:
        yield locked


def flood(locked, by, tenant):
    """Starts a flooder of an organisation of its own; returns the process once it was let in."""
    device = locked.enrol(Origin("flood", "d", tenant=tenant), by=by)
    subject = f"vitals.v1.{tenant}.flood.d.pleth"
    if by == "nats":
        url, file = f"tls://127.0.0.1:{locked.port}", str(locked.credentials(device))
        arguments = [url, str(locked.ca), file, "_INBOX.flood.d", subject]
    else:
        arguments = [str(locked.mqtt_port), str(locked.ca), device.secret, subject.replace(".", "/")]
    command = [sys.executable, str(Path(flooder.__file__)), by, *arguments]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "in\n"
    return started


async def stored(locked, tenant):
    async with locked.pipeline() as client:
        info = await client.jetstream().stream_info("VITALS", subjects_filter=f"vp.*.{tenant}.>")
        return sum((info.state.subjects or {}).values())


async def floods_in_audit(locked, tenant):
    async with locked.pipeline() as client:
        js = client.jetstream()
        info = await js.stream_info("AUDIT", subjects_filter=f"audit.v1.{tenant}.refused")
        if not info.state.subjects:
            return []
        return [json.loads((await js.get_last_msg("AUDIT", f"audit.v1.{tenant}.refused")).data)]


@pytest.mark.parametrize("by", ["nats", "mqtt"])
def test_a_flood_delays_nobody_else(limited, by):
    tenant = f"flood-{by}"
    calm = limited.enrol(Origin("calm", "d", tenant="calm"))

    async def publish(seconds):
        waits_s = []
        async with limited.device(calm) as (client, refused, closed):
            js, end_s = client.jetstream(timeout=15), time.monotonic() + seconds
            while time.monotonic() < end_s:
                began_s = time.monotonic()
                await js.publish("vitals.v1.calm.calm.d.pleth", b"y" * 300)
                waits_s.append(time.monotonic() - began_s)
                await asyncio.sleep(0.05)
            assert not refused
            assert not closed.is_set()
        return sorted(waits_s)

    attacker = flood(limited, by, tenant)
    try:
        waits_s = asyncio.run(publish(FLOOD_S))
        until(lambda: asyncio.run(floods_in_audit(limited, tenant)))  # one that is gone is not measured any more
    finally:
        attacker.kill()  # cut off in the midst of a publish, it might wait for ever
        attacker.communicate()
    # Without the warden half of them waited for more than five seconds. Here it depends on what else the machine does.
    assert waits_s[len(waits_s) // 2] < 1.0, waits_s
    (noted,) = asyncio.run(floods_in_audit(limited, tenant))
    assert (noted["outcome"], noted["patient"], noted["device"]) == ("flood", "flood", "d")
    assert not asyncio.run(floods_in_audit(limited, "calm"))


def test_what_is_within_the_rate_is_left_alone(limited):
    """An upload of stored frames is a burst, and none of it is lost."""
    device = limited.enrol(Origin("upload", "d", tenant="upload"))

    async def run():
        async with limited.device(device) as (client, refused, closed):
            js = client.jetstream(timeout=15)
            for _ in range(RATE * BURST_S // 250):
                await asyncio.gather(*[js.publish("vitals.v1.upload.upload.d.pleth", b"x" * 300) for _ in range(200)])
            await asyncio.sleep(1)
            assert not refused
            assert not closed.is_set()
        return await stored(limited, "upload")

    assert asyncio.run(run()) == RATE * BURST_S // 250 * 200
    assert not asyncio.run(floods_in_audit(limited, "upload"))


def test_an_organisation_has_no_more_connections_than_its_account_allows(limited):
    devices = [limited.enrol(Origin("many", f"d{n}", tenant="many")) for n in range(3)]
    other = limited.enrol(Origin("few", "d", tenant="few"))
    authority = authority_of(limited.settings)

    async def run():
        authority.grant("many", connections=2)
        await push_account(limited.settings.nats, authority, "many")
        async with limited.device(devices[0]), limited.device(devices[1]):
            with pytest.raises(nats.errors.Error):
                async with limited.device(devices[2]):
                    pass
            async with limited.device(other) as (client, _, _):
                await client.jetstream().publish("vitals.v1.few.few.d.pleth", b"x")
        authority.revoke("many", {})  # the limit stays when the account is written anew
        assert authority.granted("many").connections == 2

    asyncio.run(run())
    with pytest.raises(IdentityError):
        authority.grant("many", connections=0)
    with pytest.raises(IdentityError):
        authority.grant("VITALS", connections=5)
