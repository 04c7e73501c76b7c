"""Message ids that somebody else guessed: the server drops what has an id that it knows, whoever used it before."""

import asyncio

import pytest

from dataflows.contracts.frames import Origin, message_id
from tests.connectors.gateway.grpc_client import upload
from tests.connectors.gateway.test_frames import PROTOBUF, frames

pytestmark = pytest.mark.services


async def use_ids(locked, enrolled, ids):
    """A device uses them for frames of its own; they are taken."""
    origin = enrolled.credential.origin
    async with locked.device(enrolled) as (client, _, _):
        for one in ids:
            subject = f"vitals.v1.{origin.tenant}.{origin.patient}.{origin.device}.ecg_ii"
            assert not (await client.jetstream().publish(subject, b"mine", headers={"Nats-Msg-Id": one})).duplicate


def test_who_guesses_the_ids_of_anothers_next_frames_keeps_none_of_them_out(behind, served, log, sender):
    """An attacker of another organisation: a counter, a name and a signal are no secrets."""
    attacker = behind.enrol(Origin("guesser", "d", tenant="elsewhere"))
    sent = {way: frames(f"guessed-{way}", 5) for way in ("http", "grpc", "nats")}
    asyncio.run(use_ids(behind, attacker, [message_id(frame) for some in sent.values() for frame in some]))

    http = sender("guessed-http")
    for frame in sent["http"]:
        answer = http.post("/frames", content=frame.SerializeToString(), headers={"Content-Type": PROTOBUF})
        assert (answer.status_code, answer.json()["duplicates"]) == (202, 0)
    key = served.knows(behind.enrol(Origin("guessed-grpc", "d"), by="http").secret)
    with served.channel() as channel:
        acks = list(upload(channel, key, [frame.SerializeToString() for frame in sent["grpc"]]))
    assert all(ack.log_seq and not ack.duplicate for ack in acks)
    device = behind.enrol(Origin("guessed-nats", "d"))

    async def publish():
        async with behind.device(device) as (client, _, _):
            for frame in sent["nats"]:
                headers = {"Nats-Msg-Id": message_id(frame, "of this start of the device")}
                subject = "vitals.v1.main.guessed-nats.d.pleth"
                for duplicate in (False, True):  # the same again is one
                    ack = await client.jetstream().publish(subject, frame.SerializeToString(), headers=headers)
                    assert bool(ack.duplicate) == duplicate

    asyncio.run(publish())
    for way, some in sent.items():
        wanted = sorted(frame.SerializeToString() for frame in some)
        assert sorted(payload for _, payload, _ in log(f"guessed-{way}")) == wanted
