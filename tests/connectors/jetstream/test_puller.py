"""The puller against a real server: order, log time, ticks, positions, bounds."""

import pytest

from connectors.jetstream import ensure_streams
from dataflows._native import JetStreamError, LostRangeError, PublishError
from tests.connectors.jetstream.tools import (
    frame,
    open_publisher,
    open_puller,
    payloads,
    poll_until,
    ticks,
    wait_for,
)

pytestmark = pytest.mark.services


@pytest.fixture
def settings(nats_server):
    """One partition, log time in the header: no ticks but those of the test."""
    settings = nats_server.settings(partitions=1, log_time="header")
    ensure_streams(settings)
    return settings


def total(count):
    return lambda seen: sum(len(payloads(entries)) for entries in seen.values()) >= count


def test_messages_arrive_by_patient_in_log_order_with_log_time_of_the_header(settings):
    publisher, puller = open_publisher(settings), open_puller(settings)
    times = [None, 100, 90, None, 120]
    for n, ns in enumerate(times):
        headers = {} if ns is None else {"Vitals_Log_Time": ns}
        publisher.publish_all([frame(patient, n, **headers) for patient in ("b", "a")])
    seen = poll_until(puller, total(10))
    assert {key: payloads(entries) for key, entries in seen.items()} == {
        "main/a": [0, 1, 2, 3, 4],
        "main/b": [0, 1, 2, 3, 4],
    }
    assert [log_ns for _, _, log_ns, _ in seen["main/a"]] == [0, 100, 100, 100, 120]
    assert [seq for _, seq, _, _ in seen["main/a"]] == [2, 4, 6, 8, 10]
    assert seen["main/a"][0][0] == b"vp.0.main.a.d1.ecg-ii"
    assert (puller.next_seq, puller.last_seq, puller.log_ns, puller.pending, puller.lag_s) == (11, 10, 120, 0, 0.0)


def test_a_batch_is_sorted_by_patient_and_no_larger_than_asked_for(settings):
    publisher = open_publisher(settings)
    publisher.publish_all([frame(f"p{n % 7}", n) for n in range(100)])
    puller = open_puller(settings)
    sizes, numbers = [], []

    def step():
        batch = puller.poll(9)
        assert [key for key, _ in batch] == sorted(key for key, _ in batch)
        sizes.append(sum(len(messages) for _, messages in batch))
        numbers.extend(n for _, messages in batch for n in payloads(messages.entries()))
        return len(numbers) == 100

    wait_for(step)
    assert max(sizes) == 9
    assert sorted(numbers) == list(range(100))


def test_nothing_of_behind_the_end_is_there_and_the_last_tick_before_it_is(nats_server):
    settings = nats_server.settings(partitions=1)
    ensure_streams(settings)
    publisher = open_publisher(settings)
    publisher.publish_all([frame("a", n) for n in range(3)])
    live = open_puller(settings)
    seen = poll_until(live, lambda seen: len(ticks(seen.get("main/a", []))) >= 3)
    last_seq, last_ns = ticks(seen["main/a"])[1]
    # All of it lies there already: one batch takes everything, in which a patient has no more than one tick.
    ended = open_puller(settings, until_seq=last_seq)
    again = poll_until(ended, lambda _: ended.last_seq >= last_seq)
    assert payloads(again["main/a"]) == [0, 1, 2]
    assert ticks(again["main/a"])[-1] == (last_seq, last_ns)
    assert (ended.last_seq, ended.log_ns) == (last_seq, last_ns)
    publisher.publish_all([frame("a", 3)])
    poll_until(live, lambda seen: payloads(seen.get("main/a", [])) == [3])
    assert [messages for _, messages in ended.poll(4000)] == []
    assert (ended.last_seq, ended.log_ns) == (last_seq, last_ns)


def test_ticks_reach_the_roster_and_move_server_log_time(nats_server):
    settings = nats_server.settings(partitions=2)
    ensure_streams(settings)
    publisher = open_publisher(settings)
    publisher.publish_all([frame(f"p{n}", n) for n in range(8)])
    pullers = [open_puller(settings, n) for n in range(2)]
    for puller in pullers:
        seen = poll_until(puller, lambda seen: seen and min(len(ticks(entries)) for entries in seen.values()) >= 2)
        assert len(seen) == puller.roster_size
        for entries in seen.values():
            assert entries[0][0] != b""
            times = [log_ns for _, _, log_ns, _ in entries]
            assert times == sorted(times)
            assert entries[-1][1:3] == ticks(entries)[-1]
            assert ticks(entries)[-1][1] > entries[0][2]
    assert sum(puller.roster_size for puller in pullers) == 8


