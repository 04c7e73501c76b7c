"""The whole pipeline on real servers, for tests that break parts of it and compare with an uninterrupted run."""

import asyncio
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import polars as pl

from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.history import bounds, messages
from connectors.jetstream.streams import ensure_streams
from connectors.local.recovery import RecoveryStore
from connectors.local.supervisor import Supervisor
from connectors.local.worker import REFUSED
from connectors.questdb.drainer import DrainerThread
from connectors.questdb.schema import ensure_schema
from dataflows._native import Publisher
from dataflows.contracts.tables import TABLES
from dataflows.monitor.state import StateRefusedError
from dataflows.settings import RunSettings, Settings, StackSettings
from tests.servers import NatsServer, QuestDB
from tests.waiting import until

OUTSTANDING = "vitals_questdb_outstanding_rows"
WARM = 90_000
"""Numbers of the patients before those that a test is about."""


class Whole:
    """NATS, QuestDB, the drainer and a supervised flow, in one folder."""

    def __init__(self, nats: NatsServer, questdb: QuestDB, folder: Path, processes: int = 1, **streams: object) -> None:
        base = nats.settings(**streams)
        run = RunSettings(processes=processes, backoff_max_s=0.4)
        stack = StackSettings(data_dir=folder, snapshot_interval_s=1)
        self.settings = Settings(nats=base.nats, streams=base.streams, questdb=questdb.settings, run=run, stack=stack)
        self.nats, self.questdb, self.folder = nats, questdb, folder
        self._runs = 0
        ensure_streams(self.settings)
        ensure_schema(questdb.http, questdb.settings)
        self.drain()

    def drain(self) -> None:
        """Starts the drainer of SPILL."""
        self.drainer = DrainerThread(self.settings)
        self.drainer.start()

    def flow(self) -> "Supervised":
        """A flow with a recovery store of its own, started and kept running."""
        self._runs += 1
        return Supervised(self.settings, self.folder / f"flow{self._runs}")

    def publisher(self) -> Publisher:
        """A connection for publishing."""
        return Publisher(native_options(self.settings.nats, "test"))

    def messages(self, stream: str) -> list[tuple[str, bytes]]:
        """Every message of a stream in order: its id, and subject and body together."""

        async def read() -> list[tuple[str, bytes]]:
            connection = await connect(self.settings.nats, "test")
            found = []
            async for message in messages(connection, stream, *await bounds(connection, stream)):
                headers = message.headers or {}
                found.append((headers.get("Nats-Msg-Id", ""), message.subject.encode() + b" " + message.data))
            await connection.close()
            return found

        return asyncio.run(read())

    def rows(self) -> dict[str, pl.DataFrame]:
        """Every row of every table, sorted, once none is on its way any more."""
        until(self.is_drained, 90, poll_s=0.1)
        reader = self.questdb.reader
        reader.wait_applied()
        frames = {name: reader.query(f'SELECT * FROM "{name}"') for name in TABLES}
        return {
            name: frame.sort([column for column in frame.columns if column != "samples"])
            for name, frame in frames.items()
        }

    def forget_outputs(self) -> None:
        """Empties what the flow wrote, so that another run over the same log can be compared."""

        async def purge() -> None:
            connection = await connect(self.settings.nats, "test")
            jetstream = connection.jetstream()
            for stream in (self.settings.streams.alerts, self.settings.streams.rejected):
                await jetstream.delete_stream(stream)
            await connection.close()

        asyncio.run(purge())
        ensure_streams(self.settings)
        http = self.questdb.http
        for table in TABLES:
            http.execute(f'TRUNCATE TABLE "{table}"')
        self.questdb.reader.wait_applied()

    def wait_for_waveforms(self, frames: int, flow: "Supervised", timeout_s: float = 90.0) -> None:
        """Waits until this many frames are visible rows and no row of any table is on its way any more.

        The tables fill independently: rows wait for their epoch in the sink, and in SPILL for the drainer.
        """
        reader = self.questdb.reader

        def arrived() -> bool:
            flow.check()
            outstanding = sum(flow.metrics().get(OUTSTANDING, [1.0]))
            return reader.count("waveforms") >= frames and outstanding == 0 and self.is_drained()

        until(arrived, timeout_s, poll_s=0.2)

    def warm_up(self, flow: "Supervised") -> int:
        """Has a flow build what it builds at its first frames and alerts; returns how many frames of waves that took.

        A bound on what delays an alert is not one on the start of an interpreter. The patients are `WARM` and above.
        """
        from bench.traffic import Ward, publish_live

        patients, seconds, publisher = 16, 3, self.publisher()
        publish_live(Ward(patients, time.time_ns(), first=WARM), seconds, publisher)
        last = publisher.stream_state(self.settings.streams.vitals)[2]
        publisher.close()
        self.wait_for_waveforms(patients * seconds, flow)
        until(lambda: flow.done_to() >= last and self.messages("ALERTS"), 60, poll_s=0.2)
        return patients * seconds

    def is_drained(self) -> bool:
        """Whether nothing waits in SPILL."""
        publisher = self.publisher()
        _, first_seq, last_seq = publisher.stream_state(self.settings.streams.spill)
        publisher.close()
        return last_seq == 0 or first_seq > last_seq

    def close(self) -> None:
        """Stops the drainer, once it has nothing to do: on a busy machine the last rows of a flow may go by SPILL."""
        until(self.is_drained, 90, poll_s=0.1)
        self.drainer.stop()


