"""WFDB records as they are found: formats, baselines, gains, units, invalid samples, several rates, odd names."""

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.devices import samples
from connectors.devices.recording import RecordingError
from connectors.devices.wfdb_record import read_wfdb
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import INVALID_SAMPLE


def write(folder, digital, *, gain=200.0, baseline=0, unit="mV", fs=250, fmt="16", names=("II",)):
    columns = digital.shape[1]
    wfdb.wrsamp(
        "r",
        fs=fs,
        units=[unit] * columns,
        sig_name=list(names),
        d_signal=digital,
        fmt=[fmt] * columns,
        adc_gain=[gain] * columns,
        baseline=[baseline] * columns,
        write_dir=str(folder),
    )
    return folder / "r"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    values=st.lists(st.integers(-2047, 2047), min_size=2, max_size=400),
    gain=st.sampled_from([1.0, 200.0, 123.4, 5976.0]),
    baseline=st.integers(-1024, 1024),
)
def test_counts_are_distances_from_the_baseline_to_the_last_bit(tmp_path, values, gain, baseline):
    digital = np.array(values, dtype=np.int64)[:, None]
    (wave,) = read_wfdb(write(tmp_path, digital, gain=gain, baseline=baseline)).waves
    np.testing.assert_array_equal(wave.counts, digital[:, 0] - baseline)
    assert wave.lsb == 1 / gain
    assert wave.fs_mhz == 250_000


def test_the_shipped_record_is_read_sample_by_sample():
    recording = read_wfdb(samples.NORMAL)
    original = wfdb.rdrecord(str(samples.NORMAL), physical=False)
    assert [wave.signal for wave in recording.waves] == [pb.SIGNAL_ECG_MLII, pb.SIGNAL_ECG_V5]
    for index, wave in enumerate(recording.waves):
        np.testing.assert_array_equal(wave.counts, original.d_signal[:, index] - original.baseline[index])
    assert recording.duration_s == 180.0
    assert recording.notes == ()


@pytest.mark.parametrize(("fmt", "invalid"), [("16", -32768), ("212", -2048)])
def test_what_the_record_marks_as_invalid_stays_so(tmp_path, fmt, invalid):
    digital = np.array([[5], [invalid], [7], [invalid]])
    (wave,) = read_wfdb(write(tmp_path, digital, fmt=fmt, baseline=3)).waves
    assert wave.counts.tolist() == [2, INVALID_SAMPLE, 4, INVALID_SAMPLE]


def test_a_lead_in_microvolts_becomes_millivolts(tmp_path):
    (wave,) = read_wfdb(write(tmp_path, np.array([[100], [200]]), gain=0.5, unit="uV")).waves
    np.testing.assert_allclose(wave.counts * wave.lsb, [0.2, 0.4])


def test_values_beyond_16_bits_are_replayed_in_coarser_steps_and_it_is_said(tmp_path):
    digital = np.array([[100_000], [-400_000], [0]])
    recording = read_wfdb(write(tmp_path, digital, gain=1000.0, fmt="32", baseline=0))
    (wave,) = recording.waves
    np.testing.assert_allclose(wave.counts * wave.lsb, [100.0, -400.0, 0.0], atol=wave.lsb)
    assert "more than 16 bits" in recording.notes[0]


def test_signals_of_one_record_may_have_their_own_rates(tmp_path):
    slow, fast = np.arange(10), np.arange(40)
    wfdb.wrsamp(
        "r",
        fs=125,
        units=["NU", "mV"],
        sig_name=["PLETH", "II"],
        e_d_signal=[slow, fast],
        samps_per_frame=[1, 4],
        fmt=["16", "16"],
        adc_gain=[1.0, 200.0],
        baseline=[0, 0],
        write_dir=str(tmp_path),
    )
    pleth, lead = read_wfdb(tmp_path / "r").waves
    assert (pleth.fs_mhz, pleth.counts.tolist()) == (125_000, slow.tolist())
    assert (lead.fs_mhz, lead.counts.tolist()) == (500_000, fast.tolist())


def test_unknown_and_doubled_names_are_left_out_and_noted(tmp_path):
    record = write(tmp_path, np.zeros((300, 4), dtype=np.int64), names=("II,", "V", "MCL1", "CVP"))
    recording = read_wfdb(record)
    assert [(wave.name, wave.signal) for wave in recording.waves] == [("II", pb.SIGNAL_ECG_II), ("V", pb.SIGNAL_ECG)]
    assert ["MCL1 left out: V is already ecg" in note for note in recording.notes] == [True, False]
    assert "CVP left out" in recording.notes[1]


def test_a_selection_takes_and_renames(tmp_path):
    record = write(tmp_path, np.zeros((300, 2), dtype=np.int64), names=("V", "lead two"))
    recording = read_wfdb(record, {"V": "ecg_v1", "lead two": "ecg_ii"})
    assert [wave.signal for wave in recording.waves] == [pb.SIGNAL_ECG_V1, pb.SIGNAL_ECG_II]
    with pytest.raises(RecordingError, match="has no signal 'X'; it has V, lead two"):
        read_wfdb(record, {"X": ""})


def test_an_ending_may_be_given_or_left_out(tmp_path):
    record = write(tmp_path, np.zeros((300, 1), dtype=np.int64))
    assert read_wfdb(record.with_name("r.hea")).name == read_wfdb(record.with_name("r.dat")).name == "r"


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(RecordingError, match=r"r.hea is missing"):
        read_wfdb(tmp_path / "r")
    (tmp_path / "r.hea").write_text("not a header\n")
    with pytest.raises(RecordingError, match="not readable as a WFDB record"):
        read_wfdb(tmp_path / "r")
    record = write(tmp_path, np.zeros((300, 1), dtype=np.int64), names=("CVP",))
    with pytest.raises(RecordingError, match="nothing to replay"):
        read_wfdb(record)
    (tmp_path / "r.dat").unlink()
    with pytest.raises(RecordingError, match="not readable"):
        read_wfdb(record)
