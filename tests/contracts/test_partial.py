"""Rejected bytes for people: every field up to where decoding ends, whatever the bytes."""

from hypothesis import given
from hypothesis import strategies as st

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.partial import fields


def frame():
    made = pb.Frame(version=1, tenant="main", patient="p1", device="patch", boot_id=3, signal=pb.SIGNAL_ECG_II, seq=9)
    made.waveform.fs_mhz = 250_000
    made.waveform.lsb = 0.005
    made.waveform.samples = b"\x01\x02" * 250
    return made


def test_a_whole_frame_is_shown_field_by_field():
    shown = {field.name: field.value for field in fields(frame().SerializeToString())}
    assert shown["patient"] == "'p1'"
    assert shown["signal"] == f"{pb.SIGNAL_ECG_II} (SIGNAL_ECG_II)"
    assert shown["waveform.fs_mhz"] == "250000"
    assert shown["waveform.lsb"] == "0.005"
    assert shown["waveform.samples"].startswith("500 bytes: 01 02 01")


def test_a_frame_that_was_cut_is_shown_up_to_the_cut():
    shown = list(fields(frame().SerializeToString()[:-100]))
    assert [field.name for field in shown[:4]] == ["version", "tenant", "patient", "device"]
    assert shown[-1].name == ""
    assert "a field says that it has" in shown[-1].value


def test_a_number_that_the_contract_has_not_is_shown():
    assert [field.name for field in fields(b"\xf8\x07\x05")] == ["?127"]


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(payload):
    assert all(0 <= field.at < len(payload) for field in fields(payload))
