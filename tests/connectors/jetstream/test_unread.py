"""Messages that a client library breaks off at: any device can send one, and the flow has to go on behind it."""

import asyncio
import socket
import time

import pytest

from connectors.jetstream import ensure_streams
from connectors.jetstream.connection import connect
from connectors.jetstream.history import seq_at
from tests.connectors.jetstream.tools import BROKEN_HEADERS, open_publisher, open_puller, publish_raw, wait_for

pytestmark = pytest.mark.services
OWN = b"vitals.v1.main.p1.d.ecg_ii"


def read(settings, count, **options):
    """The first so many messages, as a puller hands them over, by their place in the log."""
    puller, found = open_puller(settings, **options), []

    def step():
        found.extend(entry for _, messages in puller.poll(5) for entry in messages.entries() if entry[0])
        return len(found) >= count

    wait_for(step, 60)
    puller.close()
    return sorted(found, key=lambda entry: entry[1])


@pytest.mark.parametrize("log_time", ["server", "header"])
def test_the_flow_reads_on_behind_them_and_gets_them_too(nats_server, log_time):
    settings = nats_server.settings(partitions=1, log_time=log_time)
    ensure_streams(settings)
    hostile = [(OWN, headers, b"h%d" % n) for n, headers in enumerate(BROKEN_HEADERS)]
    hostile += [(b"vitals.v1.main.p1.d.\xff", b"", b"s"), (b"vitals.v1.\xfe.p1.d.ecg_ii", b"", b"t")]
    good = [(OWN, b"NATS/1.0\r\nVitals-Log-Time: %d\r\n\r\n" % n, b"good%d" % n) for n in range(len(hostile))]
    mixed = [message for pair in zip(good, hostile, strict=True) for message in pair]
    publish_raw(nats_server.port, *mixed, *hostile, *good)
    everything = [*mixed, *hostile, *good]

    found = read(settings, len(everything))
    assert [payload for *_, payload in found] == [payload for *_, payload in everything]
    assert [seq for _, seq, *_ in found] == sorted(seq for _, seq, *_ in found)
    assert read(settings, len(everything)) == found, "the same message is the same by either way"
    if log_time == "header":
        assert max(log_ns for _, _, log_ns, _ in found) == len(good) - 1


def test_a_flood_of_them_costs_no_connection_each(nats_server):
    settings = nats_server.settings(partitions=1, log_time="header")
    ensure_streams(settings)
    broken, fine = (OWN, BROKEN_HEADERS[6], b"x"), (OWN, b"", b"good")
    publish_raw(nats_server.port, *[one for _ in range(1000) for one in (broken, fine)])
    before = connections(nats_server)
    assert len(read(settings, 2000)) == 2000
    assert connections(nats_server) - before < 12


def connections(server):
    """How many clients the server has ever let in."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        info = connection.makefile("rb").readline()
    return int(info.split(b'"client_id":')[1].split(b",")[0])


def test_a_connection_that_broke_for_another_reason_ends_the_flow(nats_server):
    settings = nats_server.settings(partitions=1, log_time="header")
    ensure_streams(settings)
    publish_raw(nats_server.port, (OWN, b"", b"good"))
    puller = open_puller(settings)
    nats_server.restart()
    with pytest.raises(Exception, match="the connection"):
        wait_for(lambda: puller.poll(10) and None, 20)


def test_a_moment_is_found_at_which_such_a_message_stands(nats_server):
    settings = nats_server.settings(partitions=1, log_time="header")
    ensure_streams(settings)
    moments_ns, publisher = [time.time_ns()], open_publisher(settings)
    for stored, headers in enumerate((b"", BROKEN_HEADERS[3], b""), 1):
        publish_raw(nats_server.port, (OWN, headers, b"x"))
        wait_for(lambda stored=stored: publisher.last_seq(settings.streams.vitals) == stored)
        moments_ns.append(time.time_ns())
    publisher.close()

    async def find():
        client = await connect(settings.nats, "test")
        found = [await seq_at(client, settings.streams.vitals, at_ns) for at_ns in moments_ns]
        left = await client.jetstream().consumers_info(settings.streams.vitals)
        await client.close()
        return found, left

    assert asyncio.run(find()) == ([1, 2, 3, 4], [])
