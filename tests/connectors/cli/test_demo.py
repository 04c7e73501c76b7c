"""The first command of the README, as a program: servers, replay, flow, and what arrived."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.services, pytest.mark.slow]


def test_the_demo_brings_recorded_patients_to_alerts_and_leaves_nothing_running(tmp_path):
    environment = os.environ | {"VITALS_STACK__DATA_DIR": str(tmp_path / ".vitals"), "COLUMNS": "160"}
    command = [sys.executable, "-m", "connectors.cli", "demo", "--speed", "0"]
    answer = subprocess.run(
        command, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=170
    )
    said = answer.stdout
    assert answer.returncode == 0, said + answer.stderr
    assert "Every sample and reading is in QuestDB once, every alert in both places, nothing was rejected." in said
    for rule, patient in (
        ("asystole", "a161l"),
        ("extreme_tachycardia", "203"),
        ("spo2_desaturation", "uw_100006"),
        ("spo2_below_90", "uw_100006"),
        ("spo2_below_85", "uw_100006"),
    ):
        raised = [line for line in said.splitlines() if "raised" in line and f"main/{patient}  {rule}" in line]
        assert raised, f"{rule} of {patient} is not in:\n{said}"
    # The shorter recordings end before the others, which is silence; of the normal heart nothing else is said.
    assert not any("raised" in line and "main/100 " in line and "silence" not in line for line in said.splitlines())
    for server in ("QuestDB: stopped", "NATS: stopped"):
        assert server in said
    assert not list((tmp_path / ".vitals" / "demo").glob("*.pid"))
