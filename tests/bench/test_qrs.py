"""The scorer reads what WFDB folders hold: any format, channel and rate, and one broken record hides no other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import typer
import wfdb
from typer.testing import CliRunner

from bench.qrs import main
from bench.qrs_scoring import INVALID, load, sixteen_bits

SECONDS = 40


def write(folder: Path, name: str, fs_hz: int, fmt: str, scale: int, *, offset: int = 0) -> npt.NDArray[np.int64]:
    """Writes a record of two channels, a flat one and one with a beat every 0.8 s; returns the beats."""
    count, beats = SECONDS * fs_hz, np.arange(int(0.5 * fs_hz), SECONDS * fs_hz - fs_hz, int(0.8 * fs_hz))
    near = np.abs(np.arange(count)[:, None] - beats[None, :]).min(axis=1) / fs_hz
    wave = np.round(100 * np.exp(-((near / 0.012) ** 2))).astype(np.int64) * scale + offset
    signals = np.stack([np.zeros_like(wave), wave], axis=1)
    wfdb.wrsamp(
        name,
        fs=fs_hz,
        units=["mV", "mV"],
        sig_name=["flat", "II"],
        d_signal=signals,
        fmt=[fmt, fmt],
        adc_gain=[100.0 * scale] * 2,
        baseline=[offset] * 2,
        write_dir=str(folder),
    )
    wfdb.wrann(name, "qrs", beats, symbol=["N"] * len(beats), fs=fs_hz, write_dir=str(folder))
    return beats


@pytest.mark.parametrize(
    ("fmt", "scale", "offset", "fs_hz"),
    [
        ("80", 1, 0, 250),
        ("212", 10, 0, 128),
        ("16", 100, 0, 500),
        ("24", 10_000, 3_000_000, 360),
        ("32", 10**6, 0, 1000),
    ],
)
def test_every_format_gives_the_same_millivolts(tmp_path: Path, fmt: str, scale: int, offset: int, fs_hz: int) -> None:
    beats = write(tmp_path, "r", fs_hz, fmt, scale, offset=offset)
    record = load(tmp_path, "r", "qrs", 1)
    assert (record.fs_hz, record.beats.tolist()) == (fs_hz, beats.tolist())
    millivolts = record.samples[beats] / record.gain - np.median(record.samples) / record.gain
    assert np.allclose(millivolts, 1.0, atol=0.01)


def test_wider_values_are_scaled_and_keep_their_invalid_samples() -> None:
    wide = np.array([8_000_000, 8_100_000, 0, 7_900_000, 8_000_000])
    samples, divisor = sixteen_bits(wide, wide == 0)
    assert samples[2] == INVALID
    assert divisor == 4
    assert samples.tolist() == [0, 25_000, INVALID, -25_000, 0]


def test_the_table_has_every_record_that_can_be_read(tmp_path: Path) -> None:
    for name, fmt, fs_hz in [("a", "16", 250), ("b", "212", 360)]:
        write(tmp_path, name, fs_hz, fmt, 10)
    for name, text in [
        ("broken", "junk"),
        ("empty", ""),
        ("gone", "gone 1 250 10000\ngone.dat 16 200 16 0 0 0 0 II\n"),
    ]:
        (tmp_path / f"{name}.hea").write_text(text)
        (tmp_path / f"{name}.qrs").write_bytes((tmp_path / "a.qrs").read_bytes())
    app = typer.Typer()
    app.command()(main)
    file = tmp_path / "table.json"
    result = CliRunner().invoke(app, [str(tmp_path), "--annotator", "qrs", "--channel", "1", "--json", str(file)])
    assert result.exit_code == 0, result.output
    table = json.loads(file.read_text())
    assert sorted(table["records"]) == ["a", "b"]
    assert sorted(table["unread"]) == ["broken", "empty", "gone"]
    assert table["total"]["tp"] == table["records"]["a"]["tp"] + table["records"]["b"]["tp"] > 90
    assert table["total"]["f1"] > 99
    nothing = CliRunner().invoke(app, [str(tmp_path), "--annotator", "qrs", "--channel", "7"])
    assert nothing.exit_code == 2
    assert "channel 7 of 2" in nothing.output
