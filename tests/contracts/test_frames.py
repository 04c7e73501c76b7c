"""Frames built from samples and readings: every sample once, numbered without holes, accepted by the validator."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.contracts import frames as f
from dataflows.contracts import vitals_pb2 as pb

ORIGIN = f.Origin("p1", "d1", boot_id=2)
START_NS = 1_700_000_000_000_000_000


@given(
    n=st.integers(0, 5000),
    fs_mhz=st.integers(5_000, 1_000_000),
    frame_s=st.sampled_from([0.2, 0.5, 1.0, 2.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_cutting_keeps_every_sample_once_in_order_and_on_time(n, fs_mhz, frame_s, seed):
    samples = np.random.default_rng(seed).integers(-32768, 32768, n, dtype=np.int16)
    framer = f.WaveFramer(ORIGIN, pb.SIGNAL_ECG_II, fs_mhz, 0.005, START_NS)
    frames = list(framer.cut(samples, frame_s))
    assert b"".join(frame.waveform.samples for frame in frames) == samples.astype("<i2").tobytes()
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    expected_first = 0
    for frame in frames:
        count = len(frame.waveform.samples) // 2
        assert frame.first_sample == expected_first
        assert frame.device_ns == START_NS + expected_first * 10**12 // fs_mhz
        assert abs(frame.waveform.duration_ms * fs_mhz - count * 1_000_000) <= 1_000_000
        assert count <= frame_s * fs_mhz / 1000 + 1
        expected_first += count
    assert framer.next_sample == n


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True, width=64)), st.sampled_from([0.001, 0.005, 0.0625, 1.0]))
def test_counts_are_within_half_an_lsb_or_invalid(values, lsb):
    physical = np.array(values, dtype=np.float64)
    counts = f.to_counts(physical, lsb)
    valid = counts != f.INVALID_SAMPLE
    np.testing.assert_array_equal(valid, np.abs(physical) <= 32767.5 * lsb)
    assert np.all(np.abs(counts[valid] * lsb - physical[valid]) <= lsb * 0.5000001)


def test_identity_shows_in_subject_and_message_id():
    frame = f.WaveFramer(ORIGIN, pb.SIGNAL_ECG_MLII, 360_000, 0.005, START_NS, seq=9).frame(np.zeros(360, np.int16))
    assert f.subject_of(frame) == "vitals.v1.main.p1.d1.ecg_mlii"
    assert f.message_id(frame) == "main/p1/d1/2/ecg_mlii/9"
    assert f.message_id(frame, "secret") == "main/p1/d1/2/ecg_mlii/9/secret"
    frame.tenant = ""
    assert f.subject_of(frame) == "vitals.v1.main.p1.d1.ecg_mlii"


@pytest.mark.parametrize("signal", pb.Signal.values()[1:])
def test_tokens_and_signals_name_each_other(signal):
    assert f.signal_of(f.signal_token(signal)) == signal


@pytest.mark.parametrize("token", ["", "unspecified", "ECG_II", "ecg_iv"])
def test_an_unknown_token_is_refused_with_the_list(token):
    with pytest.raises(ValueError, match="there are ecg_i, "):
        f.signal_of(token)


@pytest.mark.parametrize(
    "bad",
    [
        {"patient": ""},
        {"patient": "a.b"},
        {"patient": "x" * 65},
        {"device": "control"},
        {"device": "model-ecg"},
        {"tenant": "tick"},
        {"tenant": "ward 7"},
    ],
)
def test_names_that_no_subject_may_hold_are_refused(bad):
    with pytest.raises(ValueError, match=r"must be|reserved"):
        f.Origin(**{"patient": "p1", "device": "d1"} | bad)


def test_readings_are_counted_one_by_one():
    framer = f.NumericFramer(ORIGIN)
    pressure = [f.Reading(pb.CODE_SBP, 120.0, pb.UNIT_MM_HG), f.Reading(pb.CODE_DBP, 80.0, pb.UNIT_MM_HG)]
    first, second = framer.frame(pressure, START_NS), framer.frame(pressure[:1], START_NS + 10**9)
    assert (first.seq, first.first_sample, second.seq, second.first_sample) == (0, 0, 1, 2)
    with pytest.raises(ValueError, match="at least one"):
        framer.frame([], START_NS)


def test_a_frame_ends_after_its_last_sample_or_reading():
    wave = f.WaveFramer(ORIGIN, pb.SIGNAL_ECG, 250_000, 0.005, START_NS).frame(np.zeros(125, np.int16))
    assert f.end_ns(wave) == START_NS + 500_000_000
    reading = f.NumericFramer(ORIGIN).frame([f.Reading(pb.CODE_SPO2, 97, pb.UNIT_PERCENT, offset_ms=250)], START_NS)
    assert f.end_ns(reading) == START_NS + 250_000_000


@pytest.mark.parametrize("samples", [np.zeros(0, np.int16), np.zeros(4, np.int32), np.zeros((2, 2), np.int16)])
def test_other_than_a_filled_vector_of_int16_is_refused(samples):
    with pytest.raises(ValueError, match="one-dimensional int16"):
        f.WaveFramer(ORIGIN, pb.SIGNAL_ECG, 250_000, 0.005, START_NS).frame(samples)


@pytest.mark.parametrize("lsb", [0.0, -0.005, float("nan"), float("inf")])
def test_an_lsb_that_is_no_positive_number_is_refused(lsb):
    with pytest.raises(ValueError, match="positive"):
        f.to_counts(np.zeros(3), lsb)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("vp.3.clinic.p1.d.ecg_ii", "rejected.v1.overlap.clinic.flow"),
        ("vitals.v1.clinic.p1.d.ecg_ii", "rejected.v1.overlap.clinic.flow"),
        # Names that no door lets in; as a wildcard it would go nowhere, or to everybody.
        ("vp.3.*.p1.d.ecg_ii", "rejected.v1.overlap"),
        ("vp.3.>.p1.d.ecg_ii", "rejected.v1.overlap"),
        ("vp", "rejected.v1.overlap"),
    ],
)
def test_a_reject_goes_to_the_organisation_on_whose_subject_it_came(subject, expected):
    assert f.rejected_subject("overlap", subject, "flow") == expected
