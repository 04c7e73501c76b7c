"""QuestDB's REST interface for statements and exports: the standard library is enough, with a deadline on each call."""

import base64
import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from dataflows.settings import QuestDBSettings


class QuestDBUnavailableError(ConnectionError):
    """The server did not answer, or answered that it cannot serve now; the same request may succeed later."""


class QueryError(ValueError):
    """The server refused a statement."""


class QuestDBHttp:
    """One address of QuestDB; every call opens its own connection, so a dead server cannot wedge the next call."""

    def __init__(self, settings: QuestDBSettings, timeout_s: float = 5.0) -> None:
        url = urlsplit(settings.http_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            message = f"questdb.http_url must look like http://host:9000, not {settings.http_url!r}"
            raise ValueError(message)
        self._https = url.scheme == "https"
        self._host = url.hostname
        self._port = url.port or 9000
        self._timeout_s = timeout_s
        self._headers: dict[str, str] = {}
        if settings.user:
            password = settings.password.get_secret_value() if settings.password else ""
            token = base64.b64encode(f"{settings.user}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def execute(self, sql: str) -> dict[str, Any]:
        """Runs a statement or a query over `/exec`.

        Returns:
            The server's JSON answer: `columns` and `dataset` for a query, `ddl` for a statement.

        Raises:
            QueryError: The server refused the statement.
            QuestDBUnavailableError: No answer within the timeout, or one that says "not now".
        """
        status, body = self._get("/exec", {"query": sql})
        try:
            answer: dict[str, Any] = json.loads(body)
        except ValueError as error:
            message = f"QuestDB at {self._host}:{self._port} answered {status} without JSON"
            raise QuestDBUnavailableError(message) from error
        if "error" in answer:
            if status >= 500 or "permission denied" in answer["error"].lower():
                raise QuestDBUnavailableError(answer["error"])
            message = f"{answer['error']} in: {sql}"
            raise QueryError(message)
        return answer

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """Runs a query and returns its rows as dictionaries."""
        answer = self.execute(sql)
        names = [column["name"] for column in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["dataset"]]

    def export(self, sql: str, fmt: str = "parquet") -> bytes:
        """Runs a query over `/exp` and returns the file it answers with."""
        status, body = self._get("/exp", {"query": sql, "fmt": fmt})
        if status != 200 or body[:1] == b"{":
            message = f"QuestDB answered {status}: {body[:500].decode(errors='replace')} to: {sql}"
            raise QueryError(message)
        return body

    def _get(self, path: str, query: dict[str, str]) -> tuple[int, bytes]:
        connection_type = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        connection = connection_type(self._host, self._port, timeout=self._timeout_s)
        try:
            connection.request("GET", f"{path}?{urlencode(query)}", headers=self._headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as error:
            message = f"QuestDB at {self._host}:{self._port} does not answer: {error or type(error).__name__}"
            raise QuestDBUnavailableError(message) from error
        finally:
            connection.close()
