"""Where faults are tried: the whole pipeline behind proxies, live devices that store and forward, and the oracles."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.traffic import NS, Message, Ward
from connectors.history.compare import Comparer, Comparison, Window
from connectors.history.graph import Range
from connectors.history.replay import Replay, last_ticks
from connectors.jetstream.connection import connect
from connectors.jetstream.history import bounds, messages
from connectors.ledger.evidence import collect
from dataflows._native import JetStreamError, Publisher
from dataflows.ledger import Ledger, account
from tests.faults.proxy import Proxy
from tests.faults.whole import Supervised, Whole, doubles
from tests.servers import NatsServer, QuestDB
from tests.waiting import until

QUESTDB = {
    # Suspends a table when it is asked to.
    "dev.mode.enabled": "true",
    # Begins files often, so that it feels soon that no file may grow.
    "cairo.wal.segment.rollover.row.count": "40",
}
"""Properties of a QuestDB that can be made to fail."""


class Devices(threading.Thread):
    """A ward in real time. What the broker has not acknowledged is sent again, with the same identity, in order."""

    def __init__(self, ward: Ward, connect: Callable[[], Publisher]) -> None:
        super().__init__(daemon=True)
        self._ward = ward
        self._connect = connect
        self._ended = threading.Event()
        self._extra: list[Message] = []
        self._lock = threading.Lock()
        self.acknowledged = 0

    def also(self, *messages: Message) -> None:
        """Sends more, between the ward's own."""
        with self._lock:
            self._extra += messages

    def run(self) -> None:
        """Until `stop`; then what is due is still delivered."""
        done, patients = 0, self._ward.patients
        publisher: Publisher | None = None
        while True:
            due = (time.time_ns() - self._ward.start_ns - NS) * patients // NS
            batch = []
            for number in range(done, max(done, min(due, done + 50 * patients))):
                second, patient = divmod(number, patients)
                batch += self._ward.messages(patient, second)
            with self._lock:
                extra, self._extra = self._extra, []
            batch += extra
            while batch:
                try:
                    publisher = publisher or self._connect()
                    publisher.publish_all(batch)
                    break
                except JetStreamError:
                    publisher = None
                    time.sleep(0.1)
            self.acknowledged += len(batch)
            done = max(done, min(due, done + 50 * patients))
            if self._ended.wait(0.05) and not batch:
                return

    def stop(self) -> None:
        """Ends the ward and waits until everything is acknowledged."""
        self._ended.set()
        self.join(60)


