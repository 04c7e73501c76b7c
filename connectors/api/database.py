"""QuestDB for reading: the read-only user, a few connections, a limit of rows and of time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from dataflows.settings import QuestDBSettings

_CONNECTIONS = 4
_TIMEOUT_S = 10.0

Row = dict[str, Any]
_Connection = psycopg.AsyncConnection[Row]


class DatabaseUnavailableError(ConnectionError):
    """The database does not answer; live strips and alerts go on without it."""


class Database:
    """Queries as the read-only user; values are never put into the text of a statement by hand.

    Args:
        settings: Where QuestDB is.
    """

    def __init__(self, settings: QuestDBSettings) -> None:
        password = settings.reader_password.get_secret_value()
        self._dsn = make_conninfo(settings.pg_dsn, user=settings.reader, password=password, connect_timeout=5)
        self._limit = asyncio.Semaphore(_CONNECTIONS)
        # A connection costs 40 ms to make, so those that are idle are kept.
        self._idle: list[_Connection] = []

    async def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Runs a query.

        Args:
            sql: With `%s` for each value.
            values: Strings, integers and floats.

        Raises:
            DatabaseUnavailableError: No answer, or none in time.
        """
        try:
            async with self._limit, asyncio.timeout(_TIMEOUT_S):
                while True:
                    kept = bool(self._idle)
                    connection = self._idle.pop() if kept else await self._connect()
                    try:
                        cursor = await connection.execute(sql, values or None)
                        found = await cursor.fetchall()
                    except BaseException as error:
                        await connection.close()
                        # A kept connection may have died with a server that was restarted: again on a new one.
                        if kept and isinstance(error, psycopg.OperationalError):
                            continue
                        raise
                    self._idle.append(connection)
                    return found
        except (psycopg.OperationalError, TimeoutError, OSError) as error:
            message = f"QuestDB does not answer: {str(error) or type(error).__name__}"
            raise DatabaseUnavailableError(message) from error

    async def close(self) -> None:
        """Closes what is idle."""
        while self._idle:
            await self._idle.pop().close()

    async def _connect(self) -> _Connection:
        return await psycopg.AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            row_factory=dict_row,
            # QuestDB takes text better than bound timestamps; the client quotes the values.
            cursor_factory=psycopg.AsyncClientCursor,
        )
