"""The second opinion on arrhythmia alarms."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.rhythm_alarms import evidence_of, score
from dataflows.alarm_score import Forest, from_document, shipped
from dataflows.rhythm import AlarmEvidence

FS = 250.0


@pytest.fixture(scope="module")
def cinc2015() -> Path:
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    return Path(root) / "ecg" / "cinc2015"


def ecg(seconds: float, rate_hz: float = 1.2) -> np.ndarray:
    t = np.arange(round(seconds * FS)) / FS
    phase = (t * rate_hz) % 1.0
    noise = np.random.default_rng(1).normal(0, 0.01, len(t))
    return np.exp(-((phase - 0.3) ** 2) / 0.0003) + 0.2 * np.exp(-((phase - 0.6) ** 2) / 0.004) + noise


def evidence(*, stopped: bool, chunk: int = 250) -> dict[str, float]:
    found = AlarmEvidence({"II": FS}, {"ABP": FS})
    wave, pulse = ecg(60.0), 80 + 40 * np.clip(ecg(60.0), 0, None)
    if stopped:
        wave[-2000:], pulse[-2000:] = 0.0, 60.0
    for name, signal in (("II", wave), ("ABP", pulse)):
        for at in range(0, len(signal), chunk):
            found.push(name, signal[at : at + chunk])
    return found.features()


def test_evidence_shows_silence_of_heart_and_pulse():
    alive, stopped = evidence(stopped=False), evidence(stopped=True)
    assert alive["ecg_gap_max"] < 1.5
    assert alive["pulse_gap_least"] < 1.5
    assert stopped["ecg_gap_min"] > 6.0
    assert stopped["pulse_gap_least"] > 7.0
    judge = shipped().judge
    assert judge("Asystole", stopped).keep
    assert not judge("Asystole", alive).keep
    assert judge("Asystole", stopped).probability > judge("Asystole", alive).probability


def heard(wave: np.ndarray, pulse: np.ndarray) -> dict[str, float]:
    found = AlarmEvidence({"II": FS}, {"PLETH": FS})
    for at in range(0, len(wave), 250):
        found.push("II", wave[at : at + 250])
        found.push("PLETH", pulse[at : at + 250])
    return found.features()


def test_beats_in_the_last_bits_of_a_silent_lead_are_none():
    small, pulse = 0.04 * ecg(60.0), np.zeros(round(60 * FS))
    assert heard(small, pulse)["ecg_gap_min"] > 13.9
    assert heard(2.0 * small, pulse)["ecg_gap_min"] < 1.5, "0.08 mV is a small QRS, but one"


def test_a_pulse_of_a_few_steps_of_the_converter_is_none():
    pulse = 80 + 40 * np.clip(ecg(60.0), 0, None)
    few, many = np.round((pulse - 80) / 12) * 12, np.round((pulse - 80) / 2) * 2
    assert heard(ecg(60.0), few)["pulse0_present"] == 0.0
    assert heard(ecg(60.0), many)["pulse0_present"] == 1.0


def test_evidence_does_not_depend_on_chunks():
    whole = evidence(stopped=True, chunk=15_000)
    assert evidence(stopped=True, chunk=77) == whole
    assert all(np.isfinite(list(whole.values())))


def test_every_alarm_is_judged_whatever_the_signals():
    judge = shipped().judge
    empty = AlarmEvidence({}, {})
    dead = AlarmEvidence({"II": FS}, {"PLETH": FS})
    for name in ("II", "PLETH"):
        dead.push(name, np.full(15_000, np.nan))
    for found in (empty, dead):
        for kind in shipped().forests:
            assert 0.0 <= judge(kind, found.features()).probability <= 1.0
    assert judge("Artefact", {}).keep  # a kind that nobody has learnt is not suppressed


def test_a_tree_is_walked_by_its_thresholds():
    forest = Forest([[[0, -1, 1, -1, -1], [5.0, 0, 2.0, 0, 0], [2, 0, 4, 0, 0], [0, 0.1, 0, 0.4, 0.9]]], 0.5)
    assert forest.probability([5.0, 9.0]) == 0.1
    assert forest.probability([5.1, 2.0]) == 0.4
    assert forest.probability([5.1, 2.1]) == 0.9
    with pytest.raises(ValueError, match="format 9"):
        from_document({"format": 9})


def test_the_score_of_the_challenge():
    assert score(10, 0, 0, 10) == 100.0
    assert score(10, 10, 2, 10) == 50.0


@pytest.mark.parametrize(("record", "kind", "keep"), [("a203l", "Asystole", True), ("a104s", "Asystole", False)])
def test_recorded_alarms(cinc2015: Path, record: str, kind: str, keep: bool):
    assert shipped().judge(kind, evidence_of(cinc2015 / record)).keep is keep


def test_names_comments_and_truth_do_not_reach_a_decision(cinc2015: Path, tmp_path: Path):
    lines = (cinc2015 / "ALARMS").read_text().split()[:420:60]
    renamed = []
    for number, line in enumerate(lines):
        record, kind, truth = line.split(",")
        header = (cinc2015 / f"{record}.hea").read_text().split("\n#")[0].replace(record, f"x{number}")
        (tmp_path / f"x{number}.hea").write_text(header + "\n# True alarm\n")
        (tmp_path / f"x{number}.dat").symlink_to(cinc2015 / f"{record}.dat")
        renamed.append(f"x{number},{kind},{1 - int(truth)}")
    (tmp_path / "ALARMS").write_text("\n".join(renamed) + "\n")
    out = tmp_path / "out.json"
    command = [sys.executable, "-m", "bench.rhythm_alarms", str(tmp_path), "--json", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    decided = json.loads(out.read_text())["records"]
    assert len(decided) == len(lines)
    for number, line in enumerate(lines):
        record, kind, truth = line.split(",")
        expected = shipped().judge(kind, evidence_of(cinc2015 / record)).keep
        assert decided[f"x{number}"] == {"alarm": kind, "truth": truth == "0", "decision": expected}
