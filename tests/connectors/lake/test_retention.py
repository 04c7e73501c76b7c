"""Old days leave the lake: by log time, whole, on record, through kills at any moment."""

import json
import shutil

import duckdb
import pytest

from connectors.lake import retention
from connectors.lake.layout import folder
from connectors.lake.read import current, scan
from connectors.lake.sink import LakePartition
from dataflows.contracts.tables import TABLES
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings
from tests.connectors.lake.test_sink import DAY, NS, readings

DAY_NS = 86_400 * NS


@pytest.fixture
def lake(tmp_path):
    return LakeSettings(root=tmp_path / "lake", merge_files=3, rows_keep_d=2)


def writer(lake, state=None):
    return LakePartition(lake, 0, "6a1b", state)


def alert(day):
    """A row of `alerts`, which stay for ever."""
    names = [name for name, _ in TABLES["alerts"].columns]
    row = dict.fromkeys(names) | {"ts": DAY + day * DAY_NS, "tenant": "main", "patient": "p1", "boot": 1, "seq": day}
    row |= {"alert_id": "6f1dbf62-8a5f-5d6c-9a5e-0c7e3a0f4b11", "transition": day, "log_ns": DAY + day * DAY_NS}
    return tuple(row[name] for name in names)


def day_of(part, day):
    """Five readings and an alert of a day, as an epoch; returns the state."""
    rows = readings(range(5), at_ns=DAY + day * DAY_NS)
    part.write_batch([StoredRows([("observations", rows), ("alerts", [alert(day)])])])
    return part.snapshot()


def days(lake, table="observations"):
    return sorted(scan(lake.root, table).collect()["ts"].dt.strftime("%d").unique())


def told(lake):
    path = retention.manifest(lake.root, 0)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_days_beyond_the_setting_go_and_are_on_record(lake):
    part = writer(lake)
    for day in range(5):
        day_of(part, day)
    assert days(lake) == ["21", "22", "23"]
    assert days(lake, "alerts") == ["19", "20", "21", "22", "23"]
    record = told(lake)
    assert [(one["table"], one["date"], one["bucket"], one["rows"]) for one in record] == [
        ("observations", "2026-11-19", 0, 5),
        ("observations", "2026-11-20", 0, 5),
    ]
    assert record[0]["bytes"] > 0
    assert record[0]["last_log_ns"] == DAY + 4 * NS
    assert not (lake.root / "observations" / "schema=1" / "date=2026-11-19").exists()
    assert list((lake.root / retention.LEAVING).iterdir()) == []
    found = duckdb.sql(f"SELECT count(*) FROM read_parquet('{lake.root}/observations/schema=1/**/*.parquet')")
    assert found.fetchall() == [(15,)]


def test_without_the_setting_nothing_goes(lake):
    part = writer(lake.model_copy(update={"rows_keep_d": 0, "waveforms_keep_d": 1}))
    for day in range(5):
        day_of(part, day)
    assert len(days(lake)) == 5
    assert told(lake) == []


@pytest.mark.parametrize("moment", ["renamed", "told", "half deleted"])
def test_a_removal_that_was_killed_is_finished_and_told_once(lake, moment, monkeypatch):
    part = writer(lake)
    states = [day_of(part, day) for day in range(2)]
    kept = lake.model_copy(update={"rows_keep_d": 1})
    calls = {"renamed": (retention, "_finish"), "told": (shutil, "rmtree"), "half deleted": (shutil, "rmtree")}

    def killed(*arguments):
        if moment == "half deleted":
            next(arguments[0].glob("*.parquet")).unlink()
        raise KeyboardInterrupt

    later = writer(kept, states[-1])
    with monkeypatch.context() as patch:
        patch.setattr(*calls[moment], killed)
        with pytest.raises(KeyboardInterrupt):
            day_of(later, 2)
    # For a reader the day is gone from the moment of the rename on.
    assert "19" not in days(lake)
    again = writer(kept, states[-1])
    assert list((lake.root / retention.LEAVING).iterdir()) == []
    day_of(again, 2)
    assert days(lake) == ["20", "21"]
    assert [(one["date"], one["rows"]) for one in told(lake)] == [("2026-11-19", 5)]


def test_what_comes_late_for_a_day_that_is_gone_goes_at_the_next_look(lake):
    part = writer(lake)
    for day in range(4):
        day_of(part, day)
    part.write_batch([StoredRows([("observations", readings(range(7, 9), at_ns=DAY))])])
    part.snapshot()
    assert days(lake)[0] == "19"
    day_of(part, 4)
    assert days(lake) == ["21", "22", "23"]
    assert [one["rows"] for one in told(lake)] == [5, 2, 5]


def test_buckets_do_not_touch_each_other(lake):
    mine, other = writer(lake), LakePartition(lake, 1, "6a1b", None)
    day_of(other, 0)
    for day in range(4):
        day_of(mine, day)
    assert folder(lake.root, "observations", "2026-11-19", 1).exists()
    assert not folder(lake.root, "observations", "2026-11-19", 0).exists()
    assert not retention.manifest(lake.root, 1).exists()
    assert len(current(lake.root, "observations")) == 4
