"""Writes to QuestDB what waits in the stream SPILL: `python -m connectors.questdb.drainer`.

SPILL is a work list: a message is deleted by its acknowledgement, which is given after QuestDB's. Killed in between,
the drainer writes the rows again at its next start and DEDUP makes that harmless. It leaves the database at least as
much time as it takes, so that draining never makes live rows late and sends them to SPILL in turn.
"""

import asyncio
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence

import nats.errors
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy
from nats.js.client import JetStreamContext
from prometheus_client import Counter, Gauge, start_http_server

from connectors.jetstream.connection import connect
from connectors.local.ports import LOOPBACK
from connectors.questdb.http import QuestDBHttp, QuestDBUnavailableError
from connectors.questdb.ilp import IlpWriter, TableRow
from connectors.questdb.reads import QuestDBReader, resume_sql
from connectors.questdb.reject import rejected_payload, rejected_row
from connectors.questdb.schema import ensure_schema
from connectors.questdb.spill import SUBJECT, Message, SpillFormatError, decode_message
from dataflows.contracts.tables import TABLES
from dataflows.settings import Settings

logger = logging.getLogger(__name__)

DURABLE = "drainer"
_FETCH_MESSAGES = 32
_ROWS_PER_REQUEST = 2000
_REQUEST_TIMEOUT_MS = 10_000
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 5.0
_IDLE_FETCH_S = 1.0
_COUNT_S = 1.0
_REPORT_S = 5.0
_WATCH_S = 10.0

WAITING = Gauge("vitals_spill_waiting_messages", "Messages in SPILL that wait for QuestDB")
DRAINED = Counter("vitals_spill_rows", "Rows out of SPILL by what became of them", ["result"])
SUSPENDED = Gauge("vitals_questdb_suspended_tables", "Tables that acknowledge rows and do not show them")


