"""What the replay of a range of the log made against what the live flow made of it: alert bytes, rows, rejects."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import polars as pl
from nats.aio.client import Client

from connectors.history.capture import captured_messages, captured_rows
from connectors.history.graph import ALERTS, REJECTED, ROWS
from connectors.jetstream.history import bounds, messages
from connectors.jetstream.sink import WRITER
from connectors.questdb.frames import table_frame
from connectors.questdb.reads import QuestDBReader
from dataflows._native import partition_of
from dataflows.contracts.frames import FLOW_REJECTS
from dataflows.contracts.tables import AUDIT, TABLES
from dataflows.monitor.rows import Row
from dataflows.settings import Settings

_SHOWN = 5


@dataclass(frozen=True)
class Window:
    """What is compared.

    Attributes:
        after_ns: Per partition, log time up to which outputs are the warm-up's or of before the snapshot, and left out.
        until_ns: Per partition, log time up to which both runs have fired every deadline; what is absent has no end.
        after: Per partition, the sequence of the log after which the replay read.
        last: Last sequence of the log that the replay read.
    """

    after_ns: Mapping[int, int]
    until_ns: Mapping[int, int]
    after: Mapping[int, int]
    last: int


@dataclass
class Comparison:
    """How one kind of output compares.

    Attributes:
        name: Table, or stream (`ALERTS` is the stream, `alerts` the table).
        same: How many are the same in both.
        only_live: Some that the replay did not make, in words.
        only_replay: Some that the live flow did not make, in words.
        differing: How many are in one only.
        left_out: How many of the replay's fell into the warm-up or after the end.
    """

    name: str
    same: int = 0
    only_live: list[str] = field(default_factory=list)
    only_replay: list[str] = field(default_factory=list)
    differing: int = 0
    left_out: int = 0


class _Place(msgspec.Struct):
    """What an alert's body says of where it belongs."""

    tenant: str
    patient: str
    log_ns: int
    log_seq: int = 0


class Comparer:
    """Compares a replay with the streams and the database.

    Args:
        settings: Where they are.
        window: What is compared.
        scratch: Folder of the replay.
    """

    def __init__(self, settings: Settings, window: Window, scratch: Path) -> None:
        self._settings = settings
        self._window = window
        self._out = scratch / "out"

    def _inside(self, tenant: str, patient: str, log_ns: int) -> bool:
        partition = partition_of(tenant, patient, self._settings.streams.partitions)
        until_ns = self._window.until_ns.get(partition)
        return log_ns > self._window.after_ns.get(partition, -1) and (until_ns is None or log_ns <= until_ns)

    async def alerts(self, client: Client) -> Comparison:
        """Compares alerts byte for byte: id, subject, body."""

        def inside(message: tuple[str, str, bytes]) -> bool:
            place = msgspec.json.decode(message[2], type=_Place)
            return place.log_seq <= self._window.last and self._inside(place.tenant, place.patient, place.log_ns)

        live = await self._written(client, self._settings.streams.alerts, "alerts.v1.>")
        replayed = captured_messages(self._out, ALERTS)
        kept = [message for message in replayed if inside(message)]
        found = _compare(self._settings.streams.alerts, [message for message in live if inside(message)], kept)
        found.left_out = len(replayed) - len(kept)
        return found

    async def rejects(self, client: Client) -> Comparison:
        """Compares rejects byte for byte; their id begins with the sequence of what was rejected."""

        def placed(found: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
            # The rest of the id is new: what a flow of before wrote has none.
            parted = [(name.partition(".")[0], subject, body) for name, subject, body in found]
            return [message for message in parted if first < int(message[0]) <= self._window.last]

        first = max(self._window.after.values(), default=0)
        live = await self._written(client, self._settings.streams.rejected, *FLOW_REJECTS)
        replayed = captured_messages(self._out, REJECTED)
        return _compare(self._settings.streams.rejected, placed(live), placed(replayed))

    async def _written(self, client: Client, stream: str, *subjects: str) -> list[tuple[str, str, bytes]]:
        """What the flow wrote into a stream: id, subject, body. Others have their say there too."""
        found = []
        async for message in messages(client, stream, *await bounds(client, stream), *subjects):
            headers = message.headers or {}
            if WRITER in headers:
                found.append((headers.get("Nats-Msg-Id", ""), message.subject, message.data))
        return found

    def rows(self) -> list[Comparison]:
        """Compares every table that a flow writes row for row, in the columns of its description."""
        captured: dict[str, list[Row]] = {}
        for name, row in captured_rows(self._out, ROWS):
            captured.setdefault(name, []).append(row)
        reader = QuestDBReader(self._settings.questdb)
        reader.wait_applied()
        return [self._table(name, captured.get(name, []), reader) for name in TABLES if name != AUDIT.name]

    def _table(self, name: str, rows: list[Row], reader: QuestDBReader) -> Comparison:
        table = TABLES[name]
        replayed = table_frame(name, rows).unique(table.dedup, keep="last", maintain_order=True)
        columns = ", ".join(f'"{column}"' for column, _ in table.columns)
        live = reader.query(f'SELECT {columns} FROM "{name}"').cast(replayed.schema)  # noqa: S608  (constants)
        replayed, live = _plain(replayed), _plain(live)
        kept = self._windowed(replayed)
        found = _compare(name, map(_words, self._windowed(live).rows()), map(_words, kept.rows()))
        found.left_out = replayed.height - kept.height
        return found

    def _windowed(self, frame: pl.DataFrame) -> pl.DataFrame:
        moment = "log_ns" if "log_ns" in frame.columns else pl.col("ts").cast(pl.Int64)
        places = frame.select("tenant", "patient", moment).rows()
        return frame.filter(pl.Series([self._inside(*place) for place in places], dtype=pl.Boolean))


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The database keeps neither NaN nor an empty text apart from null."""
    return frame.with_columns(pl.col(pl.Float64).fill_nan(None), pl.col(pl.String).replace("", None))


def _words(row: Row) -> str:
    return repr(row)


def _compare(name: str, live: Iterable[object], replayed: Iterable[object]) -> Comparison:
    has, made = Counter(live), Counter(replayed)
    missing, extra = has - made, made - has
    return Comparison(
        name,
        (has & made).total(),
        [str(value)[:400] for value in list(missing)[:_SHOWN]],
        [str(value)[:400] for value in list(extra)[:_SHOWN]],
        missing.total() + extra.total(),
    )
