"""Decodes a message of the wire contract as far as its bytes allow: for people who look at what was rejected."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from dataflows.contracts import vitals_pb2 as pb

_LONGEST_VALUE = 60
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Field:
    """One field, or the place where decoding ended (`name` is empty then).

    Attributes:
        at: Byte offset in the message.
        name: Path of the field, `waveform.fs_mhz`; `?17` when the contract has no such number.
        value: In words.
    """

    at: int
    name: str
    value: str


class _CutShortError(ValueError):
    """The bytes end, or go on in a way that is no field."""


def fields(payload: bytes) -> Iterator[Field]:
    """Yields the fields of a frame in the order of its bytes, and where and why decoding ended if it did."""
    yield from _fields(payload, pb.Frame.DESCRIPTOR, "", 0)


def _fields(data: bytes, message: Any, path: str, base: int) -> Iterator[Field]:
    at = 0
    while at < len(data):
        start = at
        try:
            key, at = _varint(data, at)
            number, kind = key >> 3, key & 7
            value, at = _value(data, at, kind)
        except _CutShortError as error:
            yield Field(base + start, "", f"{error}; {len(data) - start} bytes are left")
            return
        field = message.fields_by_number.get(number)
        name = f"{path}{field.name if field is not None else f'?{number}'}"
        if field is not None and field.message_type is not None and isinstance(value, bytes):
            yield from _fields(value, field.message_type, f"{name}.", base + at - len(value))
        else:
            yield Field(base + start, name, _words(value, field))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    message = "the bytes end within a number" if at >= len(data) else "a number is longer than 10 bytes"
    raise _CutShortError(message)


def _value(data: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == _VARINT:
        return _varint(data, at)
    if kind == _BYTES:
        size, at = _varint(data, at)
    elif kind in {_FIXED64, _FIXED32}:
        size = 8 if kind == _FIXED64 else 4
    else:
        message = f"wire type {kind} is none of protobuf's"
        raise _CutShortError(message)
    if at + size > len(data):
        message = f"a field says that it has {size} bytes"
        raise _CutShortError(message)
    return data[at : at + size], at + size


def _words(value: int | bytes, field: FieldDescriptor | None) -> str:
    if isinstance(value, int):
        names = field.enum_type.values_by_number if field is not None and field.enum_type is not None else {}
        return f"{value} ({names[value].name})" if value in names else str(value)
    if field is not None and field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return f"{struct.unpack('<d' if len(value) == 8 else '<f', value)[0]:g}"
    if field is not None and field.type in {FieldDescriptor.TYPE_SFIXED64, FieldDescriptor.TYPE_FIXED64}:
        return str(int.from_bytes(value, "little", signed=True))
    if field is not None and field.type == FieldDescriptor.TYPE_STRING:
        return repr(value.decode(errors="replace"))[:_LONGEST_VALUE]
    shown = value[:16].hex(" ")
    return f"{len(value)} bytes: {shown}{' ...' if len(value) > 16 else ''}"