class Backoff:
    """Pauses that double up to a limit."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S

    def next_s(self) -> float:
        """Returns the pause before the next attempt."""
        pause, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return pause

    def reset(self) -> None:
        """Starts from the shortest pause, after a success."""
        self._pause_s = _FIRST_PAUSE_S


class Drainer:
    """Moves rows from SPILL to QuestDB until told to stop.

    Args:
        settings: Addresses and names.
        ack_wait_s: After this long the server gives an unacknowledged message out again (a drainer was killed).
    """

    def __init__(self, settings: Settings, ack_wait_s: float = 30.0) -> None:
        self._settings = settings
        self._ack_wait_s = ack_wait_s
        self._stop = asyncio.Event()
        self._writer = IlpWriter(settings.questdb, _REQUEST_TIMEOUT_MS)
        self._http = QuestDBHttp(settings.questdb, timeout_s=10.0)
        self._turn = asyncio.Lock()
        """Held by the table that uses the database, and for as long again."""
        self._tables_known = False
        self._moved_rows = 0

    def stop(self) -> None:
        """Ends `run` after the rows in hand; call it in the thread of its event loop."""
        self._stop.set()

    async def run(self) -> None:
        """Drains until stopped.

        Raises:
            RuntimeError: The stream is not a work list.
        """
        watch = asyncio.create_task(self._watch())
        backoff = Backoff()
        try:
            while not self._stop.is_set():
                try:
                    await self._session(backoff)
                except* (nats.errors.Error, OSError) as errors:
                    # NATS was away, or the stream is not made yet. What was in hand comes again after `ack_wait_s`.
                    error = errors.exceptions[0]
                    logger.warning("spill: NATS: %s", str(error) or type(error).__name__)
                    await self._wait(backoff.next_s())
        finally:
            watch.cancel()
            self._writer.close()

    async def _session(self, backoff: Backoff) -> None:
        """Drains over one connection, until stopped or the connection is lost."""
        connection = await connect(self._settings.nats, "vitals drainer")
        try:
            jetstream = connection.jetstream(timeout=self._settings.nats.ack_timeout_s)
            stream = self._settings.streams.spill
            info = await jetstream.stream_info(stream)
            if info.config.retention != RetentionPolicy.WORK_QUEUE:
                message = f"stream {stream} must be a work queue (acknowledging deletes), it is {info.config.retention}"
                raise RuntimeError(message)
            backoff.reset()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report(jetstream))
                for table in TABLES:
                    tasks.create_task(self._drain_table(jetstream, table))
        finally:
            await connection.close()

    async def _drain_table(self, jetstream: JetStreamContext, table: str) -> None:
        """Drains one table. Each has a consumer of its own: one that the database cannot write holds up no other."""
        config = ConsumerConfig(
            durable_name=f"{DURABLE}-{table}",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_deliver=-1,
            max_ack_pending=_FETCH_MESSAGES * 4,
        )
        subscription = await jetstream.pull_subscribe(
            f"{SUBJECT}.{table}", durable=config.durable_name, stream=self._settings.streams.spill, config=config
        )
        backoff = Backoff()
        while not self._stop.is_set():
            if not await self._ready():
                await self._wait(backoff.next_s())
                continue
            messages = await self._fetch(subscription)
            if messages and not await self._move(jetstream, table, messages):
                await self._wait(backoff.next_s())
            elif messages:
                backoff.reset()

    async def _ready(self) -> bool:
        """Makes sure that the database answers and has its tables, before rows are fetched for it."""
        async with self._turn:
            if not self._tables_known:
                try:
                    await asyncio.to_thread(ensure_schema, self._http, self._settings.questdb)
                except QuestDBUnavailableError as error:
                    logger.info("spill: waiting for QuestDB (%s)", error)
                    return False
                self._tables_known = True
            return True

    async def _fetch(self, subscription: JetStreamContext.PullSubscription) -> list[Msg]:
        try:
            return await subscription.fetch(_FETCH_MESSAGES, timeout=_IDLE_FETCH_S)
        except TimeoutError:  # nats-py raises asyncio's own here as well as its subclass of it
            return []

    async def _move(self, jetstream: JetStreamContext, table: str, messages: Sequence[Msg]) -> bool:
        """Writes the messages in requests of a bearable size and acknowledges each when its rows are safe.

        Returns:
            Whether the database took them all; the others stay in SPILL.
        """
        group: list[Msg] = []
        rows: list[TableRow] = []
        for n, message in enumerate(messages):
            try:
                rows += decode_message(message.data)
            except SpillFormatError as error:
                logger.warning("spill: a message cannot be read (%s), it goes to REJECTED", error)
                await _publish(jetstream, [rejected_payload(message.data, str(error))])
                DRAINED.labels("unreadable").inc()
            group.append(message)
            if len(rows) >= _ROWS_PER_REQUEST or n == len(messages) - 1:
                async with self._turn:
                    why_not = await self._store(jetstream, group, rows)
                if why_not is not None:
                    logger.warning("spill: QuestDB takes no rows of %s (%s), they stay in SPILL", table, why_not)
                    for left in (*group, *messages[n + 1 :]):
                        await left.nak()
                    return False
                group, rows = [], []
        return True

    async def _store(self, jetstream: JetStreamContext, group: Sequence[Msg], rows: list[TableRow]) -> str | None:
        """Writes rows and acknowledges their messages; returns why the database did not take them all."""
        started = time.monotonic()
        outcome = await asyncio.to_thread(self._writer.write, rows)
        if outcome.error is not None:
            self._tables_known = False
            return outcome.error
        # The dead letters first: after the acknowledgement nothing would remember the rows.
        await _publish(jetstream, [rejected_row(row, why) for row, why in outcome.rejected])
        timeout_s = self._settings.nats.ack_timeout_s
        await asyncio.gather(*(message.ack_sync(timeout_s) for message in group))
        self._moved_rows += len(rows)
        DRAINED.labels("written").inc(outcome.written)
        DRAINED.labels("rejected").inc(len(outcome.rejected))
        await self._wait(time.monotonic() - started)
        return None

    async def _report(self, jetstream: JetStreamContext) -> None:
        """Tells how many messages wait, and of tables that nobody knows here: those stay until somebody does."""
        known = {f"{SUBJECT}.{table}" for table in TABLES}
        reported_at = 0.0
        foreign: set[str] = set()
        while not self._stop.is_set():
            info = await jetstream.stream_info(self._settings.streams.spill, subjects_filter=f"{SUBJECT}.>")
            waiting, subjects = info.state.messages, set(info.state.subjects or {})
            WAITING.set(waiting)
            if subjects - known - foreign:
                foreign |= subjects - known
                logger.error("spill: rows of unknown tables wait in %s", sorted(foreign))
            now = time.monotonic()
            if self._moved_rows and (waiting == 0 or now - reported_at >= _REPORT_S):
                logger.info("spill: %d rows moved to QuestDB, %d messages wait", self._moved_rows, waiting)
                self._moved_rows, reported_at = 0, now
            await self._wait(_COUNT_S)

    async def _watch(self) -> None:
        """Looks for suspended tables: their rows are acknowledged, so nothing else would notice."""
        reader = QuestDBReader(self._settings.questdb, timeout_s=5.0)
        while True:
            try:
                suspended = [state for state in await asyncio.to_thread(reader.health) if state.suspended]
            except (QuestDBUnavailableError, ValueError):
                suspended = []
            SUSPENDED.set(len(suspended))
            for state in suspended:
                logger.error(
                    "questdb: table %s is suspended (%s), %d transactions are not visible: mend the cause, then %s",
                    state.table,
                    state.error,
                    state.pending_transactions,
                    resume_sql(state.table),
                )
            await asyncio.sleep(_WATCH_S)

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stop.wait(), seconds)
        except TimeoutError:
            return


async def _publish(jetstream: JetStreamContext, messages: Sequence[Message]) -> None:
    for subject, headers, payload in messages:
        await jetstream.publish(subject, payload, headers=headers)


class DrainerThread(threading.Thread):
    """A drainer in a thread of its own, for the local stack."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="spill-drainer", daemon=True)
        self._settings = settings
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drainer: Drainer | None = None
        self.error: BaseException | None = None
        """Why it ended, if it was not told to."""

    def run(self) -> None:
        """Drains until `stop`."""
        try:
            asyncio.run(self._main())
        except Exception as error:  # reported by whoever watches the thread
            self.error = error
            logger.exception("spill: the drainer ended")

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._drainer = Drainer(self._settings)
        self._started.set()
        await self._drainer.run()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Tells it to end and waits."""
        self._started.wait(timeout_s)
        if self._loop is not None and self._drainer is not None and self.is_alive():
            self._loop.call_soon_threadsafe(self._drainer.stop)
        self.join(timeout_s)


def serve_metrics(port: int) -> bool:
    """Serves /metrics on loopback; draining goes on without, where the port is taken."""
    if not port:
        return False
    try:
        start_http_server(port, LOOPBACK)
    except OSError as error:
        logger.warning("spill: no /metrics: run.drainer_port %d cannot be used (%s)", port, error)
        return False
    return True


async def _run_until_signal(settings: Settings) -> None:
    serve_metrics(settings.run.drainer_port)
    drainer = Drainer(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, drainer.stop)
    await drainer.run()


def main() -> None:
    """Entry of `python -m connectors.questdb.drainer`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    asyncio.run(_run_until_signal(Settings()))


if __name__ == "__main__":
    main()
