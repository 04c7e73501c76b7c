"""What a newcomer reads: help, errors in words with what to do next, exit codes. No server takes part."""

import fcntl
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from connectors.devices import samples
from connectors.devices.wfdb_record import read_wfdb
from connectors.local.recovery import RecoveryStore
from dataflows.detectors import QrsDetector
from dataflows.settings import Settings

COMMANDS = ("settings", "demo", "up", "flow", "run", "watch", "replay", "alerts", "batch", "doctor")


def test_the_command_without_arguments_lists_what_there_is(vitals):
    code, out, _ = vitals()
    assert code == 2
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(vitals, command):
    code, out, _ = vitals(command, "--help")
    assert code == 0
    assert "Usage:" in out
    assert len(out.splitlines()) > 8


def test_it_runs_as_a_module_too():
    answer = subprocess.run(
        [sys.executable, "-m", "connectors.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout.startswith("vitals 0.")


@pytest.mark.parametrize("command", ["replay", "alerts"])
def test_without_a_server_it_says_how_to_get_one(vitals, nowhere, command):
    code, _, err = vitals(command)
    assert code == 1
    assert "NATS at nats://127.0.0.1:1 does not answer" in err
    assert "vitals up" in err
    assert "Traceback" not in err


def test_the_flow_refuses_a_recovery_store_of_another_log(vitals, monkeypatch, tmp_path):
    monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path))
    RecoveryStore(tmp_path / "recovery", Settings()).prepare()
    monkeypatch.setenv("VITALS_STREAMS__PARTITIONS", "4")
    code, _, err = vitals("flow")
    assert code == 1
    assert "is of log_partitions 8, this flow is of 4" in " ".join(err.split())


@pytest.mark.parametrize("command", ["replay", "batch"])
def test_a_record_that_is_not_there_is_named(vitals, nowhere, command):
    code, _, err = vitals(command, "records/p1")
    assert (code, err) == (1, "vitals: records/p1: no WFDB record there (p1.hea is missing)\n")


def test_a_signal_that_is_not_there_is_named(vitals):
    code, _, err = vitals("batch", samples.NORMAL, "--signals", "II")
    assert (code, err) == (1, "vitals: 100 has no signal 'II'; it has MLII, V5\n")


def test_a_patients_name_that_no_subject_may_hold_is_refused(vitals, nowhere):
    code, _, err = vitals("replay", samples.NORMAL, "--patient", "Jane Doe")
    assert code == 1
    assert "patient 'Jane Doe' must be 1 to 64 of the characters" in err


def test_one_name_does_not_fit_several_patients(vitals, nowhere):
    code, _, err = vitals("replay", samples.NORMAL, samples.ASYSTOLE, "--patient", "p1")
    assert code == 1
    assert "--patient names one patient" in err


def test_a_wrong_option_is_the_users_error(vitals):
    code, _, err = vitals("replay", "--speed", "fast")
    assert code == 2
    assert "should be a valid number" in err


def test_a_wrong_setting_is_named_with_its_value(vitals, monkeypatch):
    monkeypatch.setenv("VITALS_STREAMS__PARTITIONS", "many")
    code, _, err = vitals("alerts")
    assert code == 1
    assert "streams.partitions: Input should be a valid integer" in err
    assert "'many'" in err


def test_an_unknown_setting_in_the_file_is_an_error(vitals, tmp_path):
    (tmp_path / "vitals.toml").write_text("[nats]\nadress = 'x'\n[stream]\n")
    code, _, err = vitals("settings")
    assert code == 1
    assert "stream: Extra inputs are not permitted" in err


def test_doctor_finds_that_nothing_runs_and_says_how_to_mend_it(vitals, nowhere):
    code, out, _ = vitals("doctor")
    assert code == 1
    assert "ok" in next(line for line in out.splitlines() if " Python " in line)
    assert "NATS at nats://127.0.0.1:1 does not answer" in out
    assert "QuestDB at 127.0.0.1:1 does not answer" in out
    assert out.rstrip().endswith("2 problems")


def test_batch_judges_the_sample_without_servers(vitals, nowhere):
    code, out, _ = vitals("batch")
    assert code == 0
    for rule in ("asystole", "extreme_tachycardia", "spo2_desaturation", "spo2_below_90", "spo2_below_85"):
        assert any("raised" in line and rule in line for line in out.splitlines()), rule
    assert "rejected" not in out


def test_batch_writes_what_the_detector_says(vitals, tmp_path):
    code, out, _ = vitals("batch", samples.NORMAL, "--out", tmp_path / "out")
    assert code == 0
    assert "beats.parquet" in out
    beats = pl.read_parquet(tmp_path / "out" / "beats.parquet")
    for wave in read_wfdb(samples.NORMAL).waves:
        detector = QrsDetector(wave.fs_mhz / 1000)
        expected = np.concatenate([detector.push(wave.counts), detector.flush()])
        found = beats.filter(pl.col("signal") == f"ecg_{wave.name.lower()}")["sample_index"].sort().to_list()
        # What the detector still holds back at the end of a recording is not certain, and is not in the table.
        assert found == expected.tolist()[: len(found)]
        assert len(expected) - len(found) <= 2
    stored = pl.read_parquet(tmp_path / "out" / "waveforms.parquet")["samples"].list.len().sum()
    assert stored == 2 * 64_800
    assert (tmp_path / "out" / "alerts.jsonl").read_text() == ""


def test_a_demo_that_runs_is_not_swept_away_by_a_second_one(vitals, tmp_path):
    folder = tmp_path / ".vitals" / "demo"
    folder.mkdir(parents=True)
    with (folder / "stack.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, _, err = vitals("demo")
    assert code == 1
    assert "a demo runs already" in err
    assert folder.exists()