def test_a_snapshot_resumes_behind_the_last_message_with_roster_and_log_time(settings):
    publisher, puller = open_publisher(settings), open_puller(settings)
    publisher.publish_all([frame("a", n, Vitals_Log_Time=1000 + n) for n in range(5)])
    poll_until(puller, total(5))
    state = puller.snapshot()
    puller.close()
    with pytest.raises(JetStreamError, match="closed"):
        puller.poll(1)
    publisher.publish_all([("vitals.v1.tick.0.broker.tick", {"Vitals-Log-Time": "5000"}, b""), frame("b", 5)])
    seen = poll_until(open_puller(settings, state=state), lambda seen: len(seen) == 2)
    assert ticks(seen["main/a"]) == [(6, 5000)]
    assert payloads(seen["main/b"]) == [5]
    assert seen["main/b"][0][2] == 5000


def test_a_damaged_state_is_refused_in_words(settings):
    puller = open_puller(settings)
    state = bytearray(puller.snapshot())
    state[-1] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        open_puller(settings, state=bytes(state))


def test_a_purged_stream_names_the_lost_range(settings, admin):
    publisher, puller = open_publisher(settings), open_puller(settings)
    publisher.publish_all([frame("a", n) for n in range(10)])
    state = puller.snapshot()
    admin(admin.js.purge_stream("VITALS", seq=8))
    with pytest.raises(LostRangeError, match="messages 1 to 7 of stream VITALS were removed"):
        open_puller(settings, state=state)
    seen = poll_until(open_puller(settings), total(3))
    assert payloads(seen["main/a"]) == [7, 8, 9]


def test_a_stream_purged_exactly_to_the_position_resumes(settings, admin):
    publisher, puller = open_publisher(settings), open_puller(settings)
    publisher.publish_all([frame("a", n) for n in range(10)])
    poll_until(puller, total(10))
    admin(admin.js.purge_stream("VITALS"))
    resumed = open_puller(settings, state=puller.snapshot())
    publisher.publish_all([frame("a", 10)])
    assert payloads(poll_until(resumed, total(1))["main/a"]) == [10]


def test_a_stream_created_anew_is_recognised(settings, admin):
    state = open_puller(settings).snapshot()
    admin(admin.js.delete_stream("VITALS"))
    ensure_streams(settings)
    with pytest.raises(LostRangeError, match="created anew"):
        open_puller(settings, state=state)


def test_other_partitions_than_the_stream_has_are_refused(nats_server, settings):
    other = nats_server.settings(partitions=4)
    with pytest.raises(JetStreamError, match="created with 1 partitions, the settings say 4"):
        open_puller(other)


def test_publishing_awaits_every_acknowledgement_and_scan_reads_ids_back(settings):
    publisher = open_publisher(settings)
    outgoing = [(f"alerts.v1.main.a.r{n % 3}", [("Nats-Msg-Id", f"id{n}"), ("Tag", "x")], b"") for n in range(2500)]
    assert publisher.publish_all(outgoing) == list(range(1, 2501))
    assert publisher.publish_all([outgoing[7]]) == [8]
    found = publisher.scan("ALERTS", 2001, "Tag")
    assert found == [(n, f"id{n - 1}", "x") for n in range(2001, 2501)]
    assert len(publisher.scan("ALERTS", 1)) == 2500
    assert publisher.scan("ALERTS", 2501) == []
    assert publisher.last_seq("ALERTS") == 2500


def test_a_refused_message_raises(settings):
    publisher = open_publisher(settings)
    with pytest.raises(PublishError, match=r"nobody\.listens"):
        publisher.publish_all([("nobody.listens", [], b"")])
    with pytest.raises(PublishError, match="max"):
        publisher.publish_all([("alerts.v1.main.a.r", [], bytes(2_000_000))])
