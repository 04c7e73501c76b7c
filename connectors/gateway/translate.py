"""Bodies in, frames out: Protobuf, its JSON, and simple observations.

A frame's identity needs counters. A sender that has none (an app, a FHIR server) gets them from the time and the codes:
`boot_id` is the time in ms and a digest of the codes, `seq` is 0. The same reading sent twice is then the same frame,
byte for byte, and another reading of the same moment is another frame.
"""

import hashlib
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from google.protobuf.proto import parse_length_prefixed

from connectors.gateway.problems import FieldError, RefusedError
from connectors.gateway.vocabulary import CODES, UCUM
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading

PROTOBUF, PROTOBUF_STREAM, JSON = "application/x-protobuf", "application/vnd.vitals.frames", "application/json"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_BITS = 20
_FAR_NS = 1 << 63


class EntryError(ValueError):
    """What is wrong with one entry, and with which field of it."""

    def __init__(self, *, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


def invalid(errors: Iterable[FieldError]) -> RefusedError:
    """The answer to a request with bad entries; nothing of it is stored."""
    return RefusedError(422, "invalid", "nothing of this request was stored; see errors", errors=list(errors))


def frames_of(content_type: str, body: bytes, origin: Origin) -> list[pb.Frame]:
    """Returns the frames of a body of `POST /v1/frames`.

    Args:
        content_type: `application/x-protobuf` (one frame), `application/vnd.vitals.frames` (each after its length as a
            varint) or `application/json` (one, or a list of them).
        body: The body.
        origin: The sender; fills tenant, patient and device where a frame in JSON leaves them out.

    Raises:
        RefusedError: It cannot be read.
    """
    if content_type == PROTOBUF:
        return [_protobuf(body)]
    if content_type == PROTOBUF_STREAM:
        return list(_stream(body))
    if content_type == JSON:
        return _json_frames(body, origin)
    kinds = f"{PROTOBUF}, {PROTOBUF_STREAM} or {JSON}"
    raise RefusedError(415, "content_type", f"Content-Type {content_type[:60]!r}: frames come as {kinds}")


def _protobuf(body: bytes, index: int = 0) -> pb.Frame:
    try:
        return pb.Frame.FromString(body)
    except DecodeError:
        raise invalid([FieldError(index=index, reason="undecodable", detail="no vitals.v1 frame")]) from None


def _stream(body: bytes) -> Iterable[pb.Frame]:
    stream, index = io.BytesIO(body), 0
    while stream.tell() < len(body):
        try:
            frame = parse_length_prefixed(pb.Frame, stream)
        except (DecodeError, ValueError, EOFError):
            frame = None
        if frame is None:
            detail = "no frame after its length, or a length beyond the body"
            raise invalid([FieldError(index=index, reason="undecodable", detail=detail)])
        yield frame
        index += 1


def json_of(body: bytes) -> Any:
    """Returns a JSON body as Python values.

    Raises:
        RefusedError: It is none.
    """
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(400, "no_json", f"the body is no JSON: {error}") from None


def _json_frames(body: bytes, origin: Origin) -> list[pb.Frame]:
    value = json_of(body)
    frames, errors = [], []
    for index, entry in enumerate(value if isinstance(value, list) else [value]):
        try:
            if not isinstance(entry, dict):
                raise EntryError(field="", detail="a frame is a JSON object")
            frame = ParseDict(entry, pb.Frame())
            frame.tenant, frame.patient = frame.tenant or origin.tenant, frame.patient or origin.patient
            frame.device = frame.device or origin.device
            frames.append(frame)
        except (ParseError, EntryError, ValueError, TypeError, RecursionError) as error:
            errors.append(FieldError(index=index, reason="undecodable", detail=str(error)[:300]))
    if errors:
        raise invalid(errors)
    return frames


class SimpleObservation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One reading as an app sends it.

    Attributes:
        code: A name of the vocabulary, e.g. `spo2`.
        value: In `unit`.
        unit: UCUM, e.g. `%`.
        time: ISO 8601 with zone.
        quality_pct: 1 to 100; 0: unsaid.
    """

    code: str
    value: float
    unit: str
    time: datetime
    quality_pct: int = 0


class SimpleObservations(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of `POST /v1/observations` in simple JSON."""

    observations: list[SimpleObservation]


def simple_readings(value: Any) -> list[tuple[int, Reading]]:
    """Returns (time in ns, reading) of a body in simple JSON.

    Raises:
        RefusedError: An entry is wrong; says which and where.
    """
    try:
        entries = msgspec.convert(value, SimpleObservations).observations
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at ")
        raise invalid([FieldError(index=0, reason="invalid", field=path.strip("`"), detail=detail)]) from None
    found, errors = [], []
    for index, entry in enumerate(entries):
        try:
            found.append((time_ns(entry.time), reading(entry.code, entry.value, entry.unit, entry.quality_pct)))
        except EntryError as error:
            errors.append(FieldError(index=index, reason="invalid", field=error.field, detail=str(error)))
    if errors:
        raise invalid(errors)
    return found


def time_ns(time: datetime) -> int:
    """Returns ns since 1970.

    Raises:
        EntryError: It has no zone (it must not depend on where the server stands), or is out of range.
    """
    if time.tzinfo is None:
        raise EntryError(field="time", detail="a time needs a zone, e.g. 2026-11-24T12:00:00Z")
    ns = (time - _EPOCH) // timedelta(microseconds=1) * 1000
    if not 0 <= ns < _FAR_NS:
        raise EntryError(field="time", detail="a time between 1970 and 2262")
    return ns


def reading(code: str, value: float, unit: str, quality_pct: int = 0) -> Reading:
    """Returns a reading of a code of ours.

    Raises:
        EntryError: Code, unit or quality are not known.
    """
    if code not in CODES:
        raise EntryError(field="code", detail=f"no code is called {code[:40]!r}; there are {', '.join(CODES)}")
    if unit not in UCUM:
        raise EntryError(field="unit", detail=f"no unit is called {unit[:40]!r}; there are {', '.join(UCUM)}")
    if not 0 <= quality_pct <= 100:
        raise EntryError(field="quality_pct", detail="0 to 100")
    return Reading(CODES[code], value, UCUM[unit], quality_pct)


def boot_of(ns: int, names: Iterable[str]) -> int:
    """Returns the `boot_id` of a reading without counters: grows with time, differs between sets of names."""
    digest = hashlib.sha256("\0".join(sorted(names)).encode()).digest()
    return max(0, ns // 1_000_000) << _DIGEST_BITS | int.from_bytes(digest[:4], "big") >> (32 - _DIGEST_BITS)


def numeric_frames(origin: Origin, readings: Iterable[tuple[int, Reading]]) -> list[pb.Frame]:
    """Returns one frame for each moment."""
    moments: dict[int, list[Reading]] = {}
    for ns, one in readings:
        moments.setdefault(ns, []).append(one)
    frames = []
    for ns, group in sorted(moments.items()):
        group.sort(key=lambda one: one.code)
        boot = boot_of(ns, (pb.Code.Name(one.code) for one in group))
        sender = Origin(origin.patient, origin.device, boot_id=boot, tenant=origin.tenant)
        frames.append(NumericFramer(sender).frame(group, ns))
    return frames