class Supervised:
    """A flow that is started again whenever it dies, by the supervisor of `vitals run`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings = settings
        self.store = RecoveryStore(folder / "recovery", settings)
        self.folder = folder
        self.kills = 0
        self.said: list[str] = []
        self.code: int | None = None
        self._earlier_restarts = 0
        self.allowed_deaths = 20
        self.supervisor = Supervisor(settings, self.store, folder, self.said.append)
        self.begin()

    def begin(self, processes: int | None = None) -> None:
        """Starts it where it was, with another number of processes if one is named."""
        if processes is not None:
            run = self.settings.run.model_copy(update={"processes": processes})
            self.settings = self.settings.model_copy(update={"run": run})
        self._earlier_restarts = self.total_restarts
        self.supervisor = Supervisor(self.settings, self.store, self.folder, self.said.append)
        self.code = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.code = self.supervisor.run()
        except StateRefusedError as error:
            self.said.append(str(error))
            self.code = REFUSED

    @property
    def total_restarts(self) -> int:
        """Times that its supervisors started it again."""
        return self._earlier_restarts + self.supervisor.status.restarts

    def kill(self, which: int = 0) -> None:
        """kill -9 of one process; the supervisor starts the set again."""

        def killed() -> bool:
            # By the time that it is looked at, the set may have died of something else and be starting again.
            running = self.supervisor.flow.processes if self.supervisor.flow.whole else []
            if len(running) <= which:
                return self.code is not None
            os.kill(running[which].pid, signal.SIGKILL)
            return True

        until(killed, 60)
        self.kills += 1

    def samples(self) -> dict[str, float]:
        """Every sample of the metrics, added up over the processes; empty while the flow does not answer."""
        return self.supervisor.flow.samples()

    def metrics(self) -> dict[str, list[float]]:
        """Each metric's values, one per set of labels."""
        values: dict[str, list[float]] = {}
        for name, value in self.samples().items():
            values.setdefault(name.partition("{")[0], []).append(value)
        return values

    def done_to(self) -> int:
        """Sequence of the log up to which every partition is done; -1 before that, and while a process is silent."""
        found = self.metrics().get("nats_snapshot_seq", [])
        return int(min(found)) if len(found) == self.settings.streams.partitions else -1

    def check(self) -> None:
        """Fails with the flow's last words when it keeps dying for another reason than `kill`, or was refused."""
        assert self.code is None, self.said
        deaths = [line for line in self.said if "the flow died" in line and "it left no word" not in line]
        assert len(deaths) < self.allowed_deaths, deaths[-3:]

    def stop(self) -> None:
        """Drains it."""
        self.supervisor.stop()
        self._thread.join(60)


Story = tuple[list[tuple[str, bytes]], dict[str, pl.DataFrame]]


def story_until(cut_ns: int, alerts: list[tuple[str, bytes]], rows: dict[str, pl.DataFrame]) -> Story:
    """What was decided by a moment of log time: a run that reads the same log later sees more ticks behind its end."""

    def decided_ns(text: bytes) -> int:
        return int(json.loads(text.split(b" ", 1)[1])["log_ns"])

    def moment(frame: pl.DataFrame) -> pl.Expr:
        return pl.col("log_ns") if "log_ns" in frame.columns else pl.col("ts").cast(pl.Int64)

    kept = sorted(message for message in alerts if decided_ns(message[1]) <= cut_ns)
    return kept, {name: frame.filter(moment(frame) <= cut_ns) for name, frame in rows.items()}


def doubles(messages: list[tuple[str, bytes]]) -> list[str]:
    """Ids that stand in a stream more than once."""
    return [name for name, count in Counter(name for name, _ in messages).items() if count > 1]


class Live(threading.Thread):
    """Publishes a ward's frames in real time in the background."""

    def __init__(self, whole: Whole, ward: object, seconds: int) -> None:
        super().__init__(daemon=True)
        self._whole, self._ward, self._seconds = whole, ward, seconds
        self.started_at = time.monotonic()

    def run(self) -> None:
        """Until everything is published."""
        from bench.traffic import publish_live

        publish_live(self._ward, self._seconds, self._whole.publisher())
