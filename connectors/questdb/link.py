"""A circuit breaker around the database: the flow hands rows over and never waits for a database that does not answer.

One thread owns the connection. It sends what has gathered for `group_ms` in one request; a request without an
acknowledgement after `ack_timeout_ms` is given up: the circuit opens and its rows, with all that wait behind it, go
back to the flow, which sends them to SPILL. While the circuit is open rows go back at once, and the thread writes the
rows of the request that failed again and again, with growing pauses, until the database acknowledges them in time: a
probe with real rows, which proves what a ping would not (read-only, full disk, slow commits). DEDUP makes it harmless.

"""

import logging
import threading
import time
from collections.abc import Sequence

from connectors.questdb.http import QuestDBHttp, QuestDBUnavailableError
from connectors.questdb.ilp import IlpWriter, Outcome, TableRow
from connectors.questdb.schema import SchemaMismatchError, ensure_schema
from dataflows.settings import QuestDBSettings

logger = logging.getLogger(__name__)

MAX_ROWS_PER_REQUEST = 1000
"""A second of 1,000 patients' waveforms takes the server some 30 ms: far from the timeout, so that catching up after an
outage is not taken for a slow database."""
MAX_ROWS_WAITING = 4 * MAX_ROWS_PER_REQUEST
"""More than these and `add` waits: what is behind in the log is better kept there than in memory."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
CALM_S = 30.0
"""A circuit that opens again within this time of closing goes on with the longer pauses, so that a database on the
verge is not tried four times a second."""
_REQUEST_TIMEOUT_FACTOR = 4
_JUDGING = 0.7
"""Share of the timeout after which a request with bad rows is no longer taken apart."""


class _Request:
    def __init__(self, rows: Sequence[TableRow], timeout_s: float) -> None:
        started = time.monotonic()
        self.rows = rows
        self.judging_ends = started + timeout_s * _JUDGING
        self.deadline = started + timeout_s
        self.given_up = False


class StorageLink:
    """Writes rows to QuestDB in the background; see the module for how it fails. All methods are for one thread."""

    def __init__(self, settings: QuestDBSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.ack_timeout_ms / 1000
        self._group_s = settings.group_ms / 1000
        # Longer than anybody waits: a server that is slow, not dead, may finish what it has begun.
        request_timeout_ms = settings.ack_timeout_ms * _REQUEST_TIMEOUT_FACTOR
        self._writer = IlpWriter(settings, request_timeout_ms)
        self._http = QuestDBHttp(settings, timeout_s=max(5.0, request_timeout_ms / 1000))
        self._changed = threading.Condition()
        # All below is guarded by `_changed`.
        self._waiting: list[TableRow] = []
        self._oldest = 0.0
        self._hurry = False
        self._request: _Request | None = None
        self._result = Outcome()
        self._defect: Exception | None = None
        self._open = True
        self._closed_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        # The thread's own.
        self._tables_known = False
        self._ready = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="questdb-link", daemon=True)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: rows go back at once, the database is being probed."""
        return self._open

    @property
    def outstanding(self) -> int:
        """Number of rows handed over that are neither acknowledged nor given back."""
        with self._changed:
            return self._count()

    def _count(self) -> int:
        return len(self._waiting) + (len(self._request.rows) if self._request is not None else 0)

    def start(self) -> None:
        """Starts the thread and gives the database a moment to check its tables, so that the first rows need no SPILL.

        Raises:
            SchemaMismatchError: The database answers, with tables that would lose or double rows.
        """
        self._thread.start()
        self._ready.wait(max(1.0, self._timeout_s))
        if self._defect is not None:
            raise self._defect

    def add(self, rows: Sequence[TableRow]) -> Outcome:
        """Hands rows over.

        Returns:
            What has become of rows handed over so far and was not told yet. `pending` rows are the caller's again.

        Raises:
            Exception: A defect of the program, such as rows for a table that is not described.
        """
        with self._changed:
            if not self._waiting:
                self._oldest = time.monotonic()
            self._waiting += rows
            self._changed.notify_all()
        return self._wait_for(MAX_ROWS_WAITING)

    def settle(self) -> Outcome:
        """Waits until every row handed over is acknowledged or the caller's again; about `ack_timeout_ms` at most.

        Returns:
            As `add`; afterwards the link holds no row.

        Raises:
            Exception: As `add`.
        """
        return self._wait_for(0)

    def stop(self) -> None:
        """Ends the thread; one that hangs in a request is left behind (it is a daemon and holds nothing of value)."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=1.0)

    def _wait_for(self, most_rows: int) -> Outcome:
        """Waits until at most `most_rows` are neither acknowledged nor given back."""
        with self._changed:
            if most_rows == 0:
                self._hurry = True
                self._changed.notify_all()
            while True:
                request = self._request
                now = time.monotonic()
                if request is not None and now >= request.deadline:
                    self._give_up(request)
                if self._defect is not None:
                    raise self._defect
                if self._open:
                    self._result.pending += self._waiting
                    self._waiting = []
                if self._count() <= most_rows:
                    break
                self._changed.wait(request.deadline - now if request is not None else self._timeout_s)
            self._hurry = False
            result, self._result = self._result, Outcome()
            return result

    def _give_up(self, request: _Request) -> None:
        """Takes a request's rows back; its thread may still be at it."""
        request.given_up = True
        self._request = None
        self._result.pending += request.rows
        self._trip(f"no acknowledgement within {self._settings.ack_timeout_ms} ms")

    def _trip(self, why: str) -> None:
        if not self._open:
            self._open = True
            logger.warning("questdb: %s; rows go to SPILL until it acknowledges again", why)
            if time.monotonic() - self._closed_at > CALM_S:
                self._pause_s = FIRST_PAUSE_S

    # From here on: the thread.

    def _run(self) -> None:
        self._first_contact()
        while not self._stopping.is_set():
            request = self._next_request()
            if request is not None:
                self._send(request)
        self._writer.close()

    def _first_contact(self) -> None:
        """Opens for business as soon as the tables are there."""
        while self._prepare() is not None:
            self._ready.set()
            if self._stopping.wait(self._next_pause()):
                return
        self._close_circuit()
        self._ready.set()  # only now: whoever waits for it writes at once

    def _next_request(self) -> _Request | None:
        """Waits for rows that are due; None when stopping."""
        with self._changed:
            while not self._stopping.is_set():
                if self._waiting:
                    due_in = self._oldest + self._group_s - time.monotonic()
                    if self._hurry or due_in <= 0 or len(self._waiting) >= MAX_ROWS_PER_REQUEST:
                        rows, self._waiting = (
                            self._waiting[:MAX_ROWS_PER_REQUEST],
                            self._waiting[MAX_ROWS_PER_REQUEST:],
                        )
                        self._request = _Request(rows, self._timeout_s)
                        return self._request
                    self._changed.wait(due_in)
                else:
                    self._changed.wait()
        return None

    def _send(self, request: _Request) -> None:
        outcome, defect = Outcome(), None
        try:
            outcome = self._writer.write(request.rows, request.judging_ends)
        except Exception as error:  # raised in the caller's thread, where it stops the flow
            defect = error
        with self._changed:
            if not request.given_up:
                self._request = None
                self._defect = defect
                self._result.add(outcome)
                if outcome.error is not None:
                    self._trip(outcome.error)
            is_open = self._open
            self._changed.notify_all()
        if is_open and defect is None:
            self._probe_until_well(request.rows)

    def _probe_until_well(self, rows: Sequence[TableRow]) -> None:
        self._tables_known = False
        while not self._stopping.wait(self._next_pause()):
            if self._prepare() is not None:
                continue
            started = time.monotonic()
            outcome = self._writer.write(rows, started + self._timeout_s)
            in_time = time.monotonic() - started < self._timeout_s or bool(outcome.rejected)
            if outcome.error is None and in_time:
                self._close_circuit()
                return

    def _close_circuit(self) -> None:
        with self._changed:
            self._open = False
            self._closed_at = time.monotonic()
        logger.info("questdb: acknowledges in time")

    def _next_pause(self) -> float:
        pause, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause

    def _prepare(self) -> str | None:
        """Makes sure of the tables; returns why that was not possible."""
        if self._tables_known:
            return None
        try:
            ensure_schema(self._http, self._settings)
        except SchemaMismatchError as error:
            with self._changed:
                self._defect = error
            return str(error)
        except (QuestDBUnavailableError, ValueError) as error:
            return str(error)
        self._tables_known = True
        return None
