"""Whatever interrupts reading is an error of the next poll, soon and in words."""

import contextlib
import threading
import time

import pytest
from nats.js.api import StreamConfig

from connectors.jetstream import ensure_streams, native_options
from dataflows._native import JetStreamError, LostRangeError, NatsOptions, Publisher, partition_of, tick_token
from dataflows.settings import NatsSettings
from tests.connectors.jetstream.tools import (
    frame,
    open_publisher,
    open_puller,
    payloads,
    poll_until,
    wait_for,
)
from tests.stalls import Stalls

pytestmark = pytest.mark.services


@pytest.fixture
def settings(nats_server):
    settings = nats_server.settings(partitions=1, log_time="header")
    ensure_streams(settings)
    return settings


def error_of_poll(puller, timeout_s=10.0):
    """Polls until it raises, and returns the error."""

    def step():
        try:
            puller.poll(100)
        except JetStreamError as error:
            return error
        return None

    return wait_for(step, timeout_s)


def test_a_killed_server_is_an_error_for_good(nats_server, settings):
    puller, publisher = open_puller(settings), open_publisher(settings)
    nats_server.kill()
    assert "connection" in str(error_of_poll(puller, 2.0))
    nats_server.start()
    for _ in range(2):
        with pytest.raises(JetStreamError):
            puller.poll(1)
        with pytest.raises(JetStreamError):
            publisher.publish_all([frame("a")])
    puller.close()


@pytest.mark.alone
def test_a_server_that_stands_still_is_noticed_by_its_heartbeats(nats_server, settings):
    puller = open_puller(settings, heartbeat_s=0.5)
    poll_until(puller, lambda seen: True)
    before = time.monotonic()
    poll_until(puller, lambda seen: True)
    nats_server.pause()
    found = []
    with Stalls() as stalls:
        took = stalls.timed(lambda: found.append((error_of_poll(puller), time.monotonic())))
    nats_server.resume()
    ((error, noticed),) = found
    assert "heartbeat" in str(error)
    assert 0.9 < noticed - before
    assert took < 3.0


@pytest.mark.alone
def test_an_idle_stream_raises_no_alarm_and_delivers_at_once(settings):
    # Idle for several times as long as silence is an error.
    puller, publisher = open_puller(settings, heartbeat_s=3.0), open_publisher(settings)
    idle_until = time.monotonic() + 18.0
    wait_for(lambda: puller.poll(100) == [] and time.monotonic() > idle_until, 60, 0.003)
    delays = []
    for n in range(20):
        publisher.publish_all([frame("a", n)])
        started = time.perf_counter()
        poll_until(puller, lambda seen: seen)
        delays.append(time.perf_counter() - started)
    assert sorted(delays)[10] < 0.05


def test_a_poller_that_was_away_for_long_raises_no_false_alarm(settings):
    puller, publisher = open_puller(settings, heartbeat_s=0.2), open_publisher(settings)
    back = time.monotonic() + 2.0
    wait_for(lambda: time.monotonic() > back)
    publisher.publish_all([frame("a", 1)])
    assert payloads(poll_until(puller, lambda seen: seen)["main/a"]) == [1]


def test_a_deleted_consumer_is_an_error(settings, admin):
    puller = open_puller(settings)
    poll_until(puller, lambda seen: True)
    (consumer,) = admin.consumers("VITALS")
    admin(admin.js.delete_consumer("VITALS", consumer.name))
    error = str(error_of_poll(puller))
    # Whichever hears of it first: the pull request under way, the next one, the watch.
    said = ("Consumer Deleted", "nobody answers for it (503)", f"consumer {consumer.name} of VITALS does not answer")
    assert any(words in error for words in said), error


def test_a_deleted_stream_is_an_error(settings, admin):
    puller = open_puller(settings)
    poll_until(puller, lambda seen: True)
    admin(admin.js.delete_stream("VITALS"))
    assert error_of_poll(puller)


def test_messages_purged_before_they_were_read_are_reported(settings, admin):
    publisher = open_publisher(settings)
    publisher.publish_all([frame("a", n) for n in range(1000)])
    puller = open_puller(settings, buffer_messages=100, state=open_puller(settings).snapshot())
    poll_until(puller, lambda seen: seen)
    position = puller.next_seq
    admin(admin.js.purge_stream("VITALS", seq=900))
    wait_for(lambda: _lost(puller), interval_s=0.01)
    assert position < 900


def _lost(puller):
    try:
        puller.poll(1)
    except LostRangeError as error:
        return "to 899 of stream VITALS were removed" in str(error)
    return False


