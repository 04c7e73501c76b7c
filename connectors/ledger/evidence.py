"""Collects the evidence of the loss ledger: the log, REJECTED, SPILL, the database, and how far the flow is."""

import asyncio
import itertools
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import polars as pl
from google.protobuf.message import DecodeError
from nats.aio.client import Client

from connectors.jetstream.history import bounds, messages, stored
from connectors.jetstream.source import JetStreamSource, open_puller
from connectors.local.recovery import RecoveryStore
from connectors.questdb.reads import QuestDBReader
from connectors.questdb.reject import REASON
from connectors.questdb.spill import SpillFormatError, decode_message
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import DEFAULT_TENANT, FLOW_REJECTS
from dataflows.contracts.tables import TABLES
from dataflows.ledger import CHOICES_SCHEMA, IDENTITY, RECEIVED_SCHEMA, REJECTED_SCHEMA, ROWS_SCHEMA, Evidence
from dataflows.settings import Settings

_TABLES = ("waveforms", "observations")
"""Each frame makes its rows in one of them."""
_SUBJECT = re.compile(r"vp\.(\d+)\.([^.]*)\.([^.]*)\.([^.]*)\.([^.]*)")
Received = tuple[int, int, str, str, str, int | None, str, int | None, int | None]


async def collect(client: Client, settings: Settings, first: int, last: int) -> Evidence:
    """Reads everything about the messages `first` to `last` of the log.

    The order matters while the pipeline runs: how far the flow is comes first and the database last, so that a row on
    its way from SPILL to the database is seen at least once.

    Raises:
        TimeoutError: The database acknowledges rows and does not show them (a suspended table).
        QuestDBUnavailableError: It does not answer.
    """
    streams = settings.streams
    positions = RecoveryStore(settings.stack.data_dir.absolute() / "recovery", settings).positions()
    received = await asyncio.to_thread(lambda: list(_received(settings, first, last)))
    rejected, refused = await refusals(client, streams.rejected)
    spilled: list[tuple[Any, ...]] = []
    async for message in stored(client, streams.spill, "spill.v1.>"):
        spilled += _rows(message.data or b"")
    reader = QuestDBReader(settings.questdb)
    reader.wait_applied((*_TABLES, "late_frames", "commands"))
    return Evidence(
        pl.DataFrame(received, RECEIVED_SCHEMA, orient="row"),
        pl.DataFrame(rejected, REJECTED_SCHEMA, orient="row"),
        pl.concat([_stored(reader, table) for table in _TABLES]),
        _stored(reader, "late_frames"),
        pl.DataFrame(spilled, ROWS_SCHEMA, orient="row"),
        pl.DataFrame(refused, ROWS_SCHEMA, orient="row"),
        {partition: position.seq for partition, position in positions.items()},
        _choices(reader),
    )


def _received(settings: Settings, first: int, last: int) -> Iterator[Received]:
    """What the log holds, by the reader of the flow: it also reads what other clients break off at."""
    parts = JetStreamSource(settings).list_parts() if first <= last else []
    pullers = [open_puller(settings, "ledger", part, None, start_seq=first, until_seq=last) for part in parts]
    try:
        while reading := [puller for puller in pullers if puller.last_seq < last]:
            batches = [puller.poll(settings.flow.batch_messages) for puller in reading]
            for _, messages_of in itertools.chain.from_iterable(batches):
                for subject, log_seq, _, payload in messages_of.entries():
                    match = _SUBJECT.fullmatch(subject.decode())
                    # Ticks, their schedules and commands make no rows.
                    if match and (match[2], match[4]) != ("tick", "broker") and match[4] != "control":
                        yield received(int(match[1]), match.groups()[1:], log_seq, payload)
            if not any(batches):
                time.sleep(settings.flow.poll_ms / 1000)
    finally:
        for puller in pullers:
            puller.close()


def received(partition: int, tokens: tuple[str, ...], log_seq: int, payload: bytes) -> Received:
    """Returns what a message claims to be: by its frame, or by its subject where it is no frame."""
    tenant, patient, device, signal = tokens
    try:
        frame = pb.Frame.FromString(payload)
    except DecodeError:
        return (log_seq, partition, tenant, patient, device, None, signal, None, None)
    count = _row_count(frame)
    # The counters of a broken message may be beyond what a column of signed integers holds; it is in REJECTED.
    boot, seq = (number if number < 1 << 63 else None for number in (frame.boot_id, frame.seq))
    return (log_seq, partition, frame.tenant or DEFAULT_TENANT, frame.patient, frame.device, boot, signal, seq, count)


def _row_count(frame: pb.Frame) -> int:
    """Rows that a frame makes: a code at a moment is one row, however often it is sent."""
    match frame.WhichOneof("body"):
        case "observations":
            return len({(item.code, item.offset_ms) for item in frame.observations.items})
        case "questionnaire":
            return len({answer.item for answer in frame.questionnaire.answers})
        case _:
            return 1


async def refusals(client: Client, stream: str) -> tuple[list[tuple[int, str]], list[tuple[Any, ...]]]:
    """Returns messages of the log that the flow refused, and rows that the database refused.

    What bridges refused was never in the log, and they could say of others' messages what they like.
    """
    first, last = await bounds(client, stream)
    refused: list[tuple[int, str]] = []
    rows: list[tuple[Any, ...]] = []
    async for message in messages(client, stream, first, last, *FLOW_REJECTS):
        headers = message.headers or {}
        reason = headers.get("Vitals-Reason", "")
        if reason == REASON:
            rows += _rows(message.data)
        elif "Vitals-Log-Seq" in headers:
            refused.append((int(headers["Vitals-Log-Seq"]), reason))
    return refused, rows


def _rows(payload: bytes) -> Iterable[tuple[Any, ...]]:
    """Identity and count of each frame's rows in a message of SPILL."""
    try:
        rows = decode_message(payload)
    except SpillFormatError:
        return []
    columns = {table: [name for name, _ in TABLES[table].columns] for table in _TABLES}
    return [(*(row[columns[table].index(name)] for name in IDENTITY), 1) for table, row in rows if table in columns]


def _choices(reader: QuestDBReader) -> pl.DataFrame:
    """What commands said of the storage of waves."""
    found = reader.query(
        "SELECT tenant, patient, log_seq since_seq, argument FROM commands WHERE name = 'waveforms' AND result = 'done'"
    )
    keep = pl.col("argument").str.json_path_match("$.keep").alias("keep")
    return found.with_columns(keep).select(pl.col(name).cast(kind) for name, kind in CHOICES_SCHEMA.items())


def _stored(reader: QuestDBReader, table: str) -> pl.DataFrame:
    names = ", ".join(IDENTITY)
    found = reader.query(f"SELECT {names}, count() rows FROM {table} GROUP BY {names}")  # noqa: S608  (constants)
    return found.select(pl.col(name).cast(kind) for name, kind in ROWS_SCHEMA.items())
