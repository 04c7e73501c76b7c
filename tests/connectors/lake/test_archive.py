"""The archive's flow on a real server, killed again and again: the lake holds what the file runner gives, once."""

import asyncio
import threading
from collections import Counter

import duckdb
import polars as pl
import pyarrow.dataset as ds
import pytest
from polars.testing import assert_frame_equal

from connectors.batch.work import steps
from connectors.cli.archive import supervisor_of
from connectors.cli.console import nats_client
from connectors.cli.replay import run
from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.jetstream.streams import ensure_streams
from connectors.lake.read import current, physical, scan
from connectors.questdb.frames import table_frame
from dataflows.contracts.tables import TABLES
from dataflows.settings import FlowSettings, LakeSettings, RunSettings, StackSettings
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
PLAN = Plan([load(path) for path in samples.ALL], speed=40, start_ns=1_795_000_000_000_000_000, boot=1)
"""Twenty seconds, so that something is left to write whenever the archive is killed."""


@pytest.fixture
def settings(nats_server, tmp_path):
    base = nats_server.settings(log_time="header")
    # Small bites, so that there is something left to kill.
    flow = FlowSettings(batch_messages=40, poll_ms=20.0)
    lake = LakeSettings(root=tmp_path / "lake", epoch_s=1, file_rows=200, merge_files=3)
    stack = StackSettings(data_dir=tmp_path / "data")
    run_settings = RunSettings(workers=2, backoff_max_s=0.2)
    parts = {"flow": flow, "lake": lake, "stack": stack, "run": run_settings}
    settings = base.model_copy(update=parts)
    ensure_streams(settings)
    return settings


def archived(settings, kills):
    """Archives what is published meanwhile until everything is done, killed on the way; returns its restarts."""
    archive, published = supervisor_of(settings), []
    thread = threading.Thread(target=archive.run, daemon=True)
    thread.start()
    devices = threading.Thread(target=lambda: published.append(asyncio.run(run(settings, PLAN, lambda *_: None))))
    devices.start()
    killed = 0
    while killed < kills:
        files = set(settings.lake.root.rglob("*.parquet"))
        until(lambda before=files: set(settings.lake.root.rglob("*.parquet")) - before, 60)
        archive.flow.processes[0].kill()
        killed += 1
        until(lambda before=killed: archive.status.restarts >= before, 60)
    devices.join()
    stored = published[0].stored

    def done():
        durable = [partition.durable_seq for partition in archive.status.partitions.values()]
        return len(durable) == settings.streams.partitions and min(durable) >= stored

    until(done, 120, poll_s=0.1)
    archive.stop()
    thread.join(60)
    assert archive.status.restarts >= kills
    return archive.status.restarts


async def audited(settings):
    async with nats_client(settings, "test") as client:
        return (await client.jetstream().stream_info("AUDIT")).state.messages


def expected(settings):
    rows = {}
    for step in steps(settings, PLAN):
        for source in (step.output, *step.verdicts):
            for name, found in source.rows():
                rows.setdefault(name, []).extend(found)
    return {name: table_frame(name, rows.get(name, [])) for name in TABLES}


def test_the_lake_holds_every_row_once_after_kills_and_three_programs_read_it(settings):
    restarts = archived(settings, kills=3)
    assert asyncio.run(audited(settings)) == 1 + restarts  # each start
    root = settings.lake.root
    for name, frame in expected(settings).items():
        found = scan(root, name)
        found = (physical(found) if name == "waveforms" else found).collect()
        order = [column for column in frame.columns if column != "samples"]
        plain = frame.with_columns(pl.col(pl.String).replace("", None), pl.col(pl.Float64).fill_nan(None))
        if name == "waveforms":
            plain = plain.with_columns(pl.col("samples").list.eval(pl.element().fill_nan(None)))
        assert_frame_equal(found.sort(order), plain.sort(order), check_exact=True)
    recorded = sum(wave.counts.size for recording in PLAN.recordings for wave in recording.waves)

    pattern = f"{root}/waveforms/schema=1/**/*.parquet"
    query = (
        f"SELECT date, count(*), sum(len(samples)) FROM read_parquet('{pattern}') WHERE patient = '100' GROUP BY date"
    )
    days = duckdb.sql(query).fetchall()
    own = sum(wave.counts.size for recording in PLAN.recordings if recording.name == "100" for wave in recording.waves)
    assert sum(day[2] for day in days) == own
    whole = ds.dataset(root / "waveforms", partitioning="hive").to_table()
    assert sum(len(samples) for samples in whole["samples"]) == recorded
    assert len(Counter(path.parent for path in current(root, "waveforms"))) >= 2  # buckets
