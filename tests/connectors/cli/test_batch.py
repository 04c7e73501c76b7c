"""`vitals batch` over folders and lakes: the same rows on one processor and on two, from files and from Parquet."""

import json
import shutil

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from connectors.batch.sources import Archived, Recorded
from connectors.batch.work import judged
from connectors.devices import samples
from connectors.lake.sink import LakePartition
from dataflows.contracts.tables import TABLES
from dataflows.settings import LakeSettings, Settings

START_NS = 1_795_000_000_000_000_000


@pytest.fixture
def folder(tmp_path):
    """Two WFDB records and a table of numerics, one of them deeper."""
    for path in samples.ALL:
        for file in path.parent.glob(f"{path.stem}.*"):
            place = tmp_path / "in" / ("deep" if path.suffix else "")
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    return tmp_path / "in"


def written(out):
    frames = {path.stem: pl.read_parquet(path) for path in out.glob("*.parquet")}
    return {name: frame.sort([c for c in frame.columns if c != "samples"]) for name, frame in frames.items()}


def test_a_folder_gives_the_same_on_two_processors(vitals, folder, tmp_path, monkeypatch):
    monkeypatch.setattr("connectors.cli.batch.time.time_ns", lambda: START_NS)
    for jobs in (1, 2):
        code, out, _ = vitals("batch", folder, "--jobs", jobs, "--out", tmp_path / f"out{jobs}")
        assert code == 0
        assert "100 % of 4 recordings" in out
    one, two = written(tmp_path / "out1"), written(tmp_path / "out2")
    assert one.keys() == two.keys()
    assert one["beats"].height > 1000
    for name, frame in one.items():
        assert_frame_equal(frame, two[name])
    alerts = [(tmp_path / out / "alerts.jsonl").read_text() for out in ("out1", "out2")]
    assert alerts[0] == alerts[1] != ""
    assert sorted(path.suffix for path in (tmp_path / "out1").iterdir()).count(".jsonl") == 1
    assert not [path for path in (tmp_path / "out1").iterdir() if path.is_dir()]


def test_a_damaged_record_is_named_and_costs_no_other(vitals, folder):
    (folder / "203.dat").write_bytes(b"xx")
    code, out, _ = vitals("batch", folder, "--jobs", 1)
    assert code == 1
    assert "left out: " in out
    assert "203" in next(line for line in out.splitlines() if line.startswith("left out"))
    assert "spo2_desaturation" in out


def test_an_empty_folder_and_doubled_names_are_said(vitals, tmp_path, folder):
    (tmp_path / "empty").mkdir()
    assert "holds no WFDB record" in vitals("batch", tmp_path / "empty")[2]
    assert "several recordings are called 100" in vitals("batch", folder, samples.NORMAL)[2]


def rows_and_alerts(source):
    rows, alerts = {}, []
    for step in judged(Settings(), source.log()):
        alerts += [json.loads(alert.body()) for alert in step.alerts]
        for found in (step.output, *step.verdicts):
            for name, some in found.rows():
                rows.setdefault(name, []).extend(some)
        assert step.rejects == []
    return rows, alerts


# Where signals share a log time (a replay's; the live log has a time for each message) the lake takes them by name,
# which is the order of these recordings, too.
@pytest.mark.parametrize("name", ["100", "203", "uw_100006.csv"])
def test_the_lake_analysed_again_gives_what_the_files_gave(name, tmp_path):
    path = next(path for path in samples.ALL if path.name == name)
    source = Recorded(path, None, None, START_NS)
    rows, alerts = rows_and_alerts(source)
    writer = LakePartition(LakeSettings(root=tmp_path), 0, "6a1b", None)

    class Rows:
        def rows(self):
            return list(rows.items())

    writer.write_batch([Rows()])
    writer.snapshot()
    again, alerts_again = rows_and_alerts(Archived(tmp_path, "main", path.stem))
    assert alerts_again == alerts
    assert again.keys() == rows.keys()
    for table in again:
        columns = [column for column, _ in TABLES[table].columns]
        cut = columns.index("samples") if table == "waveforms" else len(columns)
        first, second = (sorted(repr(row[:cut]) for row in found[table]) for found in (rows, again))
        assert second == first
