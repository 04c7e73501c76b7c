"""Sinks that write to files exactly once: the scratch stream and the scratch tables of a replay.

A file is cut back to the length that the recovery state knows, so what a killed flow wrote after its last epoch is
written again in the same place.
"""

import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.jetstream.sink import OutMessage
from connectors.questdb.ilp import TableRow
from connectors.questdb.spill import decode_message, spill_messages
from dataflows.monitor.rows import RowSource

_PARTS = 4
_LENGTH = struct.Struct("<I")
Encode = Callable[[list[object]], Iterable[bytes]]


class _CapturePartition(StatefulSinkPartition[object, int]):
    """One file. Its state is the length up to which everything is durable."""

    def __init__(self, path: Path, encode: Callable[..., Iterable[bytes]], length: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.truncate(path, length)
        self._file = path.open("ab")
        self._encode = encode

    def write_batch(self, values: list[object]) -> None:
        """Appends."""
        for payload in self._encode(values):
            self._file.write(_LENGTH.pack(len(payload)) + payload)

    def snapshot(self) -> int:
        """Flushes; returns the length."""
        self._file.flush()
        return self._file.tell()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class CaptureSink(FixedPartitionedSink[object, int]):
    """Writes keyed values to `<folder>/<name>-<part>.bin`.

    Args:
        folder: Where.
        name: What the files are called.
        encode: Makes payloads of a batch.
    """

    def __init__(self, folder: Path, name: str, encode: Callable[..., Iterable[bytes]]) -> None:
        self._folder = folder
        self._name = name
        self._encode = encode

    def list_parts(self) -> list[str]:
        """Names of the files."""
        return [f"{self._name}-{n}" for n in range(_PARTS)]

    def part_fn(self, item_key: str) -> int:
        """File of a key; Bytewax takes it modulo their number."""
        return zlib.crc32(item_key.encode())

    def build_part(self, step_id: str, for_part: str, resume_state: int | None) -> _CapturePartition:
        """Opens one file and cuts it back to the recovery state."""
        return _CapturePartition(self._folder / f"{for_part}.bin", self._encode, resume_state or 0)


def encode_messages(values: list[OutMessage]) -> Iterator[bytes]:
    """Payloads of messages: id, subject, body."""
    for value in values:
        yield msgspec.msgpack.encode((value.message_id, value.subject, value.payload))


def encode_rows(values: list[RowSource]) -> Iterator[bytes]:
    """Payloads of rows, as SPILL has them."""
    rows = ((table, row) for value in values for table, some in value.rows() for row in some)
    return (payload for _, _, payload in spill_messages(rows))


def _payloads(folder: Path, name: str) -> Iterator[bytes]:
    for path in sorted(folder.glob(f"{name}-*.bin")):
        data = path.read_bytes()
        at = 0
        while at < len(data):
            (size,) = _LENGTH.unpack_from(data, at)
            at += _LENGTH.size
            yield data[at : at + size]
            at += size


def captured_messages(folder: Path, name: str) -> list[tuple[str, str, bytes]]:
    """Returns what a message sink captured: (id, subject, body)."""
    return [msgspec.msgpack.decode(payload, type=tuple[str, str, bytes]) for payload in _payloads(folder, name)]


def captured_rows(folder: Path, name: str) -> Iterator[TableRow]:
    """Yields what a row sink captured, in the order of writing for each key."""
    for payload in _payloads(folder, name):
        yield from decode_message(payload)
