"""A device's captured messages against the contract: what is wrong with which, in the words of the rejection reasons.

The flow's own validator and order book are asked, so what passes here passes there. A capture is a file of JSON lines,
`{"subject": ..., "payload": BASE64, "at_ns": ...}`, or a folder with one payload a file (`*.hex`: hexadecimal, others:
as they are, descriptions in `*.json` and `*.md` left out), in the order of their names.
"""

import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from google.protobuf.message import DecodeError

from dataflows._native import Messages
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import end_ns, subject_of
from dataflows.monitor.checking import validator
from dataflows.monitor.patient import Patient, signals_config
from dataflows.settings import Settings

_DESCRIPTIONS = {".json", ".md"}
_NOWHERE = "vitals.v1.main.unknown.unknown.unknown"


class CaptureError(ValueError):
    """The capture cannot be read; says where."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    payload: bytes  # base64 in JSON
    subject: str = ""
    at_ns: int = 0


@dataclass(frozen=True)
class Captured:
    """A message of a capture.

    Attributes:
        place: Line or file.
        subject: Where it was published; empty: where its frame says.
        payload: Its bytes.
        at_ns: When it was published, ns since 1970; 0: not known, then the device's clock is believed.
    """

    place: str
    subject: str
    payload: bytes
    at_ns: int = 0


@dataclass(frozen=True)
class Finding:
    """Something about a message.

    Attributes:
        place: Line or file.
        subject: Its subject.
        reason: A rejection reason; or `gap`, `again`, `backwards`: taken, and worth a look.
        detail: In words.
    """

    place: str
    subject: str
    reason: str
    detail: str


@dataclass
class Checked:
    """What was found.

    Attributes:
        messages: Messages in the capture.
        rejected: What the flow would refuse.
        notes: What it takes, and a device should not do.
    """

    messages: int = 0
    rejected: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)


def read_capture(path: Path) -> list[Captured]:
    """Reads a capture.

    Raises:
        CaptureError: It is not there, or a line is none.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file() and file.suffix not in _DESCRIPTIONS]
        return [Captured(file.name, "", _bytes_of(file)) for file in files]
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise CaptureError(message) from error
    return [_captured(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def _bytes_of(file: Path) -> bytes:
    if file.suffix != ".hex":
        return file.read_bytes()
    try:
        return bytes.fromhex(file.read_text())
    except ValueError as error:
        message = f"{file}: {error}"
        raise CaptureError(message) from error


def _captured(number: int, line: bytes) -> Captured:
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.DecodeError, binascii.Error) as error:
        message = f'line {number}: {error}; a line is {{"subject": "vitals.v1...", "payload": "BASE64"}}'
        raise CaptureError(message) from error
    return Captured(f"line {number}", found.subject, found.payload, found.at_ns)


def check_capture(captured: Sequence[Captured], settings: Settings) -> Checked:
    """Replays a capture through validator and order, message by message."""
    rules, config = validator(settings), signals_config(settings, replay=True)
    patients: dict[str, Patient] = {}
    checked, order, log_ns = Checked(), _Order(), 0
    for number, message in enumerate(captured, 1):
        frame = _frame(message.payload)
        subject = message.subject or _subject(frame)
        log_ns = max(log_ns, message.at_ns or (end_ns(frame) if frame and _timed(frame) else 0), 1)
        key = "/".join(subject.split(".")[2:4]) if subject.count(".") == 5 else "main/unknown"
        patient = patients.setdefault(key, Patient(key, rules, config))
        _, _, rejects = patient.on_messages(Messages.build([(subject.encode(), number, log_ns, message.payload)]))
        checked.messages += 1
        for reject in rejects:
            place = captured[reject.log_seq - 1].place if 0 < reject.log_seq <= number else message.place
            checked.rejected.append(Finding(place, reject.subject, reject.reason, reject.detail))
        if frame and not rejects:
            checked.notes += [Finding(message.place, subject, *note) for note in order.notes(frame)]
    return checked


class _Order:
    """Counters of each (device, boot, signal), as they came."""

    def __init__(self) -> None:
        self._next: dict[tuple[object, ...], tuple[int, int]] = {}
        self._seen: dict[tuple[object, ...], bytes] = {}

    def notes(self, frame: pb.Frame) -> Iterator[tuple[str, str]]:
        """What is odd about a frame's place."""
        if frame.WhichOneof("body") == "command":
            return
        channel = (frame.patient, frame.device, frame.boot_id, frame.signal)
        payload = frame.SerializeToString()
        if (before := self._seen.setdefault((*channel, frame.seq), payload)) is not payload:
            yield "again", f"seq {frame.seq} was there, {'the same' if before == payload else 'with other content'}"
            return
        size = len(frame.waveform.samples) // 2 or len(frame.observations.items) or 1
        seq, sample = self._next.get(channel, (frame.seq, frame.first_sample))
        if frame.seq < seq:
            yield "backwards", f"seq {frame.seq} after {seq - 1}"
            return
        if frame.seq > seq:
            yield "gap", f"seq {frame.seq} after {seq - 1}: {frame.seq - seq} frames are missing"
        elif frame.first_sample != sample:
            yield "gap", f"first_sample {frame.first_sample} where {sample} follows, without a missing frame"
        self._next[channel] = (frame.seq + 1, frame.first_sample + size)


def _frame(payload: bytes) -> pb.Frame | None:
    try:
        return pb.Frame.FromString(payload)
    except DecodeError:
        return None


def _timed(frame: pb.Frame) -> bool:
    return frame.WhichOneof("body") != "waveform" or frame.waveform.fs_mhz > 0


def _subject(frame: pb.Frame | None) -> str:
    try:
        return subject_of(frame) if frame else _NOWHERE
    except ValueError:  # a signal without a name
        return _NOWHERE
