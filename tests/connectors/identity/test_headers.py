"""Headers with which a stream can be told to do something: none of them works in a device's hands.

Tried on the log while it scheduled its own ticks: `Nats-Rollup: all` erased every message of every patient, and
`Nats-Schedule-Target` wrote a command for another patient each second. Both were acknowledged.
"""

import asyncio

import nats
import pytest

from dataflows.contracts.frames import Origin

pytestmark = pytest.mark.services
SUBJECT = "vitals.v1.main.attacker.d.ecg_ii"


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "vitals.v1.main.victim.control.discharge"},
        {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "ticks.sched.4"},
        {"Nats-Schedule": "@at 2026-01-01T00:00:00Z", "Nats-Schedule-Target": "vitals.v1.main.victim.d.ecg_ii"},
        {"Nats-TTL": "1s"},
        {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
        {"Nats-Incr": "+1"},
        {"Nats-Stream-Source": "TICKS 4 vp.> > vp.0.tick.4.broker.tick"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a_header_that_commands_the_stream_is_refused(locked, headers):
    async def run():
        async with locked.device(victim) as (client, _, _):
            await client.jetstream().publish("vitals.v1.main.victim.d.ecg_ii", b"real")
        async with locked.pipeline() as pipeline:
            before = (await pipeline.jetstream().stream_info("VITALS")).state
            async with locked.device(attacker) as (client, _, _):
                with pytest.raises(nats.js.errors.APIError):
                    await client.jetstream().publish(SUBJECT, b"forged", headers=headers)
            after = (await pipeline.jetstream().stream_info("VITALS", subjects_filter="vp.*.main.>")).state
            assert (after.first_seq, after.num_deleted) == (before.first_seq, before.num_deleted)
            assert not [subject for subject in after.subjects if ".attacker." in subject or ".control." in subject]
            found = await pipeline.jetstream().get_last_msg("VITALS", "vp.*.main.victim.d.ecg_ii")
            assert found.data == b"real"

    victim, attacker = locked.enrol(Origin("victim", "d")), locked.enrol(Origin("attacker", "d"))
    asyncio.run(run())


def test_no_stream_that_devices_reach_takes_commands_from_headers(locked):
    async def run():
        async with locked.pipeline() as client:
            return (await client.jetstream().stream_info("VITALS")).config

    config = asyncio.run(run())
    assert not config.allow_msg_schedules
    assert not config.allow_rollup_hdrs
    assert not config.allow_msg_ttl
    assert not config.allow_atomic
