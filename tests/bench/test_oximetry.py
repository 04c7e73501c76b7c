"""What other programs may expect of `bench/oximetry.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.bench.program import run


def csv(path: Path, times_s: np.ndarray, values: np.ndarray) -> None:
    rows = (f"{at:g},{'' if np.isnan(value) else f'{value:g}'}" for at, value in zip(times_s, values, strict=True))
    path.write_text("t,spo2\n" + "\n".join(rows) + "\n")


def test_the_document_has_its_shape_and_a_bad_file_loses_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "nights"
    folder.mkdir()
    at = np.arange(3600.0)
    dips = np.round(np.interp(at % 300, [0, 100, 130, 140, 160, 300], [96, 96, 88, 88, 96, 96]))
    csv(folder / "one_hz.csv", at, dips)
    csv(folder / "quarter_hz.csv", at[::4], dips[::4])
    csv(folder / "two_hz.csv", np.arange(0, 3600, 0.5), np.repeat(dips, 2))
    gap = dips.copy()
    gap[1000:1600] = np.nan
    csv(folder / "gap.csv", at, gap)
    csv(folder / "rows_missing.csv", at[~np.isnan(gap)], gap[~np.isnan(gap)])
    csv(folder / "none.csv", at, np.full(3600, 127.0))
    wrong = np.where(at == 50, 1e13, at)
    csv(folder / "a_wrong_time.csv", wrong, dips)
    (folder / "one_hz.txt").write_text("\n".join(f"{value:g}" for value in dips[:600]))
    (folder / "empty.csv").write_text("")
    (folder / "other.csv").write_text("t,spo2\nnoon,96\n")
    (folder / "bytes.csv").write_bytes(b"t,spo2\n0,\x00\xff\n1,96\n2,96\n")
    (folder / "long_field.csv").write_text("t,spo2\n0," + "9" * 200_000 + "\n")
    found = run("oximetry", folder, "--quick")["recordings"]
    for name in ("one_hz", "quarter_hz", "two_hz", "gap", "rows_missing", "none"):
        assert {"hours", "odi3", "odi4", "t90_pct", "events"} <= set(found[name]), name
        for event in found[name]["events"]:
            assert {"onset_s", "nadir_s", "end_s", "drop"} <= set(event)
            assert event["onset_s"] <= event["nadir_s"] <= event["end_s"]
            assert event["drop"] >= 3
    for name in ("one_hz", "quarter_hz", "two_hz"):
        assert len(found[name]["events"]) == 12
        assert found[name]["hours"] == pytest.approx(1.0, abs=0.01)
        assert found[name]["odi3"] == pytest.approx(12, abs=0.2)
        assert found[name]["t90_pct"] == pytest.approx(100 * 24 / 300, abs=3)
    assert found["one_hz.txt"]["hours"] == pytest.approx(600 / 3600, abs=0.01)
    assert found["gap"] == found["rows_missing"]
    assert len(found["gap"]["events"]) == 10
    assert found["none"]["events"] == []
