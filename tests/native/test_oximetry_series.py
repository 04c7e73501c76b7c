"""Indices and alarms of a series, nights of known truth, and the recorded data sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.oximetry import alarms_of, induced, score
from bench.oximetry_data import Recording, recordings
from bench.oximetry_nights import Kind, night, pairs
from dataflows.detectors import DesaturationDetector, SpO2Bank, SpO2Limits, SpO2Series

NONE = float("nan")


@pytest.fixture(scope="module")
def vitals() -> Path:
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    return Path(root) / "vitals"


@pytest.mark.parametrize("profile", ["standard", "sensitive"])
@pytest.mark.parametrize("falls_per_h", [5.0, 30.0, 60.0])
def test_falls_of_synthetic_nights_are_found(falls_per_h: float, profile: str) -> None:
    hits = events = truths = 0
    for seed in range(3):
        values, falls = night(Kind(falls_per_h / 0.75), seed + 100)
        detector = DesaturationDetector(profile=profile)
        found = [one for one in detector.push(values) + detector.flush() if one.kind != "provisional"]
        truth = [(float(fall.start_s), float(fall.end_s)) for fall in falls]
        hits += pairs(truth, [(one.onset_s, one.end_s) for one in found])
        events, truths = events + len(found), truths + len(truth)
    assert hits / truths >= 0.97
    assert hits / events >= (0.95 if profile == "standard" else 0.90)


@pytest.mark.parametrize("fs_hz", [0.2, 0.5, 2.0, 4.0])
def test_other_rates_find_the_same_falls(fs_hz: float) -> None:
    values, falls = night(Kind(40.0), 200)
    series = values[:: round(1 / fs_hz)] if fs_hz < 1 else np.repeat(values, round(fs_hz))
    detector = DesaturationDetector(fs_hz)
    found = [one for one in detector.push(series) + detector.flush() if one.kind != "provisional"]
    truth = [(float(fall.start_s), float(fall.end_s)) for fall in falls]
    hits = pairs(truth, [(one.onset_s, one.end_s) for one in found])
    assert 2 * hits / (len(found) + len(truth)) >= 0.94


@pytest.mark.parametrize("fs_hz", [0.2, 1.0, 4.0])
def test_indices_are_what_their_definitions_say(fs_hz: float) -> None:
    values = np.repeat(night(Kind(40.0), 300)[0], 4)[:: round(4 / fs_hz)]
    series = SpO2Series(fs_hz)
    events = series.push(values)[0] + series.flush()[0]
    three = [one for one in events if one.kind != "provisional"]
    detector = DesaturationDetector(fs_hz, 4.0)
    four = [one for one in detector.push(values) + detector.flush() if one.kind != "provisional"]
    valid = values[(values >= 50) & (values <= 100)]
    indices = series.night()
    assert indices.valid_h == pytest.approx(len(valid) / fs_hz / 3600, rel=0.01)  # and short gaps that are bridged
    assert (indices.events3, indices.events4) == (len(three), len(four))
    assert indices.odi3 == pytest.approx(len(three) / indices.valid_h)
    assert indices.odi4 == pytest.approx(len(four) / indices.valid_h)
    for limit, part in ((90, indices.t90_pct), (88, indices.t88_pct), (85, indices.t85_pct)):
        assert part == pytest.approx(100 * (valid < limit).mean(), abs=0.05)
    assert indices.mean_pct == pytest.approx(valid.mean(), abs=0.01)
    assert indices.lowest_pct == pytest.approx(valid.min(), abs=0.001)
    areas = sum(one.area_pct_s for one in three) / 60 / indices.valid_h
    assert areas < indices.burden_pct_min_per_h < 1.6 * areas  # the way back up comes on top


def test_the_area_of_a_fall_is_what_it_lacks_to_its_baseline() -> None:
    values = np.concatenate([np.full(120, 96.0), np.linspace(96, 88, 41), np.linspace(88, 96, 41), np.full(300, 96.0)])
    series = SpO2Series()
    (_, event) = series.push(values)[0]
    lacking = 96 - values[round(event.onset_s) + 1 : round(event.end_s) + 1]
    assert event.area_pct_s == pytest.approx(lacking.sum(), rel=0.02)
    assert series.night().burden_pct_min_per_h == pytest.approx(8 * 80 / 2 / 60 / series.night().valid_h, rel=0.05)


def test_the_rolling_hour_forgets_and_a_night_begins_anew() -> None:
    dip = np.concatenate([np.full(60, 96.0), np.linspace(96, 88, 30), np.linspace(88, 96, 30)])
    series = SpO2Series(averaging_s=4.0)
    series.push(np.tile(dip, 30))
    assert series.hour().events3 == series.night().events3 == 30
    assert series.hour().t90_pct == series.night().t90_pct > 0
    assert series.night().comparable is False
    series.push(np.full(3600, 97.0))
    assert (series.hour().events3, series.hour().t90_pct) == (0, 0.0)
    assert series.night().events3 == 30
    series.begin_night()
    assert (series.night().events3, series.night().valid_h) == (0, 0.0)
    assert np.isnan(series.night().odi3)
    assert series.hour().valid_h == pytest.approx(1.0, abs=1 / 60)


def test_half_an_hour_without_a_finger_does_not_dilute_the_index() -> None:
    dip = np.concatenate([np.full(60, 96.0), np.linspace(96, 88, 30), np.linspace(88, 96, 30)])
    series = SpO2Series()
    series.push(np.concatenate([np.tile(dip, 15), np.full(1800, 127.0)]))
    assert series.night().odi3 == pytest.approx(30, rel=0.01)


def test_alarms_come_with_their_evidence_and_the_patients_limits() -> None:
    series = SpO2Series(limits=SpO2Limits(low=(92.0, 20.0), sat_seconds=None))
    _, alarms = series.push(np.concatenate([np.full(60, 96.0), np.full(60, 91.0), np.full(60, 95.0)]))
    assert [(one.rule, one.raised, one.onset_s, one.decided_s, one.limit) for one in alarms] == [
        ("spo2_below_90", True, 60.0, 80.0, 92.0),
        ("spo2_below_90", False, 60.0, 135.0, 92.0),
    ]
    assert (alarms[0].value, alarms[0].evidence_first_s, alarms[1].evidence_first_s) == (91.0, 60.0, 120.0)
    series.push(np.full(60, 91.0))
    (ended,) = series.set_limits(SpO2Limits(low=None))
    assert (ended.rule, ended.raised) == ("spo2_below_90", False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": (45.0, 30.0)},
        {"low": (90.0, NONE)},
        {"clear_s": -1.0},
        {"sat_seconds": (90.0, 0.0)},
        {"rapid_drop_pct": 60.0},
    ],
)
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SpO2Limits(**wrong)


def test_a_bank_refuses_what_does_not_fit() -> None:
    bank = SpO2Bank(2)
    with pytest.raises(ValueError, match="takes as many rows"):
        bank.push(np.full((3, 10), 96.0))
    with pytest.raises(TypeError):
        bank.push(np.full(10, 96.0))
    with pytest.raises(IndexError):
        bank.snapshot(2)
    with pytest.raises(ValueError, match="4 Hz"):
        bank.replace(0, SpO2Series(4.0).snapshot())


def test_healthy_adults_raise_no_alarm(vitals: Path) -> None:
    found, _ = recordings(vitals / "osv_healthy")
    assert len(found) == 36
    for recording in found:
        assert [one for one in alarms_of(recording, SpO2Limits()) if one.rule != "spo2_no_data"] == []
    events = [event for recording in found for event in score(recording)["events"]]
    assert 100 <= len(events) <= 150
    assert all(event["nadir"] > 89 for event in events)


def test_each_induced_stretch_below_90_is_alarmed(vitals: Path) -> None:
    found, _ = recordings(vitals / "uw_hypoxemia")
    rows = induced(found)
    assert len(rows) >= 28
    assert all(row["alarmed_after_s"] is not None and row["alarmed_after_s"] <= 30 for row in rows)


def test_the_benchmark_reads_any_csv(tmp_path: Path) -> None:
    values = np.concatenate(
        [np.full(120, 96), np.linspace(96, 88, 31), np.full(20, 88), np.linspace(88, 96, 21), np.full(60, 96)]
    )
    lines = [f"{at / 2},{'--' if at == 7 else round(value)}" for at, value in enumerate(np.repeat(values, 2))]
    (tmp_path / "night.csv").write_text("t,spo2\n" + "\n".join(lines) + "\n")
    (tmp_path / "broken.csv").write_text("t,spo2\nyesterday,high\n")
    (tmp_path / "notes.txt").write_text("nothing to see\n")
    out = tmp_path / "out.json"
    program = Path(__file__).parents[2] / "bench" / "oximetry.py"
    run = subprocess.run(
        [sys.executable, program, tmp_path, "--quick", "--json", out], check=True, capture_output=True, text=True
    )
    (recording,) = json.loads(out.read_text())["recordings"].values()
    (event,) = recording["events"]
    assert event["drop"] == 8.0
    assert event["onset_s"] == pytest.approx(120, abs=4)
    assert recording["odi3"] == pytest.approx(1 / recording["hours"], rel=0.01)
    assert recording["t90_pct"] == pytest.approx(100 * (np.round(values) < 90).mean(), abs=1)
    assert "broken.csv" in run.stderr


def test_a_grid_keeps_gaps(tmp_path: Path) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("time,SpO2\n" + "".join(f"2026-01-01T00:00:{second:02d}Z,96\n" for second in (0, 1, 2, 10, 10, 11)))
    ((recording,), _) = recordings(path)
    assert isinstance(recording, Recording)
    assert recording.fs_hz == 1.0
    assert np.isnan(recording.values).tolist() == [False] * 3 + [True] * 7 + [False] * 2
