"""What devices write is printed as text: it neither colours nor moves anything, and no command fails over it."""

import asyncio
import json

import pytest

from connectors.cli.console import PlainConsole
from connectors.jetstream.connection import connect
from connectors.jetstream.streams import ensure_streams

HOSTILE = "[/x][red]\x1b[2J\x1b]0;mine\x07:warning:\u202e"


def test_no_markup_no_emoji_and_nothing_that_a_terminal_obeys():
    console = PlainConsole(width=200)
    with console.capture() as printed:
        console.print(HOSTILE)
    assert printed.get() == "[/x][red]\ufffd[2J\ufffd]0;mine:warning:\ufffd\n"


@pytest.mark.services
def test_rejects_and_alerts_of_a_hostile_device_are_listed(vitals, nats_server, monkeypatch):
    monkeypatch.setenv("VITALS_NATS__URL", nats_server.url)
    monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
    ensure_streams(nats_server.settings())
    body = {
        "alert_id": "1", "event": "acknowledged", "notify": True, "actor": f"oidc:{HOSTILE}", "tenant": "main",
        "patient": "p1", "rule": "asystole", "priority": "high", "signal": "ecg_ii", "code": "", "value": 4.0,
        "limit": 4.0, "unit": "s", "log_ns": 1_700_000_000_000_000_000,
    }  # fmt: skip

    async def publish():
        client = await connect(nats_server.settings().nats, "test")
        js = client.jetstream()
        headers = {"Vitals-Subject": f"vp.3.main.p1.d.{HOSTILE}", "Vitals-Detail": HOSTILE}
        await js.publish("rejected.v1.undecodable.main.flow", b"x", headers=headers)
        await js.publish("alerts.v1.main.p1.asystole", json.dumps(body).encode())
        await client.close()

    asyncio.run(publish())
    for command in (("rejected",), ("rejected", "show", "1"), ("alerts",)):
        code, out, err = vitals(*command)
        assert (code, err) == (0, ""), command
        assert "[/x][red]" in out
        assert not set(out) & {"\x1b", "\x07", "\u202e"}
