"""A replay through the real servers ends with what the file runner gives: samples once, the same beats and alerts."""

import asyncio
import os
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from connectors.batch.work import steps
from connectors.cli.replay import run
from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.questdb.frames import table_frame
from dataflows.contracts.tables import TABLES
from tests.faults.whole import Whole, doubles
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow]
START_NS = 1_795_000_000_000_000_000


def by_the_file_runner(whole, plan):
    """Rows of every table and alerts in log order, as (id, subject and body)."""
    rows, alerts = {}, []
    for step in steps(whole.settings, plan):
        alerts += step.alerts
        for source in (step.output, *step.verdicts):
            for name, found in source.rows():
                rows.setdefault(name, []).extend(found)
    frames = {name: table_frame(name, rows.get(name, [])) for name in TABLES}
    bodies = sorted((alert.message_id, alert.subject().encode() + b" " + alert.body()) for alert in alerts)
    return frames, bodies


def is_empty(whole, stream):
    _, first, last = whole.publisher().stream_state(stream)
    return last < first or last == 0  # the second: nothing was ever in it


def by_the_servers(whole, plan):
    """The same from QuestDB and ALERTS, once the flow has come to the end."""
    flow = whole.flow()
    try:
        publisher = asyncio.run(run(whole.settings, plan, lambda *_: None))
        # What was published is the whole log: frames, and the closing tick of each partition.
        until(lambda: min(flow.metrics().get("nats_snapshot_seq", [-1])) >= publisher.stored, 120, poll_s=0.2)
        until(lambda: set(flow.metrics().get("nats_pending_messages", [])) == {0.0}, 30, poll_s=0.2)
    finally:
        flow.stop()
    # On a busy machine QuestDB is late at times, and rows take the way through SPILL.
    until(lambda: is_empty(whole, "SPILL"), 120, poll_s=0.5)
    assert whole.messages("REJECTED") == []
    alerts = whole.messages("ALERTS")
    assert doubles(alerts) == []
    return whole.rows(), sorted(alerts)


def compare(whole, plan):
    rows, alerts = by_the_servers(whole, plan)
    expected, bodies = by_the_file_runner(whole, plan)
    assert alerts == bodies
    for name in TABLES:
        columns = [column for column in expected[name].columns if column != "samples"]
        frame = rows[name].select(expected[name].columns).cast(dict(expected[name].schema))
        assert_frame_equal(frame.sort(columns), expected[name].sort(columns), check_exact=True)
    recorded = sum(wave.counts.size for recording in plan.recordings for wave in recording.waves)
    assert rows["waveforms"]["samples"].list.len().sum() == recorded * plan.patients
    return rows


@pytest.fixture
def whole(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path, log_time="header")
    yield whole
    whole.close()


def test_the_sample_gives_the_same_through_the_servers_as_through_the_file_runner(whole):
    plan = Plan([load(path) for path in samples.ALL], speed=0, start_ns=START_NS, boot=1, patients=2)
    rows = compare(whole, plan)
    assert rows["desaturations"].height > 0
    assert rows["alerts"].filter(pl.col("rule") == "asystole").height > 0


def test_a_whole_record_at_50_times_life_arrives_once_with_the_detectors_beats(whole):
    data = os.environ.get("VITALS_DATA")
    if data is None or not (Path(data) / "ecg" / "mitdb" / "208.hea").exists():
        pytest.skip("VITALS_DATA does not name the MIT-BIH Arrhythmia Database")
    plan = Plan([load(Path(data) / "ecg" / "mitdb" / "208")], speed=50, start_ns=START_NS, boot=1)
    rows = compare(whole, plan)
    assert rows["waveforms"].height == 2 * 1806
    assert rows["beats"].height > 5000
