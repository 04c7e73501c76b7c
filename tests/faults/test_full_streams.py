"""Streams that are full, and a log that no longer reaches back: nothing is lost without being said."""

import asyncio
import re
import time

import pytest
from nats.js.api import DiscardPolicy

from bench.traffic import Ward
from connectors.jetstream.connection import connect
from connectors.ledger.evidence import collect
from connectors.local.worker import REFUSED
from dataflows._native import PublishError
from dataflows.ledger import account
from tests.faults.whole import Whole, doubles
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]


def change(whole, stream, **options):
    """Alters a stream's configuration, as an administrator can."""

    async def alter():
        connection = await connect(whole.settings.nats, "test")
        jetstream = connection.jetstream()
        config = (await jetstream.stream_info(stream)).config
        await jetstream.update_stream(config.evolve(**options))
        await connection.close()

    asyncio.run(alter())


def totals(whole):
    async def look():
        connection = await connect(whole.settings.nats, "test")
        last = (await connection.jetstream().stream_info("VITALS")).state.last_seq
        found = account(await collect(connection, whole.settings, 1, last))
        await connection.close()
        return found.totals

    return asyncio.run(look())


@pytest.fixture
def whole(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    yield whole
    whole.close()


def publish(whole, ward, seconds):
    publisher = whole.publisher()
    for second in seconds:
        for patient in range(ward.patients):
            publisher.publish_all(ward.messages(patient, second))
    last = publisher.stream_state("VITALS")[2]
    publisher.close()
    return last


def test_a_log_that_pushed_out_what_was_not_read_stops_the_flow_and_names_it(whole):
    ward = Ward(4, time.time_ns() - 120 * 10**9)
    flow = whole.flow()
    last = publish(whole, ward, range(5))
    until(lambda: flow.done_to() >= last, 60, poll_s=0.1)
    flow.stop()
    position = min(position.seq for position in flow.store.positions().values())
    publish(whole, ward, range(5, 60))
    # Full: the oldest messages make room for new ones.
    change(whole, "VITALS", max_msgs=50)
    publisher = whole.publisher()
    first = publisher.stream_state("VITALS")[1]
    assert first > position + 1
    flow.begin()
    until(lambda: flow.code is not None, 60)
    assert flow.code == REFUSED
    words = " ".join(flow.said)
    assert "the flow cannot go on: messages of the log are lost to the flow" in words
    # The ticks go on and push out more meanwhile.
    now = re.search(r"first message is now (\d+)", words)
    assert now is not None
    assert int(now[1]) >= first
    # It stays refused: nobody may start it into the hole without knowing.
    flow.begin()
    until(lambda: flow.code is not None, 60)
    assert flow.code == REFUSED


def test_a_log_that_refuses_new_messages_loses_none_that_it_acknowledged(whole):
    ward = Ward(4, time.time_ns() - 120 * 10**9)
    flow = whole.flow()
    publish(whole, ward, range(3))
    _, first, last = whole.publisher().stream_state("VITALS")
    change(whole, "VITALS", max_msgs=last - first + 20, discard=DiscardPolicy.NEW)
    refused = None
    for second in range(3, 30):
        try:
            publish(whole, ward, [second])
        except PublishError:
            refused = second
            break
    assert refused is not None
    change(whole, "VITALS", max_msgs=-1, discard=DiscardPolicy.OLD)
    # The device sends again what was not acknowledged, and goes on.
    last = publish(whole, ward, range(refused, refused + 5))
    until(lambda: flow.done_to() >= last, 60, poll_s=0.1)
    whole.wait_for_waveforms(4 * (refused + 5), flow)
    found = totals(whole)
    assert (found["lost"], found["missing"], found["stored"]) == (0, 0, 4 * 2 * (refused + 5))
    flow.stop()


def test_full_alerts_stop_the_flow_until_there_is_room_and_lose_nothing(whole):
    ward = Ward(8, time.time_ns() - 300 * 10**9)
    room = 7  # for fences and alerts
    change(whole, "ALERTS", max_msgs=room, discard=DiscardPolicy.NEW)
    flow = whole.flow()
    last = publish(whole, ward, range(60))
    until(lambda: any("the flow died" in line for line in flow.said), 60)
    assert 0 < len(whole.messages("ALERTS")) < room
    assert flow.done_to() < last
    change(whole, "ALERTS", max_msgs=-1, discard=DiscardPolicy.OLD)
    until(lambda: flow.done_to() >= last, 90, poll_s=0.1)
    whole.wait_for_waveforms(8 * 60, flow)
    flow.stop()
    alerts = whole.messages("ALERTS")
    assert len(alerts) == whole.rows()["alerts"].height >= room
    assert doubles(alerts) == []
    assert totals(whole)["lost"] == 0


def test_a_full_spill_stops_the_flow_until_there_is_room_and_loses_nothing(whole, own_questdb):
    whole.close()
    ward = Ward(8, time.time_ns() - 120 * 10**9)
    flow = whole.flow()
    last = publish(whole, ward, range(3))
    until(lambda: flow.done_to() >= last, 60, poll_s=0.1)
    change(whole, "SPILL", max_msgs=1, discard=DiscardPolicy.NEW)
    own_questdb.kill()
    last = publish(whole, ward, range(3, 30))
    until(lambda: any("the flow died" in line for line in flow.said), 60)
    assert flow.done_to() < last
    change(whole, "SPILL", max_msgs=-1)
    own_questdb.start()
    whole.drain()
    until(lambda: flow.done_to() >= last, 90, poll_s=0.1)
    whole.wait_for_waveforms(8 * 30, flow)
    found = totals(whole)
    assert (found["lost"], found["stored"]) == (0, 8 * 2 * 30)
    assert doubles(whole.messages("ALERTS")) == []
    flow.stop()
