"""`vitals devices check`: each rejection reason is named at the message that has it."""

import base64
import json

import numpy as np
import pytest

from connectors.devices.check import CaptureError, check_capture, read_capture
from dataflows._native import rejection_reasons
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer, command_frame
from dataflows.settings import Settings
from tests.contracts.vectors import FOLDER

START = 1_767_225_600 * 10**9
GOOD = "vitals.v1.main.p.d.pleth"


def frames(count=6):
    framer = WaveFramer(Origin("p", "d"), pb.SIGNAL_PLETH, 100_000, 1.0, START)
    return [framer.frame(np.arange(100, dtype=np.int16) + n) for n in range(count)]


def changed(number=2, **fields):
    frame = frames()[number]
    for path, value in fields.items():
        *parents, name = path.split("__")
        part = frame
        for parent in parents:
            part = getattr(part, parent)
        setattr(part, name, value)
    return frame


def capture(tmp_path, messages):
    path = tmp_path / "capture.jsonl"
    lines = [
        json.dumps({"subject": subject, "payload": base64.b64encode(payload).decode(), **more})
        for subject, payload, more in messages
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def check(tmp_path, messages):
    return check_capture(read_capture(capture(tmp_path, messages)), Settings())


def reading(**fields):
    frame = Origin("p", "d").frame(pb.SIGNAL_NUMERIC, 0, 0, START)
    frame.observations.items.add(**{"code": pb.CODE_SPO2, "value": 97.0, "unit": pb.UNIT_PERCENT} | fields)
    return frame


NUMERIC = GOOD.replace("pleth", "numeric")
BROKEN = {
    "too_large": (GOOD, changed(waveform__samples=bytes(70_000)), {}),
    "subject_invalid": ("vitals.v1.main.p d.d.pleth", frames()[2], {}),
    "undecodable": (GOOD, b"\xff\xff", {}),
    "wrong_version": (GOOD, changed(version=2), {}),
    "identity_mismatch": (GOOD, changed(patient="q"), {}),
    "unknown_signal": ("vitals.v1.main.p.d.ecg_x", changed(signal=99), {}),
    "body_mismatch": (NUMERIC, changed(signal=pb.SIGNAL_NUMERIC), {}),
    "odd_byte_count": (GOOD, changed(waveform__samples=b"123"), {}),
    "length_mismatch": (GOOD, changed(waveform__duration_ms=500), {}),
    "rate_out_of_range": (GOOD, changed(waveform__fs_mhz=1000, waveform__duration_ms=0), {}),
    "unknown_code": (NUMERIC, reading(code=99), {}),
    "impossible_value": (NUMERIC, reading(value=140), {}),
    "unit_suspect": (NUMERIC, reading(code=pb.CODE_TEMP, value=98.6, unit=pb.UNIT_CEL), {}),
    "time_ahead": (GOOD, changed(device_ns=START + 3600 * 10**9), {"at_ns": START}),
    "time_implausible": (GOOD, changed(device_ns=1), {}),
    "overlap": (GOOD, changed(seq=9, first_sample=50), {}),
    "command_invalid": (
        "vitals.v1.main.p.control.ack",
        command_frame("p", "admit", actor="a", idempotency_key="k"),
        {},
    ),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_each_reason_is_named_at_its_message(tmp_path, reason):
    subject, frame, more = BROKEN[reason]
    payload = frame if isinstance(frame, bytes) else frame.SerializeToString()
    before = [(GOOD, one.SerializeToString(), {}) for one in frames(2)]
    checked = check(tmp_path, [*before, (subject, payload, more)])
    assert [(finding.place, finding.reason) for finding in checked.rejected] == [("line 3", reason)]
    assert checked.rejected[0].detail


def test_a_flood_is_over_its_rate(tmp_path):
    flood = [(GOOD, one.SerializeToString(), {"at_ns": START}) for one in frames(2)]
    settings = Settings()
    settings = settings.model_copy(
        update={"flow": settings.flow.model_copy(update={"device_frames_per_s": 0.5, "device_burst_s": 1.0})}
    )
    checked = check_capture(read_capture(capture(tmp_path, flood * 3)), settings)
    assert {finding.reason for finding in checked.rejected} == {"over_rate"}


def test_no_reason_of_a_message_is_untried():
    assert {name for name, _ in rejection_reasons()} == {*BROKEN, "over_rate", "storage_rejected"}


def test_gaps_and_repetitions_are_notes(tmp_path):
    one, two, three, four, five, _ = ((GOOD, frame.SerializeToString(), {}) for frame in frames())
    checked = check(tmp_path, [one, two, two, five, four])
    assert checked.rejected == []
    assert [(note.place, note.reason) for note in checked.notes] == [
        ("line 3", "again"),
        ("line 4", "gap"),
        ("line 5", "backwards"),
    ]
    assert check(tmp_path, [one, two, three]).notes == []


def test_the_golden_frames_pass_from_their_folder():
    checked = check_capture(read_capture(FOLDER), Settings())
    assert (checked.messages, checked.rejected) == (len(list(FOLDER.glob("*.hex"))), [])


def test_a_line_that_is_none_is_named(tmp_path):
    path = tmp_path / "c"
    path.write_text('{"subject": "x", "payload": "AA=="}\n{"payload": "no base64!"}\n')
    with pytest.raises(CaptureError, match="line 2"):
        read_capture(path)
    with pytest.raises(CaptureError, match="No such file"):
        read_capture(tmp_path / "absent")
