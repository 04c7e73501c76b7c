"""The lake's writer without an engine: what a state is worth, merges, lost states, files of before a column."""

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from connectors.lake.layout import READY, TEMPORARY, Facts, FileName, files, folder, write
from connectors.lake.merge import finish, merge
from connectors.lake.read import current, physical, scan
from connectors.lake.rows import INVALID, counts, frame_of
from connectors.lake.sink import LakePartition
from dataflows.contracts.tables import OBSERVATIONS
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings

NS = 1_000_000_000
DAY = 1_795_046_400 * NS  # 2026-11-19, midnight UTC


def readings(seqs, patient="p1", at_ns=DAY):
    """Rows of `observations`, one a second."""
    return [
        (
            *(at_ns + seq * NS, "main", patient, "oximeter", 1, "numeric", seq),
            *("spo2", 90.0 + seq % 10, "%", None, 0, False, False, float("nan"), seq, at_ns, at_ns + seq * NS),
        )
        for seq in seqs
    ]


def batch(seqs, **changes):
    return [StoredRows([("observations", readings(seqs, **changes))])]


@pytest.fixture
def lake(tmp_path):
    return LakeSettings(root=tmp_path / "lake", merge_files=3)


def writer(lake, state=None):
    return LakePartition(lake, 0, "6a1b", state)


def seqs(lake):
    return scan(lake.root, "observations").sort("seq").collect()["seq"].to_list()


@pytest.mark.parametrize("lsb", [0.005, 0.0048828125, 1 / 3, 1.0, 1e-6])
def test_every_count_comes_back(lsb):
    values = np.arange(-32767, 32768, dtype=np.int16)
    sent = np.append(values.astype(np.float64) * lsb, np.nan)
    assert counts(sent, lsb).tolist() == [*values.tolist(), INVALID]


def test_rows_come_back_as_the_database_keeps_them(lake):
    part = writer(lake)
    part.write_batch(batch(range(5)))
    part.snapshot()
    expected = frame_of("observations", readings(range(5)))
    found = scan(lake.root, "observations").collect()
    assert_frame_equal(found, expected)
    assert found["averaging_s"].null_count() == 5  # NaN is null


def test_what_a_killed_epoch_wrote_is_written_again_under_the_same_names(lake):
    part = writer(lake)
    part.write_batch(batch(range(10)))
    state = part.snapshot()
    part.write_batch(batch(range(10, 20)))
    part.snapshot()
    before = {path.name: pl.read_parquet(path) for path in current(lake.root, "observations")}
    # Killed before the second epoch was committed; the same rows come in other batches.
    again = writer(lake, state)
    assert seqs(lake) == list(range(10))
    for seq in range(10, 20):
        again.write_batch(batch([seq]))
    again.snapshot()
    after = {path.name: pl.read_parquet(path) for path in current(lake.root, "observations")}
    assert before.keys() == after.keys()
    assert all(before[name].equals(after[name]) for name in before)


def test_many_rows_are_written_before_the_epoch_ends(lake):
    part = writer(lake.model_copy(update={"file_rows": 4}))
    state = part.snapshot()
    part.write_batch(batch(range(5)))
    assert seqs(lake) == [0, 1, 2, 3, 4]
    writer(lake, state)
    assert seqs(lake) == []


def test_days_lie_apart_by_the_time_of_the_row(lake):
    part = writer(lake)
    part.write_batch(batch([1], at_ns=DAY - 2 * NS) + batch([2]))
    part.snapshot()
    days = {path.parents[1].name for path in current(lake.root, "observations")}
    assert days == {"date=2026-11-18", "date=2026-11-19"}


