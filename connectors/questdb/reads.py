"""Reading QuestDB: queries into polars, and knowing when acknowledged rows have become visible.

An acknowledged row is in the write-ahead log; a job in the server applies the log to the table soon after. A suspended
table acknowledges rows for ever and shows none of them: `health` tells.
"""

import io
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import LOGGED, ROLLUPS
from dataflows.contracts.tables import TABLES
from dataflows.settings import QuestDBSettings

_POLL_S = 0.02


def resume_sql(table: str) -> str:
    """Returns the statement that has a suspended table, or a roll-up, apply its log again."""
    return f"ALTER {'MATERIALIZED VIEW' if table in ROLLUPS else 'TABLE'} {table} RESUME WAL"


@dataclass(frozen=True)
class TableHealth:
    """How far the log of one table, or of one roll-up, is applied."""

    table: str
    suspended: bool
    pending_transactions: int
    """Acknowledged transactions that readers do not see yet."""
    error: str = ""
    """Why the table is suspended, in the server's words."""


class QuestDBReader:
    """Read access for the command line, dashboards and tests."""

    def __init__(self, settings: QuestDBSettings, timeout_s: float = 60.0) -> None:
        self._http = QuestDBHttp(settings, timeout_s)

    def query(self, sql: str) -> pl.DataFrame:
        """Runs a query; timestamps are UTC ns, DOUBLE[] are lists of float64, UUIDs are text.

        Raises:
            QueryError: The server refused the query.
            QuestDBUnavailableError: The server does not answer.
        """
        frame = pl.read_parquet(io.BytesIO(self._http.export(self._exportable(sql))))
        binary = [name for name, kind in frame.schema.items() if kind == pl.Binary]
        return frame.with_columns(
            pl.col(name).map_elements(lambda value: str(uuid.UUID(bytes=value)), return_dtype=pl.String)
            for name in binary
        )

    def _exportable(self, sql: str) -> str:
        """The query with text as STRING: an export of VARCHAR with nulls is all nulls (9.3.4)."""
        columns = self._http.execute(f"SELECT * FROM ({sql}) LIMIT 0")["columns"]  # noqa: S608  (our own callers)
        if all(column["type"] != "VARCHAR" for column in columns):
            return sql
        names = [(f'"{column["name"]}"', column["type"]) for column in columns]
        wanted = ", ".join(f"cast({name} AS STRING) {name}" if kind == "VARCHAR" else name for name, kind in names)
        return f"SELECT {wanted} FROM ({sql})"  # noqa: S608  (our own callers)

    def count(self, table: str, where: str = "") -> int:
        """Returns how many rows of a table are visible."""
        condition = f" WHERE {where}" if where else ""
        return int(self._http.rows(f'SELECT count() n FROM "{table}"{condition}')[0]["n"])  # noqa: S608  (our own callers)

    def count_of(self, query: str) -> int:
        """Returns how many rows a query in parentheses gives."""
        return int(self._http.rows(f"SELECT count() n FROM {query}")[0]["n"])  # noqa: S608  (our own callers)

    def health(self) -> list[TableHealth]:
        """Returns the state of every described table's log, and of every roll-up's: trends are read from those."""
        return [
            TableHealth(
                row["name"],
                bool(row["suspended"]),
                int(row["sequencerTxn"]) - int(row["writerTxn"]),
                f"{row['errorTag']} {row['errorMessage']}".strip(),
            )
            for row in self._http.rows("SELECT * FROM wal_tables()")
            if row["name"] in LOGGED
        ]

    def wait_applied(self, tables: Iterable[str] = tuple(TABLES), timeout_s: float = 30.0) -> None:
        """Waits until every row that was acknowledged before the call is visible.

        Raises:
            TimeoutError: It did not happen in time, or a table is suspended.
        """
        wanted = set(tables)
        deadline = time.monotonic() + timeout_s
        while True:
            behind = [state for state in self.health() if state.table in wanted and state.pending_transactions > 0]
            if not behind:
                return
            if any(state.suspended for state in behind) or time.monotonic() > deadline:
                message = f"rows are acknowledged but not visible: {behind}"
                raise TimeoutError(message)
            time.sleep(_POLL_S)