def test_an_idle_partition_moves_on_so_that_retention_cannot_overtake_it(nats_server, admin):
    settings = nats_server.settings(partitions=2, log_time="header")
    ensure_streams(settings)
    publisher = open_publisher(settings)
    partition = 1 - partition_of("main", "a", 2)
    idle = open_puller(settings, partition)
    publisher.publish_all([frame("a", n) for n in range(500)])
    wait_for(lambda: idle.poll(100) == [] and idle.next_seq == 501)
    admin(admin.js.purge_stream("VITALS", seq=400))
    state = idle.snapshot()
    idle.close()
    assert open_puller(settings, partition, state=state).next_seq >= 501


def test_the_backlog_stays_in_the_stream(settings, admin):
    publisher = open_publisher(settings)
    publisher.publish_all([("vitals.v1.main.a.d1.ecg-ii", [], bytes(1000)) for _ in range(5000)])
    by_count = open_puller(settings, buffer_messages=50)
    by_bytes = open_puller(settings, buffer_bytes=100_000)

    def delivered():
        return sorted(consumer.delivered.consumer_seq for consumer in admin.consumers("VITALS"))

    def settled():
        """Each request was answered as far as it goes: nothing more is on its way."""
        return [consumer.delivered.consumer_seq and not consumer.num_waiting for consumer in admin.consumers("VITALS")]

    wait_for(lambda: settled() == [True, True])
    counts = delivered()
    assert counts[0] == 50
    assert 50 < counts[1] <= 100
    for puller in (by_count, by_bytes):
        seen = poll_until(puller, lambda seen: len(seen.get("main/a", ())) == 5000)
        assert [seq for _, seq, _, _ in seen["main/a"]] == list(range(1, 5001))


def test_a_message_larger_than_the_buffer_is_an_error_in_words(settings):
    open_publisher(settings).publish_all([("vitals.v1.main.a.d1.ecg-ii", [], bytes(50_000))])
    assert "larger than the puller's buffer" in str(error_of_poll(open_puller(settings, buffer_bytes=10_000)))


def test_a_closed_puller_leaves_no_consumer_behind(settings, admin):
    puller = open_puller(settings)
    assert len(admin.consumers("VITALS")) == 1
    puller.close()
    wait_for(lambda: admin.consumers("VITALS") == [])


def test_missing_server_or_stream_and_foreign_streams_are_named(nats_server, settings, admin):
    with pytest.raises(JetStreamError, match=r"cannot connect to NATS at nats://127\.0\.0\.1:1"):
        Publisher(NatsOptions("nats://127.0.0.1:1"))
    with pytest.raises(JetStreamError, match="stream NONE cannot be read"):
        open_puller(nats_server.settings(vitals="NONE"))
    admin(admin.js.add_stream(StreamConfig(name="OTHER", subjects=["other.>"])))
    with pytest.raises(JetStreamError, match="not created as a log of vitals"):
        open_puller(nats_server.settings(vitals="OTHER"))
    with pytest.raises(JetStreamError, match="stream GONE cannot be read"):
        open_publisher(nats_server.settings()).scan("GONE", 1)


def test_a_scan_tries_again_where_a_stream_has_no_leader_for_a_moment(settings, admin):
    """A cluster answers so while it elects one; here the stream comes after the scan has begun."""

    publisher = open_publisher(settings)

    def scanned(name):
        found = []

        def ask():
            with contextlib.suppress(JetStreamError):  # it gives up when the stream comes more than a second later
                found.append(publisher.scan(name, 1))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)
        admin(admin.js.add_stream(StreamConfig(name=name, subjects=[name.lower()])))
        admin(admin.js.publish(name.lower(), b"x", headers={"Nats-Msg-Id": "one"}))
        asking.join()
        assert publisher.scan(name, 1) == [(1, "one", "")]
        return found

    # On a machine that stood still the stream may come too late; a scan that never tries again finds none of three.
    found = next(found for name in ("LATE", "LATER", "LATEST") if (found := scanned(name)))
    assert found in ([[]], [[(1, "one", "")]])  # empty when it looked between the stream and its first message


def test_one_of_several_addresses_is_enough(nats_server, settings):
    nats = NatsSettings(url=f"nats://127.0.0.1:1, {nats_server.url}")
    assert Publisher(native_options(nats, "test")).last_seq("VITALS") == 0


def test_the_ticks_go_on_past_the_streams_max_age(nats_server, admin):
    settings = nats_server.settings(partitions=1, vitals_max_age_h=3 / 3600, dedupe_window_s=1.0)
    ensure_streams(settings)
    wait_for(lambda: admin.info("VITALS").state.first_seq > 3)
    before = admin.info("VITALS").state.last_seq
    wait_for(lambda: admin.info("VITALS").state.last_seq > before)
    schedules = admin.info("TICKS", subjects_filter="ticks.sched.*").state.subjects
    assert schedules == {f"ticks.sched.{tick_token(0, 1)}": 1}
