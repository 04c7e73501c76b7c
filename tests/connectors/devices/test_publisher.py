"""Publishing against a real server: order, headers, duplicates, refusals, a server that goes away."""

import asyncio
import threading

import pytest

from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Log, Plan
from connectors.devices.publisher import Publisher, PublishError, play
from connectors.devices.replay import Publication, merged
from connectors.jetstream.connection import connect
from connectors.jetstream.streams import ensure_streams_async

pytestmark = pytest.mark.services
START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def publications():
    recordings = [load(path).cut(20) for path in samples.ALL]
    return list(merged(Plan(recordings, start_ns=START_NS, boot=1).replays(Log(True, 8, 0), START_NS)))


def in_session(server, work, *, ack_timeout_s=60.0, with_log_time=True, **streams):
    """Runs `work(publisher, client)` against the server, its streams made; returns what it returned."""

    async def session():
        settings = server.settings(**streams)
        await ensure_streams_async(settings)
        client = await connect(settings.nats, "test")
        try:
            return await work(Publisher(client, ack_timeout_s, with_log_time=with_log_time), client)
        finally:
            await client.close()

    return asyncio.run(session())


async def stored(client):
    """Every message of VITALS, in order, ticks and schedules left out."""
    js = client.jetstream()
    last = (await js.stream_info("VITALS")).state.last_seq
    messages = [await js.get_msg("VITALS", seq) for seq in range(1, last + 1)]
    return [message for message in messages if message.subject.startswith("vp.") and ".tick." not in message.subject]


def test_everything_is_stored_once_in_order_with_its_log_time(nats_server, publications):
    async def work(publisher, client):
        assert await play(publications, publisher, speed=0) == publications[-1].log_ns
        return publisher, await stored(client)

    publisher, messages = in_session(nats_server, work, log_time="header")
    assert (publisher.stored, publisher.duplicates) == (len(publications), 0)
    assert [message.data for message in messages] == [publication.payload for publication in publications]
    assert [int(message.headers["Vitals-Log-Time"]) for message in messages] == [p.log_ns for p in publications]
    assert [message.headers["Nats-Msg-Id"] for message in messages] == [p.message_id for p in publications]


def test_a_second_replay_of_the_same_frames_changes_nothing(nats_server, publications):
    async def work(publisher, client):
        await play(publications, publisher, speed=0)
        await play(publications, publisher, speed=0)
        return publisher, await stored(client)

    publisher, messages = in_session(nats_server, work, log_time="header")
    assert publisher.duplicates == len(publications)
    assert len(messages) == len(publications)


def test_a_stream_with_the_servers_time_gets_no_header(nats_server, publications):
    async def work(publisher, client):
        await play(publications[:5], publisher, speed=0)
        return await stored(client)

    messages = in_session(nats_server, work, with_log_time=False)
    assert ["Vitals-Log-Time" in message.headers for message in messages] == [False] * 5


def test_speed_spreads_messages_over_time(nats_server, publications):
    """20 s of recording at 40 times life last half a second, not less."""

    async def work(publisher, _):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await play(publications, publisher, speed=40)
        return loop.time() - began

    span_s = (publications[-1].log_ns - publications[0].log_ns) / 1e9
    assert in_session(nats_server, work) >= span_s / 40


def test_a_message_that_no_stream_takes_is_an_error_in_words(nats_server):
    lost = Publication(START_NS, "nobody.listens", "1", b"")

    async def work(publisher, _):
        await play([lost], publisher, speed=0)

    with pytest.raises(PublishError, match="NATS did not store a message"):
        in_session(nats_server, work)


def test_a_server_that_dies_is_noticed(nats_server, publications):
    async def work(publisher, _):
        sent = 0

        def kill_once(number):
            nonlocal sent
            sent = number
            if number == 20:
                nats_server.kill()

        await play(publications, publisher, speed=100, progress=kill_once)
        return sent

    with pytest.raises(PublishError):
        in_session(nats_server, work)


def test_a_server_that_stops_answering_is_noticed(nats_server, publications):
    resumed = threading.Event()

    async def work(publisher, client):
        before = Publisher(client, 60.0, with_log_time=True)
        await before.publish(publications[0])
        await before.finish()
        nats_server.pause()
        try:
            await play(publications[1:10], publisher, speed=0)
        finally:
            nats_server.resume()
            resumed.set()

    with pytest.raises(PublishError, match="not acknowledged within 2 s"):
        in_session(nats_server, work, ack_timeout_s=2.0)
    assert resumed.is_set()
