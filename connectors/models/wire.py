"""What the graph and a scorer's process say to each other: length-prefixed msgpack over a socket pair."""

import socket
import struct
import time
from typing import Any

import msgspec
import numpy as np

from dataflows.models.features import Batch, Series, Window

_LENGTH = struct.Struct("<I")


class Hello(msgspec.Struct, tag=True, array_like=True):
    """The scorer is ready."""


class Refused(msgspec.Struct, tag=True, array_like=True):
    """The scorer raised, at its start or on a batch."""

    error: str


class Scores(msgspec.Struct, tag=True, array_like=True):
    """One score a window; NaN for none."""

    scores: list[float]


Answer = Hello | Refused | Scores


def send(to: socket.socket, payload: bytes, deadline: float) -> None:
    """Sends a message.

    Raises:
        TimeoutError: It was not taken until the deadline (`time.monotonic`).
        OSError: The other side is gone.
    """
    to.settimeout(max(deadline - time.monotonic(), 1e-6))
    to.sendall(_LENGTH.pack(len(payload)) + payload)


def receive(of: socket.socket, deadline: float | None) -> bytes:
    """Returns the next message.

    Raises:
        TimeoutError: None came until the deadline.
        EOFError: The other side is gone.
    """
    (size,) = _LENGTH.unpack(_exactly(of, _LENGTH.size, deadline))
    return _exactly(of, size, deadline)


def _exactly(of: socket.socket, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        of.settimeout(None if deadline is None else max(deadline - time.monotonic(), 1e-6))
        part = of.recv(size - len(parts))
        if not part:
            message = "the other side is gone"
            raise EOFError(message)
        parts += part
    return bytes(parts)


def encode_batch(batch: Batch) -> bytes:
    """The batch as bytes."""
    windows = [
        (
            one.tenant, one.patient, one.end_ns,
            {code: (series.time_s.tobytes(), series.value.tobytes()) for code, series in one.series.items()},
        )
        for one in batch.windows
    ]  # fmt: skip
    return msgspec.msgpack.encode((list(batch.columns), batch.features.tobytes(), windows))


def decode_batch(payload: bytes) -> Batch:
    """The batch of bytes."""
    kind = tuple[list[str], bytes, list[tuple[str, str, int, dict[str, tuple[bytes, bytes]]]]]
    columns, matrix, listed = msgspec.msgpack.decode(payload, type=kind)
    windows = [
        Window(tenant, patient, end_ns, {code: _series(*pair) for code, pair in series.items()}, ready=True)
        for tenant, patient, end_ns, series in listed
    ]
    features = np.frombuffer(matrix, dtype=np.float64).reshape(len(windows), len(columns))
    return Batch(columns, features, windows)


def _series(time_s: bytes, value: bytes) -> Series:
    return Series(np.frombuffer(time_s, dtype=np.float64), np.frombuffer(value, dtype=np.float64))


def encode_answer(answer: Answer) -> bytes:
    """The answer as bytes."""
    return msgspec.msgpack.encode(answer)


def decode_answer(payload: bytes) -> Any:
    """The answer of bytes.

    Raises:
        ValueError: It is none.
    """
    return msgspec.msgpack.decode(payload, type=Answer)
