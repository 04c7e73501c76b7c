"""Rows to QuestDB by the official client, ILP over HTTP: one request, one acknowledgement, one verdict on each row.

Over HTTP the server answers a request only when its rows are in the write-ahead log, and refuses a request with a bad
row whole, naming the line. The bad row is taken out, tried alone to be sure, and the others are sent again: DEDUP makes
that harmless.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from questdb import QuestDBError, Sender, TimestampNanos

from connectors.questdb.http import QuestDBUnavailableError
from dataflows.contracts.tables import TABLES, Kind
from dataflows.monitor.rows import Row
from dataflows.settings import QuestDBSettings

TableRow = tuple[str, Row]
"""Name of the table and the row in its column order."""

_LINE = re.compile(r'"line":\s*(\d+)')


class RowError(ValueError):
    """A row that can never be written: wrong number, type or range of a value."""


class RejectionError(ValueError):
    """The server refused a request for the content of one row.

    Attributes:
        index: Position of the row in the request that the server names, or None when it names none.
    """

    def __init__(self, message: str, index: int | None) -> None:
        super().__init__(message)
        self.index = index


class Buffer(Protocol):
    """The client's row buffer."""

    def row(self, table_name: str, *, symbols: dict[str, Any], columns: dict[str, Any], at: TimestampNanos) -> object:
        """Appends a row; leaves the buffer as it was when the row is refused."""

    def __len__(self) -> int: ...


@dataclass
class Outcome:
    """What became of a set of rows."""

    written: int = 0
    """Number of rows that the server acknowledged."""
    rejected: list[tuple[TableRow, str]] = field(default_factory=list)
    """Rows that can never be written, with the reason in the server's or the client's words."""
    pending: list[TableRow] = field(default_factory=list)
    """Rows without an acknowledgement."""
    error: str | None = None
    """Why the database took no rows; None while it answers, even where time ran out before all rows were judged."""

    def add(self, other: "Outcome") -> None:
        """Takes in what became of other rows."""
        self.written += other.written
        self.rejected += other.rejected
        self.pending += other.pending
        self.error = other.error or self.error


class _Layout:
    """How the columns of one table go into the client's `row()`."""

    def __init__(self, name: str) -> None:
        columns = TABLES[name].columns
        self.width = len(columns)
        self.symbols = [(i, column) for i, (column, kind) in enumerate(columns) if kind is Kind.SYMBOL]
        self.columns = [(i, column) for i, (column, kind) in enumerate(columns) if i > 0 and kind is not Kind.SYMBOL]


_LAYOUTS = {name: _Layout(name) for name in TABLES}


def add_row(buffer: Buffer, table: str, row: Row) -> None:
    """Appends one row to an ILP buffer.

    Raises:
        RowError: A value has a type or range that the protocol cannot carry; the buffer is as before.
        KeyError: The table is not described in tables.py (a defect of the program, not of the data).
    """
    layout = _LAYOUTS[table]
    if len(row) != layout.width:
        message = f"{table}: {len(row)} values for {layout.width} columns"
        raise RowError(message)
    try:
        buffer.row(
            table,
            symbols={name: row[i] for i, name in layout.symbols},
            columns={name: row[i] for i, name in layout.columns},
            at=TimestampNanos(row[0]),
        )
    except (QuestDBError, TypeError, ValueError, OverflowError) as error:
        message = f"{table}: {error}"
        raise RowError(message) from error


def conf_string(settings: QuestDBSettings, request_timeout_ms: int) -> str:
    """Returns the client's configuration: no flush or retry of its own, a fixed deadline for each request."""
    url = urlsplit(settings.http_url)
    parts = [
        f"{url.scheme}::addr={url.hostname}:{url.port or 9000}",
        "auto_flush=off",
        # Stated, so that opening the sender asks the server nothing: it must open while the server is down.
        "protocol_version=2",
        "retry_timeout=0",
        f"request_timeout={request_timeout_ms}",
        "request_min_throughput=0",
    ]
    if settings.user:
        password = settings.password.get_secret_value() if settings.password else ""
        parts += [f"username={settings.user}", f"password={password.replace(';', ';;')}"]
    return ";".join(parts) + ";"


class IlpWriter:
    """Writes rows and returns what became of each. Belongs to one thread at a time."""

    def __init__(self, settings: QuestDBSettings, request_timeout_ms: int) -> None:
        self._conf = conf_string(settings, request_timeout_ms)
        self._sender: Sender | None = None

    def write(self, rows: Sequence[TableRow], deadline: float | None = None) -> Outcome:
        """Writes rows in one request, or in as many as it takes to leave the bad ones out.

        Args:
            rows: Rows of any tables.
            deadline: `time.monotonic()` after which bad rows are no longer told from good ones: the rest is pending.
        """
        outcome = Outcome()
        queue: list[list[TableRow]] = [list(rows)]
        while queue:
            part = queue.pop()
            if deadline is not None and time.monotonic() > deadline and len(part) < len(rows):
                outcome.pending += part
                continue
            try:
                self._request(part, outcome)
            except RejectionError as error:
                queue += _without_suspect(part, error, outcome)
            except QuestDBUnavailableError as error:
                outcome.error = str(error)
                outcome.pending += part
                for rest in queue:
                    outcome.pending += rest
                break
        return outcome

    def _request(self, rows: list[TableRow], outcome: Outcome) -> None:
        """Sends rows; those that the client cannot encode are rejected and taken out of `rows`."""
        if self._sender is None:
            self._sender = Sender.from_conf(self._conf)
            # The client's stub leaves the return type out.
            self._sender.establish()  # type: ignore[no-untyped-call]
        buffer = self._sender.new_buffer()
        kept: list[TableRow] = []
        for table_row in rows:
            try:
                add_row(buffer, *table_row)
            except RowError as error:
                outcome.rejected.append((table_row, str(error)))
            else:
                kept.append(table_row)
        rows[:] = kept
        if not kept:
            return
        try:
            self._sender.flush(buffer, clear=False)
        except QuestDBError as error:
            raise self._classify(error) from error
        outcome.written += len(kept)

    def _classify(self, error: QuestDBError) -> RejectionError | QuestDBUnavailableError:
        text = str(error)
        # "does not exist" is a missing table or column: the schema's fault, which no row must pay for.
        if '"code":"invalid"' in text and "does not exist" not in text:
            line = _LINE.search(text)
            index = int(line.group(1)) - 1 if line else -1
            return RejectionError(text, index if index >= 0 else None)
        self.close()
        return QuestDBUnavailableError(text)

    def close(self) -> None:
        """Drops the connection; the next write opens another."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.close(flush=False)


def _without_suspect(part: list[TableRow], error: RejectionError, outcome: Outcome) -> list[list[TableRow]]:
    """Returns the parts to try next after a rejection: suspect and others, or halves without a suspect."""
    if len(part) == 1:
        outcome.rejected.append((part[0], str(error)))
        return []
    if error.index is not None and error.index < len(part):
        return [part[: error.index] + part[error.index + 1 :], [part[error.index]]]
    middle = len(part) // 2
    return [part[middle:], part[:middle]]