@dataclass
class Verdict:
    """What a fault did.

    Attributes:
        name: The fault.
        recovered_s: From its end until everything that was published by then was done and visible.
        lost: Messages that are nowhere, by the ledger.
        doubled: Message ids that stand in ALERTS or REJECTED more than once.
        restarts: Times that the flow was started again.
    """

    name: str
    recovered_s: float
    lost: int
    doubled: int
    restarts: int
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class Ground:
    """The pipeline under live traffic.

    Args:
        nats: Server; the flow reaches it through a proxy, devices directly.
        questdb: The same.
        folder: For everything else.
        patients: How many are live.
    """

    def __init__(self, nats: NatsServer, questdb: QuestDB, folder: Path, patients: int = 8) -> None:
        # A window of two seconds: exactness must not lean on the server's memory of ids.
        self.whole = Whole(nats, questdb, folder, dedupe_window_s=2.0)
        self.nats, self.questdb = nats, questdb
        settings = self.whole.settings
        self.nats_wire = Proxy(nats.port)
        self.questdb_wire = Proxy(urlsplit(settings.questdb.http_url).port or 0)
        wired = settings.model_copy(
            update={
                # Soon enough to notice a cut that lasts for three seconds.
                "nats": settings.nats.model_copy(
                    update={"url": self.nats_wire.in_place_of(settings.nats.url), "heartbeat_s": 0.5}
                ),
                "questdb": settings.questdb.model_copy(
                    update={"http_url": self.questdb_wire.in_place_of(settings.questdb.http_url)}
                ),
            }
        )
        self.flow = Supervised(wired, folder / "flow")
        until(lambda: self.flow.done_to() > 0, poll_s=0.1)
        self.ward = Ward(patients, time.time_ns())
        self.devices = Devices(self.ward, self.whole.publisher)
        self.devices.start()
        self.spilled_before = self.rejected_before = self.restarts_before = 0
        self.notes: list[str] = []

    def last_seq(self) -> int:
        """Last message of the log."""
        return self.last_of(self.whole.settings.streams.vitals)

    def settle(self, timeout_s: float = 180.0) -> float:
        """Waits until what is in the log now is done and visible; returns how long that took."""
        started = time.monotonic()
        last = self.last_seq()

        def settled() -> bool:
            self.flow.check()
            return self.flow.done_to() >= last and self.whole.is_drained()

        until(settled, timeout_s, poll_s=0.1)
        self.questdb.reader.wait_applied()
        return time.monotonic() - started

    def balance(self) -> Ledger:
        """The loss ledger of everything that the flow is done with."""

        async def look() -> Ledger:
            last = self.flow.done_to()
            client = await connect(self.whole.settings.nats, "test")
            evidence = await collect(client, self.whole.settings, 1, last)
            await client.close()
            return account(evidence)

        return asyncio.run(look())

    def doubled(self) -> int:
        """Ids that stand more than once in a stream of outputs."""
        return sum(len(doubles(self.whole.messages(stream))) for stream in ("ALERTS", "REJECTED"))

    def traces(self) -> list[str]:
        """Where and when each doubled alert stands, and what the writers found when they started: for the report."""

        async def look() -> list[str]:
            client = await connect(self.whole.settings.nats, "test")
            first, last = await bounds(client, "ALERTS")
            places: dict[str, list[str]] = {}
            async for message in messages(client, "ALERTS", first, last):
                headers = message.headers or {}
                place = f"{message.metadata.sequence.stream} at {message.metadata.timestamp} {headers}"
                places.setdefault(headers.get("Nats-Msg-Id", ""), []).append(place)
            await client.close()
            return [f"{name}: {found}" for name, found in places.items() if len(found) > 1]

        logs = [line for file in self.flow.folder.glob("flow*.log") for line in file.read_text().splitlines()]
        return [*asyncio.run(look()), *sorted(line for line in logs if " holds " in line)[-200:]]

    def try_fault(self, fault: "Fault") -> Verdict:
        """Injects, holds, heals, waits, and looks what is lost or doubled."""
        started, restarts, self.notes = time.monotonic(), self.flow.total_restarts, []
        self.break_with(fault)
        recovered_s = self.settle()
        lost, doubled = self.balance().totals["lost"], self.doubled()
        seconds = time.monotonic() - started
        return Verdict(fault.name, recovered_s, lost, doubled, self.flow.total_restarts - restarts, seconds, self.notes)

    def break_with(self, fault: "Fault") -> None:
        """Injects, waits until it bites, holds, heals."""
        self.spilled_before, self.rejected_before = self.last_of("SPILL"), self.last_of("REJECTED", REJECTS)
        self.restarts_before = self.flow.total_restarts
        fault.inject(self)
        until(lambda: fault.bites(self), 60, poll_s=0.05)
        threading.Event().wait(fault.hold_s)
        fault.heal(self)

    def last_of(self, stream: str, subject: str = "") -> int:
        """Last sequence of a stream, or of what it holds on a subject."""
        publisher = self.whole.publisher()
        try:
            return publisher.last_on(stream, subject) if subject else publisher.stream_state(stream)[2]
        finally:
            publisher.close()

    def finish(self) -> None:
        """Ends traffic and flow, once everything is done."""
        self.devices.stop()
        self.settle()
        self.flow.stop()
        self.whole.close()

    def differences(self) -> list[Comparison]:
        """What the interrupted run made against an uninterrupted run over the same log."""
        settings, last = self.whole.settings, self.last_done
        scratch = self.whole.folder / "calm"
        assert Replay(settings, scratch, Range(1, last), print).run() == 0

        async def compare() -> list[Comparison]:
            client = await connect(settings.nats, "test")
            window = Window({}, await last_ticks(client, settings, last), {}, last)
            comparer = Comparer(settings, window, scratch)
            found = [await comparer.alerts(client), await comparer.rejects(client)]
            await client.close()
            return found + await asyncio.to_thread(comparer.rows)

        return asyncio.run(compare())

    @property
    def last_done(self) -> int:
        """Sequence up to which the stopped flow is done, in every partition."""
        return min(position.seq for position in self.flow.store.positions().values())


def nothing(_: Ground) -> None:
    """Heals what heals itself."""


def at_once(_: Ground) -> bool:
    """Bites as soon as it is injected, by its nature."""
    return True


REJECTS = "rejected.v1.>"


@dataclass(frozen=True)
class Fault:
    """One way to break the pipeline.

    Attributes:
        name: What people call it.
        promise: What holds while it lasts and afterwards.
        inject: Breaks something.
        bites: Whether the pipeline has felt it: a fault that nobody felt would prove nothing.
        heal: Mends it.
        hold_s: How long it lasts from then on.
        cuts: How many processes it kills.
    """

    name: str
    promise: str
    inject: Callable[[Ground], None]
    heal: Callable[[Ground], None] = nothing
    bites: Callable[[Ground], bool] = at_once
    hold_s: float = 1.0
    cuts: int = 0
