import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.questdb.reject import rejected_payload, rejected_row
from connectors.questdb.spill import (
    MAX_BYTES,
    SpillFormatError,
    decode_message,
    encode_message,
    message_id,
    spill_messages,
)
from dataflows.contracts.tables import BEATS
from tests.connectors.questdb.rows import beat, observation, waveform


def unpack(messages):
    return [row for _, _, payload in messages for row in decode_message(payload)]


def same(left, right):
    if isinstance(left, np.ndarray):
        return isinstance(right, np.ndarray) and left.dtype == right.dtype and left.tobytes() == right.tobytes()
    return type(left) is type(right) and (left == right or left != left)  # noqa: PLR0124  (NaN)


int64 = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**63 - 1), int64, st.floats(), st.one_of(st.none(), st.text()), st.lists(st.floats())
        ),
        max_size=20,
    )
)
def test_rows_come_back_bit_for_bit(values):
    rows = [
        waveform("p", n, ts=ts, boot=boot, lsb=lsb, signal=signal, samples=np.array(samples, dtype=np.float64))
        for n, (ts, boot, lsb, signal, samples) in enumerate(values)
    ]
    back = unpack(spill_messages(rows))
    assert len(back) == len(rows)
    for (table, row), (table_back, row_back) in zip(rows, back, strict=True):
        assert table == table_back
        assert all(same(a, b) for a, b in zip(row, row_back, strict=True))


def test_messages_hold_one_table_each_and_stay_small():
    rows = [make("p", n) for n in range(900) for make in (waveform, observation)] + [beat("p", 1, 7)]
    messages = list(spill_messages(rows))
    assert {subject for subject, _, _ in messages} == {"spill.v1.waveforms", "spill.v1.observations", "spill.v1.beats"}
    assert all(len(payload) <= MAX_BYTES for _, _, payload in messages)
    assert len(messages) < 10
    assert len(unpack(messages)) == len(rows)
    ids = [headers["Nats-Msg-Id"] for _, headers, _ in messages]
    assert len(set(ids)) == len(ids)
    assert ids == [headers["Nats-Msg-Id"] for _, headers, _ in spill_messages(rows)]


def test_a_row_of_the_largest_frame_fits_a_message():
    ((_, _, payload),) = spill_messages([waveform("p", 1, samples=np.zeros(32 * 1024))])
    assert len(payload) <= MAX_BYTES


def test_columns_of_another_time_are_matched_by_name():
    table, row = beat("p", 1, 7)
    names = [name for name, _ in BEATS.columns]
    older = ["gone", *(name for name in names if name != "confidence")]
    values = ["x", *(value for name, value in zip(names, row, strict=True) if name != "confidence")]
    payload = msgspec.msgpack.encode((1, table, older, [values]))
    ((_, back),) = decode_message(payload)
    assert dict(zip(names, back, strict=True)) == dict(zip(names, row, strict=True)) | {"confidence": None}


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (b"", "not a SPILL message"),
        (b"\xc1garbage", "not a SPILL message"),
        (msgspec.msgpack.encode((2, "beats", [], [])), "version 2"),
        (msgspec.msgpack.encode((1, "nosuch", [], [])), "'nosuch'"),
        (msgspec.msgpack.encode((1, "beats", [], [[msgspec.msgpack.Ext(9, b"")]])), "extension type 9"),
    ],
)
def test_foreign_bytes_are_refused_in_words(payload, words):
    with pytest.raises(SpillFormatError, match=words):
        decode_message(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_rows_or_a_format_error(payload):
    try:
        decode_message(payload)
    except SpillFormatError:
        return


def test_a_dead_letter_can_be_driven_again():
    row = observation("p", 1, unit="Grad\nCelsius")
    subject, headers, payload = rejected_row(row, 'error in line 1:\n column "unit"')
    assert subject == "rejected.v1.storage_rejected"
    assert decode_message(payload) == [row]
    assert headers["Vitals-Detail"] == 'error in line 1: column "unit"'
    assert headers["Vitals-Table"] == "observations"
    assert rejected_payload(b"junk", "ü\r\nX: y")[1]["Vitals-Detail"] == "\\xfc X: y"


def test_even_a_row_that_no_encoding_takes_leaves_a_dead_letter():
    for bad in (2**70, "\ud800", object()):
        _, _, payload = rejected_row(observation("p", 1, unit=bad), "no")
        assert len(decode_message(payload)) == 1


def test_the_same_rows_have_the_same_id():
    assert message_id(encode_message("beats", [])) == message_id(encode_message("beats", []))
    assert message_id(b"a") != message_id(b"b")
