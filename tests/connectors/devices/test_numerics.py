"""Tables of numerics as devices and databases write them."""

import pytest

from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.numerics import read_numerics
from connectors.devices.recording import RecordingError
from dataflows.contracts import vitals_pb2 as pb


def read(tmp_path, text):
    path = tmp_path / "p1.csv"
    path.write_bytes(text.encode())
    return read_numerics(path)


def values(recording):
    return [[(reading.code, reading.value) for reading in readings] for readings in recording.numerics.readings]


def test_a_bedside_table_with_spaces_and_holes(tmp_path):
    text = "Time [s], HR, PULSE, RESP, SpO2\n0,94,93,25,97\n1,,NaN,,\n2,95,,25,96\n"
    recording = read(tmp_path, text)
    assert recording.numerics.times_s == (0.0, 2.0)
    assert values(recording) == [
        [(pb.CODE_HR, 94), (pb.CODE_PULSE_RATE, 93), (pb.CODE_RESP_RATE, 25), (pb.CODE_SPO2, 97)],
        [(pb.CODE_HR, 95), (pb.CODE_RESP_RATE, 25), (pb.CODE_SPO2, 96)],
    ]


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_one_number_a_line_is_saturation_at_1_hz(tmp_path, newline):
    recording = read(tmp_path, newline.join(["97", "96.5", "", "NaN", "95"]) + newline)
    assert recording.numerics.times_s == (0.0, 1.0, 3.0)
    assert values(recording) == [[(pb.CODE_SPO2, 97)], [(pb.CODE_SPO2, 96.5)], [(pb.CODE_SPO2, 95)]]


def test_a_byte_order_mark_and_other_columns_do_no_harm(tmp_path):
    recording = read(tmp_path, "\ufefftime_s,spo2,FiO2 set\n0,97,21\n10,96,21\n")
    assert recording.numerics.times_s == (0.0, 10.0)
    assert recording.notes == (
        "column 'fio2 set' left out: not one of spo2, hr, pulse, resp, rr, temp, sbp, dbp, map, etco2, glucose, "
        "weight, battery",
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "it is empty"),
        ("time_s,spo2\n", "no reading"),
        ("time_s,spo2\n0,NaN\n", "no reading"),
        ("time_s,steps\n0,70\n", "no column is one of"),
        ("time_s,spo2\n0,97\n1,high\n", "line 3: 'high' is no number"),
        ("time_s,spo2\n1,97\n1,96\n", "line 3: times must grow"),
        ("time_s,spo2\n,97\n", "line 2: times must grow"),
        ("spo2,time_s\n97\n", "line 2: "),
        ("97\n-\nx\n", "line 3: 'x' is no number"),
    ],
)
def test_errors_name_the_line(tmp_path, text, complaint):
    with pytest.raises(RecordingError, match=complaint):
        read(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RecordingError, match="not readable as text"):
        load(path)
    with pytest.raises(RecordingError, match="not readable as text"):
        load(tmp_path / "absent.csv")


def test_the_shipped_excerpt_desaturates():
    recording = load(samples.HYPOXEMIA)
    saturation = [
        reading.value for row in recording.numerics.readings for reading in row if reading.code == pb.CODE_SPO2
    ]
    assert (len(saturation), min(saturation), saturation[0]) == (834, 61.0, 95.0)
