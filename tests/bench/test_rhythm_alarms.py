"""What other programs may expect of `bench/rhythm_alarms.py`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import wfdb

from bench.rhythm_alarms import alarms, decision, evidence_of
from dataflows.alarm_score import shipped
from tests.bench.program import run

LIES = "# Asystole\n# True alarm\n# False alarm\n"
SAMPLE = 4
"""Records of each kind and truth."""


@pytest.fixture(scope="module")
def recorded() -> Path:
    folder = Path(os.environ.get("VITALS_DATA", "")) / "ecg" / "cinc2015"
    if not (folder / "ALARMS").exists():
        pytest.skip("VITALS_DATA has no ecg/cinc2015")
    return folder


def few(folder: Path) -> list[tuple[str, str, bool]]:
    listed = [(one.record, one.kind, one.truth) for one in alarms(folder)]
    groups = sorted({(kind, truth) for _, kind, truth in listed})
    return [one for group in groups for one in [one for one in listed if one[1:] == group][:SAMPLE]]


def copy(folder: Path, record: str, to: Path, name: str) -> None:
    """A record under another name, with other comments."""
    header = (folder / f"{record}.hea").read_text().replace(record, name).splitlines()
    kept = [line for line in header if not line.startswith("#")]
    (to / f"{name}.hea").write_text("\n".join(kept) + "\n" + LIES)
    shutil.copy(folder / f"{record}.dat", to / f"{name}.dat")


def test_decisions_know_neither_names_nor_truth_nor_comments(recorded: Path, tmp_path: Path) -> None:
    chosen = few(recorded)
    plain, disguised = tmp_path / "plain", tmp_path / "disguised"
    plain.mkdir()
    disguised.mkdir()
    for number, (record, _, _) in enumerate(chosen):
        for suffix in (".hea", ".dat"):
            shutil.copy(recorded / f"{record}{suffix}", plain)
        copy(recorded, record, disguised, f"x{number}")
    lines = [f"{record},{kind},{int(truth)}\n" for record, kind, truth in chosen]
    (plain / "ALARMS").write_text("".join(lines))
    (disguised / "ALARMS").write_text("".join(f"x{n},{kind}\n" for n, (_, kind, _) in enumerate(chosen)))
    told, blind = run("rhythm_alarms", plain), run("rhythm_alarms", disguised)
    assert set(told) == {"total", "kinds", "records"}
    assert set(told["total"]) == {"tp", "fp", "fn", "tn", "score"}
    assert set(told["kinds"]) == {kind for _, kind, _ in chosen}
    for number, (record, kind, truth) in enumerate(chosen):
        assert told["records"][record] == {
            "alarm": kind,
            "truth": truth,
            "decision": told["records"][record]["decision"],
        }
        assert blind["records"][f"x{number}"]["decision"] is told["records"][record]["decision"], record
    decisions = [one["decision"] for one in told["records"].values()]
    assert {True, False} <= set(decisions)
    total = told["total"]
    assert total["tp"] + total["fp"] == sum(decisions)
    whole = total["tp"] + total["tn"] + total["fp"] + 5 * total["fn"]
    assert total["score"] == pytest.approx(100 * (total["tp"] + total["tn"]) / whole, abs=0.01)


def lead(fs_hz: int, seconds: int) -> np.ndarray:
    """A lead at 75/min that stops for the last eight seconds."""
    time_s = np.arange(seconds * fs_hz) / fs_hz
    phase = time_s % 0.8 - 0.4
    beats = np.exp(-((phase / 0.012) ** 2)) - 0.2 * np.exp(-(((phase - 0.03) / 0.012) ** 2))
    return np.where(time_s < seconds - 8, beats, 0.0) + np.random.default_rng(1).normal(0, 0.005, time_s.size)


def write(folder: Path, name: str, fs_hz: int, signals: dict[str, np.ndarray], units: list[str]) -> None:
    wfdb.wrsamp(
        name, fs=fs_hz, units=units, sig_name=list(signals), p_signal=np.stack(list(signals.values()), 1),
        fmt=["16"] * len(signals), write_dir=str(folder),
    )  # fmt: skip


def test_an_alarm_that_cannot_be_checked_stands(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name in ("no_samples", "cut_off", "garbled", "only_pulse"):
        write(folder, name, 250, {"II": lead(250, 40), "V": lead(250, 40)}, ["mV", "mV"])
    (folder / "no_samples.dat").unlink()
    (folder / "cut_off.dat").write_bytes((folder / "cut_off.dat").read_bytes()[:1001])
    (folder / "garbled.hea").write_text("what is this\n")
    write(folder, "only_pulse", 250, {"PLETH": lead(250, 40)}, ["NU"])
    names = ["no_samples", "cut_off", "garbled", "only_pulse", "absent"]
    (folder / "ALARMS").write_text("".join(f"{name},Asystole,0\n" for name in names) + "\n")
    records = run("rhythm_alarms", folder)["records"]
    assert {name: records[name]["decision"] for name in names} == dict.fromkeys(names, True)


@pytest.mark.parametrize("fs_hz", [125, 250, 360, 1000])
def test_any_rate_and_no_pulse_wave(fs_hz: int, tmp_path: Path) -> None:
    stopped = lead(fs_hz, 60)
    write(tmp_path, "alone", fs_hz, {"ECG": stopped}, ["mV"])
    assert decision(tmp_path / "alone", "Asystole")
    beating = lead(fs_hz, 68)[: 60 * fs_hz]
    write(tmp_path, "beating", fs_hz, {"ECG": beating}, ["mV"])
    how_likely = [
        shipped().judge("Asystole", evidence_of(tmp_path / name)).probability for name in ("alone", "beating")
    ]
    assert how_likely[0] > how_likely[1] + 0.1


def test_invalid_samples_and_a_lost_signal_file_leave_the_rest(tmp_path: Path) -> None:
    stopped = lead(250, 60)
    write(
        tmp_path, "a", 250, {"II": stopped, "V": np.where(np.arange(len(stopped)) < 250, stopped, np.nan)}, ["mV", "mV"]
    )
    assert decision(tmp_path / "a", "Asystole")
    header = (tmp_path / "a.hea").read_text().splitlines()
    header[2] = header[2].replace("a.dat", "lost.dat")
    one = wfdb.rdrecord(str(tmp_path / "a"), channels=[0])
    write(tmp_path, "a", 250, {"II": one.p_signal[:, 0]}, ["mV"])
    (tmp_path / "a.hea").write_text("\n".join(header) + "\n")
    assert decision(tmp_path / "a", "Asystole")


def test_a_kind_nobody_knows_stands(tmp_path: Path) -> None:
    write(tmp_path, "a", 250, {"II": lead(250, 60)}, ["mV"])
    assert decision(tmp_path / "a", "Torsades")
