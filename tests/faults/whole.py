"""The whole pipeline on real servers, for tests that break parts of it and compare with an uninterrupted run."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import polars as pl
from bytewax.recovery import init_db_dir

from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.streams import ensure_streams
from connectors.local.flow import FlowProcess
from connectors.local.ports import free_ports
from connectors.questdb.drainer import DrainerThread
from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import ensure_schema
from dataflows._native import Publisher
from dataflows.contracts.tables import TABLES
from dataflows.settings import Settings
from tests.servers import NatsServer, QuestDB
from tests.waiting import until

OUTSTANDING = "vitals_questdb_outstanding_rows"


class Whole:
    """NATS, QuestDB, the drainer and a supervised flow, in one folder."""

    def __init__(self, nats: NatsServer, questdb: QuestDB, folder: Path, epoch_s: int = 1, **streams: object) -> None:
        base = nats.settings(**streams)
        self.settings = Settings(nats=base.nats, streams=base.streams, questdb=questdb.settings)
        self.nats, self.questdb, self.folder = nats, questdb, folder
        (self.api_port,) = free_ports(1)
        self._epoch_s = epoch_s
        self._runs = 0
        ensure_streams(self.settings)
        ensure_schema(QuestDBHttp(questdb.settings), questdb.settings)
        self.drainer = DrainerThread(self.settings)
        self.drainer.start()

    def flow(self) -> "Supervised":
        """A flow with a recovery store of its own, started and kept running."""
        self._runs += 1
        folder = self.folder / f"flow{self._runs}"
        recovery = folder / "recovery"
        recovery.mkdir(parents=True)
        init_db_dir(recovery, 1)
        environment = {
            "BYTEWAX_RECOVERY_DIRECTORY": str(recovery),
            "BYTEWAX_SNAPSHOT_INTERVAL": str(self._epoch_s),
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
        }
        return Supervised(FlowProcess(self.settings, folder, environment, self.api_port))

    def publisher(self) -> Publisher:
        """A connection for publishing."""
        return Publisher(native_options(self.settings.nats, "test"))

    def messages(self, stream: str) -> list[tuple[str, bytes]]:
        """Every message of a stream in order: its id, and subject and body together."""

        async def read() -> list[tuple[str, bytes]]:
            connection = await connect(self.settings.nats, "test")
            jetstream = connection.jetstream()
            state = (await jetstream.stream_info(stream)).state
            found = []
            if state.messages:
                subscription = await jetstream.subscribe(">", stream=stream, ordered_consumer=True)
                while len(found) < state.messages:
                    message = await subscription.next_msg(timeout=10)
                    headers = message.headers or {}
                    found.append((headers.get("Nats-Msg-Id", ""), message.subject.encode() + b" " + message.data))
            await connection.close()
            return found

        return asyncio.run(read())

    def rows(self) -> dict[str, pl.DataFrame]:
        """Every visible row of every table, sorted."""
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
        http = QuestDBHttp(self.questdb.settings)
        for table in TABLES:
            http.execute(f'TRUNCATE TABLE "{table}"')

    def wait_for_waveforms(self, frames: int, flow: "Supervised", timeout_s: float = 90.0) -> None:
        """Waits until this many frames are visible rows and no row of any table is on its way any more.

        The tables fill independently: rows wait for their epoch in the sink, and in SPILL for the drainer.
        """
        reader = self.questdb.reader
        publisher = self.publisher()

        def arrived() -> bool:
            flow.check()
            if reader.count("waveforms") < frames or flow.process.metrics().get(OUTSTANDING) != [0.0]:
                return False
            _, first_seq, last_seq = publisher.stream_state(self.settings.streams.spill)
            return last_seq == 0 or first_seq > last_seq

        until(arrived, timeout_s, poll_s=0.2)
        publisher.close()

    def close(self) -> None:
        """Stops the drainer."""
        self.drainer.stop()


class Supervised:
    """A flow that is started again whenever it dies, as a supervisor does."""

    def __init__(self, process: FlowProcess) -> None:
        self.process = process
        self.kills = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self.process.start()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            with self._lock:
                if not self.process.alive and not self._ended.is_set():
                    self.process.start()

    def kill(self) -> None:
        """kill -9; the supervisor starts it again."""
        with self._lock:
            os.kill(self.process.pid, signal.SIGKILL)
            self.kills += 1

    def check(self) -> None:
        """Fails with the flow's last words when it keeps dying for another reason than `kill`."""
        starts = self.process.log.read_text(errors="replace").count("BytewaxRuntimeError")
        assert starts < 20, self.process.log_tail(30)

    def stop(self) -> None:
        """Ends it for good."""
        self._ended.set()
        self._thread.join()
        self.process.kill()


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
