"""Messages of the stream SPILL: rows that QuestDB did not acknowledge in time, self-describing and versioned.

A message is msgpack: `[version, table, [column, ...], [row, ...]]`. A row is a list of values in the order of the
columns; an array of float64 is extension type 1 holding its little-endian bytes. The message id is a hash of the
content, so a batch that is written again falls to the stream's deduplication, and to the table's DEDUP in any case.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np

from connectors.questdb.ilp import TableRow
from dataflows.contracts.tables import TABLES
from dataflows.monitor.rows import Row

VERSION = 1
MAX_BYTES = 512 * 1024
"""Largest message, unless a single row is larger."""
SUBJECT = "spill.v1"
_FLOAT64 = 1

Message = tuple[str, dict[str, str], bytes]
"""Subject, headers, payload."""


class SpillFormatError(ValueError):
    """A message that is not a SPILL message of a version known here."""


def _enc_hook(value: object) -> object:
    if isinstance(value, np.ndarray) and value.dtype == np.float64 and value.ndim == 1:
        return msgspec.msgpack.Ext(_FLOAT64, value.astype("<f8", copy=False).tobytes())
    # A value that no table can hold still has to reach REJECTED with its row.
    return repr(value)


def _ext_hook(code: int, data: memoryview) -> object:
    if code != _FLOAT64:
        message = f"unknown extension type {code}"
        raise SpillFormatError(message)
    return np.frombuffer(data, dtype="<f8").astype(np.float64)


_encoder = msgspec.msgpack.Encoder(enc_hook=_enc_hook)
_decoder = msgspec.msgpack.Decoder(tuple[int, str, list[str], list[list[Any]]], ext_hook=_ext_hook)


def _encode_row(row: Row) -> bytes:
    try:
        return _encoder.encode(row)
    except (OverflowError, ValueError):  # integers beyond 64 bits, text that is not Unicode
        return _encoder.encode([value if isinstance(value, float) else repr(value) for value in row])


def encode_message(table: str, rows: list[bytes]) -> bytes:
    """Returns one payload with rows that are already encoded."""
    return _encoder.encode(
        (VERSION, table, [name for name, _ in TABLES[table].columns], [msgspec.Raw(row) for row in rows])
    )


def message_id(payload: bytes) -> str:
    """Returns the message id of a payload: the same rows have the same id."""
    return hashlib.blake2b(payload, digest_size=16).hexdigest()


def spill_messages(rows: Iterable[TableRow]) -> Iterator[Message]:
    """Packs rows into messages of at most `MAX_BYTES`, in order, one table each."""
    packs: dict[str, list[bytes]] = {}
    sizes: dict[str, int] = {}
    for table, row in rows:
        data = _encode_row(row)
        if sizes.get(table, 0) + len(data) > MAX_BYTES - 1024 and packs[table]:
            yield _message(table, packs.pop(table))
            sizes[table] = 0
        packs.setdefault(table, []).append(data)
        sizes[table] = sizes.get(table, 0) + len(data)
    for table, pack in packs.items():
        yield _message(table, pack)


def _message(table: str, rows: list[bytes]) -> Message:
    payload = encode_message(table, rows)
    return f"{SUBJECT}.{table}", {"Nats-Msg-Id": message_id(payload)}, payload


def decode_message(payload: bytes) -> list[TableRow]:
    """Returns the rows of a message in the present column order; columns added since are null.

    Raises:
        SpillFormatError: Not a message of a known version, or of a table that is not described.
    """
    try:
        version, table, columns, rows = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        message = f"not a SPILL message: {error}"
        raise SpillFormatError(message) from error
    if version != VERSION or table not in TABLES:
        message = f"SPILL message of version {version} for table {table!r} is not known here"
        raise SpillFormatError(message)
    present = [name for name, _ in TABLES[table].columns]
    if columns == present:
        return [(table, tuple(row)) for row in rows]
    at = {name: i for i, name in enumerate(columns)}
    picks = [at.get(name) for name in present]
    return [(table, tuple(None if i is None else row[i] for i in picks)) for row in rows]
