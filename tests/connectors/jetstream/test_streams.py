import nats.js.errors
import pytest
from nats.js.api import StreamConfig

from connectors.jetstream import ensure_streams
from dataflows._native import partition_of, tick_token
from tests.connectors.jetstream.tools import Admin, open_publisher, wait_for

pytestmark = pytest.mark.services


def tick_counts(admin, partitions):
    subjects = {f"vp.{n}.tick.{tick_token(n, partitions)}.broker.tick": n for n in range(partitions)}
    found = admin.info("VITALS", subjects_filter="vp.>").state.subjects or {}
    assert set(found) <= set(subjects)
    return {subjects[subject]: count for subject, count in found.items()}


def test_setting_up_twice_changes_nothing(nats_server, admin):
    settings = nats_server.settings(partitions=8)
    first = ensure_streams(settings)
    assert first.created == ["TICKS", "VITALS", "ALERTS", "REJECTED", "SPILL", "AUDIT", "BRIDGES"]
    assert len(first.scheduled) == 8
    second = ensure_streams(settings)
    assert (second.created, second.scheduled, second.differences) == ([], [], [])
    assert second.existing == first.created
    schedules = admin.info("TICKS", subjects_filter="ticks.sched.*").state.subjects
    assert set(schedules.values()) == {1}
    assert len(schedules) == 8


def test_the_broker_ticks_once_a_second_in_each_partition_also_after_a_crash(nats_server, admin):
    settings = nats_server.settings(partitions=8)
    ensure_streams(settings)
    first = wait_for(lambda: (c := tick_counts(admin, 8)) and len(c) == 8 and c)
    counts = wait_for(lambda: (c := tick_counts(admin, 8)) and min(c[n] - first[n] for n in c) >= 2 and c)
    ticked = [counts[n] - first[n] for n in counts]  # their schedules need not have been made in the same second
    assert max(ticked) - min(ticked) <= 1
    nats_server.restart()
    again = Admin(nats_server.url)
    wait_for(lambda: min(tick_counts(again, 8).values()) >= max(counts.values()) + 2)
    again.close()


def test_a_header_stream_has_no_ticks_of_the_broker(nats_server, admin):
    assert ensure_streams(nats_server.settings(log_time="header")).scheduled == []
    assert admin.info("VITALS").config.metadata["vitals.log_time"] == "header"


def test_other_settings_are_reported_in_words_and_left_alone(nats_server, admin):
    ensure_streams(nats_server.settings(partitions=8))
    before = admin.info("VITALS").config
    report = ensure_streams(nats_server.settings(partitions=4, vitals_max_age_h=12, log_time="header"))
    text = "\n".join(report.differences)
    assert len(report.differences) == 5
    for part in (
        "stream VITALS: max_age_s is 259200.0, the settings say 43200",
        "vitals.partitions",
        "vitals.log_time",
    ):
        assert part in text
    assert report.scheduled == []
    assert admin.info("VITALS").config == before


def test_subjects_of_a_foreign_stream_are_reported(nats_server, admin):
    admin(admin.js.add_stream(StreamConfig(name="ALERTS", subjects=["alerts.v1.main.>"])))
    report = ensure_streams(nats_server.settings())
    assert any("stream ALERTS: subjects is ['alerts.v1.main.>']" in words for words in report.differences)


def test_the_server_partitions_as_partition_of_says_and_refuses_the_stored_prefix(nats_server, admin):
    settings = nats_server.settings(partitions=8)
    ensure_streams(settings)
    publisher = open_publisher(settings)
    patients = [f"p{n:03}" for n in range(40)]
    publisher.publish_all([(f"vitals.v1.ward_a.{p}.d.ecg-ii", [], b"") for p in patients])
    publisher.publish_all([(f"vitals.v1.ward_a.{p}.control.ack", [], b"") for p in patients])
    stored = admin.info("VITALS", subjects_filter="vp.*.ward_a.>").state.subjects
    expected = {
        f"vp.{partition_of('ward_a', p, 8)}.ward_a.{p}.{rest}" for p in patients for rest in ("d.ecg-ii", "control.ack")
    }
    assert set(stored) == expected
    with pytest.raises(nats.js.errors.NoStreamResponseError):
        admin(admin.js.publish("vp.3.ward_a.p000.d.ecg-ii", b""))