def test_small_files_become_one_once_they_are_safe(lake):
    part, states = writer(lake), []
    for epoch in range(6):
        part.write_batch(batch(range(10 * epoch, 10 * epoch + 10)))
        states.append(part.snapshot())
        assert seqs(lake) == list(range(10 * epoch + 10))
    names = [name.number for name, _ in files(folder(lake.root, "observations", "2026-11-19", 0))]
    assert len(names) < 6
    # The engine commits in order: the last state but one is the oldest that a start may bring.
    writer(lake, states[-2])
    assert seqs(lake) == list(range(50))


def test_a_merge_that_was_killed_is_exact_for_readers_and_ended_by_the_next_start(lake, monkeypatch):
    part = writer(lake)
    for epoch in range(2):
        part.write_batch(batch(range(10 * epoch, 10 * epoch + 10)))
        state = part.snapshot()
    place = folder(lake.root, "observations", "2026-11-19", 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("connectors.lake.merge._take_over", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(place, files(place))
    (place / f"left{TEMPORARY}").touch()
    assert len(list(place.glob(f"*{READY}"))) == 1
    assert seqs(lake) == list(range(20))
    next(path for _, path in files(place)).unlink()  # as far as removing the first source
    assert seqs(lake) == list(range(20))
    writer(lake, state)
    assert seqs(lake) == list(range(20))
    assert len(list(place.iterdir())) == 1


def test_without_its_state_a_writer_leaves_out_what_files_hold(lake):
    part = writer(lake)
    part.write_batch(batch(range(10)))
    part.snapshot()
    fresh = writer(lake)
    fresh.write_batch(batch(range(5, 15)) + batch(range(5, 15), patient="p2"))
    state = fresh.snapshot()
    frame = scan(lake.root, "observations").collect()
    assert frame.filter(patient="p1")["seq"].sort().to_list() == list(range(15))
    assert frame.filter(patient="p2").height == 10
    writer(lake, state)
    assert scan(lake.root, "observations").collect().height == 25


def test_a_stream_that_was_made_anew_overwrites_nothing(lake):
    part = writer(lake)
    part.write_batch(batch(range(3)))
    part.snapshot()
    other = LakePartition(lake, 0, "6a1c", None)
    other.write_batch(batch(range(3), patient="p2"))
    other.snapshot()
    assert scan(lake.root, "observations").collect().height == 6
    with pytest.raises(ValueError, match="deleted since"):
        writer(lake, other.snapshot())
    with pytest.raises(ValueError, match="cannot be read"):
        writer(lake, b"nonsense")


def test_a_column_that_was_added_is_null_in_older_files(lake):
    old = frame_of("observations", readings(range(3))).drop("averaging_s")
    place = folder(lake.root, "observations", "2026-11-19", 0)
    write(old, place / str(FileName("6a1b", 0, 0)), Facts(DAY, DAY), 3)
    part = writer(lake, None)
    part.write_batch(batch(range(3, 6)))
    part.snapshot()
    frame = scan(lake.root, "observations").collect()
    assert frame["averaging_s"].null_count() == 6
    merge(place, files(place))
    assert_frame_equal(scan(lake.root, "observations").collect().sort("seq"), frame.sort("seq"))


def test_samples_are_physical_again(lake):
    sent = np.array([0.005, -0.01, np.nan])
    row = (DAY, "main", "p1", "d", 1, "ecg_ii", 0, 250.0, 0.005, 0, False, 0, sent, DAY, DAY)
    part = writer(lake)
    part.write_batch([StoredRows([("waveforms", [row])])])
    part.snapshot()
    stored = scan(lake.root, "waveforms")
    assert stored.collect()["samples"].to_list() == [[1, -2, INVALID]]
    assert physical(stored).collect()["samples"].to_list() == [[0.005, -0.01, None]]


def test_a_folder_without_leftovers_is_left_alone(lake):
    place = folder(lake.root, OBSERVATIONS.name, "2026-11-19", 0)
    place.mkdir(parents=True)
    (place / "README.txt").write_text("not ours")
    finish(place)
    assert [path.name for path in place.iterdir()] == ["README.txt"]
    assert current(lake.root, "observations") == []
