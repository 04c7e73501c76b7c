"""A circuit breaker around the database: a caller waits for it no longer than it wants to, and once only.

One thread owns the connection. The caller hands it a job and waits at most `ack_timeout_ms`; what is not acknowledged
by then is the caller's again (it goes to SPILL) and the circuit opens. From then on the caller is told at once, while
the thread writes that same job again and again, with growing pauses, until the database acknowledges it in time: a
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

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 5.0
CALM_S = 30.0
"""A circuit that opens again within this time of closing goes on with the longer pauses, so that a database on the
verge does not cost the flow one timeout after the other."""
_REQUEST_TIMEOUT_FACTOR = 4
_JUDGING = 0.7
"""Share of the timeout after which a batch with bad rows is no longer taken apart."""


class _Job:
    def __init__(self, rows: Sequence[TableRow], deadline: float) -> None:
        self.rows = rows
        self.deadline = deadline
        self.done = threading.Event()
        self.outcome: Outcome | None = None
        self.defect: Exception | None = None
        self.abandoned = False


class StorageLink:
    """Writes rows to QuestDB within a time limit; see the module for how it fails."""

    def __init__(self, settings: QuestDBSettings) -> None:
        self._settings = settings
        self._timeout_s = settings.ack_timeout_ms / 1000
        # Longer than the caller waits: a server that is slow, not dead, may finish what it has begun.
        request_timeout_ms = settings.ack_timeout_ms * _REQUEST_TIMEOUT_FACTOR
        self._writer = IlpWriter(settings, request_timeout_ms)
        self._http = QuestDBHttp(settings, timeout_s=max(5.0, request_timeout_ms / 1000))
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._job: _Job | None = None
        self._open = True
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._fatal: SchemaMismatchError | None = None
        self._schema_known = False
        self._closed_at = 0.0
        self._pause_s = FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name="questdb-link", daemon=True)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: rows go elsewhere, the database is being probed."""
        return self._open

    def start(self, wait_s: float = 3.0) -> None:
        """Starts the thread and gives the database a moment to get its tables, so that the first rows need no SPILL.

        Raises:
            SchemaMismatchError: The database answers, with tables that would lose or double rows.
        """
        self._thread.start()
        self._ready.wait(wait_s)
        if self._fatal is not None:
            raise self._fatal

    def write(self, rows: Sequence[TableRow]) -> Outcome:
        """Writes rows; returns within about `ack_timeout_ms`, at once while the circuit is open.

        Raises:
            Exception: A defect of the program, such as rows for a table that is not described.
        """
        if self._open:
            return Outcome(pending=list(rows), error="the circuit is open")
        job = _Job(rows, time.monotonic() + self._timeout_s * _JUDGING)
        with self._lock:
            self._job = job
            self._work.notify()
        job.done.wait(self._timeout_s)
        with self._lock:
            if job.defect is not None:
                raise job.defect
            if job.outcome is not None:
                return job.outcome
            job.abandoned = True
            self._trip(f"no acknowledgement within {self._settings.ack_timeout_ms} ms")
        return Outcome(pending=list(rows), error="no acknowledgement in time")

    def stop(self) -> None:
        """Ends the thread; one that hangs in a request is left behind (it is a daemon and holds nothing of value)."""
        self._stopping.set()
        with self._lock:
            self._work.notify()
        self._thread.join(timeout=1.0)

    def _trip(self, why: str) -> None:
        """Opens the circuit; called with the lock held."""
        if not self._open:
            self._open = True
            logger.warning("questdb: %s; rows go to SPILL until it acknowledges again", why)
            if time.monotonic() - self._closed_at > CALM_S:
                self._pause_s = FIRST_PAUSE_S

    def _run(self) -> None:
        self._first_contact()
        while not self._stopping.is_set():
            with self._lock:
                while self._job is None and not self._stopping.is_set():
                    self._work.wait()
                job, self._job = self._job, None
            if job is not None:
                self._serve(job)
        self._writer.close()

    def _first_contact(self) -> None:
        """Opens for business as soon as the tables are there."""
        error = self._prepare()
        self._ready.set()
        while error is not None:
            if self._stopping.wait(self._next_pause()):
                return
            error = self._prepare()
        self._close_circuit()

    def _serve(self, job: _Job) -> None:
        try:
            outcome = self._writer.write(job.rows, job.deadline)
        except Exception as error:  # the caller's thread is where it stops the flow
            with self._lock:
                job.defect = error
            job.done.set()
            return
        with self._lock:
            if not job.abandoned:
                job.outcome = outcome
                if outcome.error is not None:
                    self._trip(outcome.error)
            is_open = self._open
        job.done.set()
        if is_open:
            self._probe_until_well(job.rows)

    def _probe_until_well(self, rows: Sequence[TableRow]) -> None:
        self._schema_known = False
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
        with self._lock:
            self._open = False
            self._closed_at = time.monotonic()
        logger.info("questdb: acknowledges in time")

    def _next_pause(self) -> float:
        pause, self._pause_s = self._pause_s, min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause

    def _prepare(self) -> str | None:
        """Makes sure of the tables; returns why that was not possible."""
        if self._schema_known:
            return None
        try:
            ensure_schema(self._http, self._settings)
        except SchemaMismatchError as error:
            self._fatal = error
            logger.error("questdb: %s", error)
            return str(error)
        except (QuestDBUnavailableError, ValueError) as error:
            return str(error)
        self._schema_known = True
        return None
