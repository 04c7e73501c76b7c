"""A recorded patient through the whole pipeline at 50 times real time: every sample once, beats as on the file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wfdb

from connectors.local.flow import settings_environment
from dataflows.detectors import QrsDetector
from tests.faults.whole import Whole
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
REPO = Path(__file__).parents[2]
SAMPLE = REPO / "connectors" / "devices" / "sample" / "100"


def record_path() -> Path:
    """A whole MIT-BIH record where the database is at hand, else the minutes of it in this repository."""
    whole = Path(os.environ.get("VITALS_DATA", "")) / "ecg" / "mitdb" / "100"
    return whole if whole.with_suffix(".dat").is_file() else SAMPLE


def detected(record) -> dict[str, list[int]]:
    """R-peaks of each lead by the detector itself, on the digital values that a device would send."""
    found = {}
    for lead, name in enumerate(record.sig_name):
        counts = (record.d_signal[:, lead] - record.baseline[lead]).astype(np.int16)
        detector = QrsDetector(record.fs)
        found[name] = detector.push(counts).tolist()
    return found


def test_a_replayed_record_arrives_whole(nats_server, own_questdb, tmp_path):
    path = record_path()
    record = wfdb.rdrecord(str(path), physical=False)
    whole = Whole(nats_server, own_questdb, tmp_path, log_time="header")
    flow = whole.flow()
    environment = {**os.environ, **settings_environment(whole.settings)}
    command = [sys.executable, "-m", "connectors.cli", "replay", str(path), "--speed", "50"]
    replay = subprocess.run(command, env=environment, cwd=REPO, capture_output=True, text=True, check=False)
    assert replay.returncode == 0, replay.stdout + replay.stderr
    last = whole.publisher().stream_state("VITALS")[2]
    until(lambda: min(flow.metrics().get("nats_snapshot_seq", [0])) >= last, 60, poll_s=0.2)
    until(lambda: max(flow.metrics().get("nats_lag_seconds", [1])) == 0, 30, poll_s=0.2)
    flow.stop()
    whole.close()

    reader = whole.questdb.reader
    reader.wait_applied()
    signals = reader.query("SELECT DISTINCT signal FROM waveforms ORDER BY signal")["signal"].to_list()
    assert len(signals) == record.n_sig
    beats = detected(record)
    by_signal = {f"ecg_{name.lower()}": name for name in record.sig_name}
    for signal in signals:
        rows = reader.query(f"SELECT first_sample, lsb, samples FROM waveforms WHERE signal = '{signal}' ORDER BY seq")
        lead = record.sig_name.index(by_signal[signal])
        stored = np.concatenate([np.rint(np.asarray(row["samples"]) / row["lsb"]) for row in rows.to_dicts()])
        np.testing.assert_array_equal(stored, record.d_signal[:, lead] - record.baseline[lead])
        found = reader.query(f"SELECT sample_index n FROM beats WHERE signal = '{signal}' ORDER BY n")["n"].to_list()
        assert found == beats[by_signal[signal]]
    assert whole.messages("REJECTED") == []
