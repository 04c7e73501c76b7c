"""Keeps the flow's processes running: one set, started together, restarted together, drained together.

Bytewax has no partial failover: when a process dies the others end by themselves within 0.4 s, and go on from the
recovery store once all are back. So a death here ends the whole set at once and starts it anew, after a pause that
doubles while it keeps dying. What starting again cannot mend (lost messages, a state of another version) ends the
supervisor, with the reason.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import nats.errors
from prometheus_client import Counter, Gauge

from connectors.jetstream.streams import StreamSetupError
from connectors.local.flow import GRAPH, FlowSet
from connectors.local.partitions import Partition, partitions_of
from connectors.local.recovery import RecoveryStore
from connectors.local.unaccounted import UNACCOUNTED, Unaccounted
from connectors.local.worker import REFUSED
from dataflows.settings import Settings

_POLL_S = 0.05
_LOOK_S = 0.5
_FIRST_PAUSE_S = 0.2
RESTARTS = Counter("vitals_supervisor_restarts", "Times that the flow's processes were started again")
UP = Gauge("vitals_supervisor_flow_up", "1 while every process of the flow runs")


class State(StrEnum):
    """What the supervisor does."""

    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    DRAINING = "draining"
    STOPPED = "stopped"
    REFUSED = "refused"


@dataclass
class BackOff:
    """Pauses between restarts: the first is short, each following one twice as long, anew after a healthy time.

    Attributes:
        longest_s: Longest pause.
        healthy_s: A set that lived this long has recovered.
    """

    longest_s: float
    healthy_s: float
    _next_s: float = field(default=_FIRST_PAUSE_S, init=False)

    def after(self, lived_s: float) -> float:
        """Returns the pause after a set that lived so long."""
        if lived_s >= self.healthy_s:
            self._next_s = _FIRST_PAUSE_S
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, self.longest_s)
        return min(pause_s, self.longest_s)


@dataclass(frozen=True)
class Status:
    """What the health endpoint says.

    Attributes:
        state: What the supervisor does.
        restarts: Times that the set was started again.
        reason: Why it last ended, in words.
        partitions: How far each partition of the log is, by the flow's own metrics.
        samples: All metrics of the flow, added up over its processes.
        unaccounted: Messages that became nothing, or two things; must be 0.
    """

    state: State
    restarts: int
    reason: str
    partitions: dict[str, Partition]
    samples: dict[str, float]
    unaccounted: int = 0


class Supervisor:
    """Runs the flow until told to stop.

    Args:
        settings: `settings.run` says how.
        store: The flow's recovery store.
        directory: Where its processes run and log.
        say: Takes a line at a time.
        before: Called before each start, to make what the flow needs; what it raises counts as a death.
        graph: Import string of the dataflow.
        finite: The dataflow has an end, which ends `run`.
    """

    def __init__(
        self,
        settings: Settings,
        store: RecoveryStore,
        directory: Path,
        say: Callable[[str], None],
        before: Callable[[], object] = bool,
        *,
        graph: str = GRAPH,
        finite: bool = False,
    ) -> None:
        self._run = settings.run
        self._before = before
        self._finite = finite
        self._store = store
        self._say = say
        self.flow = FlowSet(settings, directory, store, graph)
        self._back_off = BackOff(self._run.backoff_max_s, self._run.healthy_s)
        self._stop = threading.Event()
        self._seen_at = time.monotonic()
        self._status = Status(State.STOPPED, 0, "", {}, {})

    @property
    def status(self) -> Status:
        """The latest look."""
        return self._status

    @property
    def alive(self) -> bool:
        """Whether the loop of `run` still turns, and may."""
        return time.monotonic() - self._seen_at < 10.0 and self._status.state != State.REFUSED

    def stop(self) -> None:
        """Ends `run`: the flow drains first."""
        self._stop.set()

    def run(self) -> int:
        """Runs the flow until `stop`.

        Returns:
            0 after a drain or at the end of a finite flow, 3 when the flow cannot go on until a person has mended
            something.

        Raises:
            StateRefusedError: The recovery store cannot be continued, or another supervisor has it.
        """
        with self._store.held():
            self.flow.end_leftovers(self._say)
            self._store.prepare()
            while True:
                self._note(State.STARTING)
                self._store.roll_back()
                started = time.monotonic()
                reason = self._start_and_watch()
                UP.set(0)
                if self._stop.is_set():
                    return self._drain()
                if self._finite and self.flow.finished:
                    self._note(State.STOPPED)
                    return 0
                self.flow.kill()
                if self.flow.end_code() == REFUSED:
                    self._note(State.REFUSED, reason=reason)
                    self._say(f"the flow cannot go on: {reason}")
                    return REFUSED
                lived_s = time.monotonic() - started
                pause_s = self._back_off.after(lived_s)
                self._note(State.PAUSING, restarts=self._status.restarts + 1, reason=reason)
                RESTARTS.inc()
                self._say(f"the flow died after {lived_s:.1f} s: {reason}; again in {pause_s:.1f} s")
                self._pause(pause_s)

    def _start_and_watch(self) -> str:
        """Starts the set and returns why it is no longer whole, in words; "" when `stop` was called."""
        try:
            self._before()
        except (OSError, nats.errors.Error, StreamSetupError) as error:
            return f"what it needs is not there: {error or type(error).__name__}"
        self.flow.start()
        self._watch()
        return "" if self._stop.is_set() else self.flow.last_words()

    def _watch(self) -> None:
        """Returns when a process has died or `stop` was called; looks at the metrics meanwhile."""
        looks = threading.Thread(target=self._look, name="supervisor-look", daemon=True)
        looks.start()
        while self.flow.whole and not self._stop.wait(_POLL_S):
            self._seen_at = time.monotonic()
        # One that has come to its end lets the others come to theirs.
        deadline = time.monotonic() + self._run.drain_s
        while self.flow.ending and time.monotonic() < deadline and not self._stop.wait(_POLL_S):
            self._seen_at = time.monotonic()

    def _look(self) -> None:
        """Reads the metrics while the set lives: a process that is stuck may take its time to answer."""
        processes, unaccounted = self.flow.processes, Unaccounted()
        while self.flow.whole and self.flow.processes is processes and not self._stop.is_set():
            samples = self.flow.samples()
            gone = unaccounted.observe(samples, time.monotonic())
            UNACCOUNTED.set(gone)
            partitions = partitions_of(samples)
            if self.flow.processes is processes and self.flow.whole and not self._stop.is_set():
                state = State.RUNNING if partitions else State.STARTING
                self._note(state, partitions=partitions, samples=samples, unaccounted=gone)
                UP.set(1)
            self._stop.wait(_LOOK_S)

    def _pause(self, pause_s: float) -> None:
        deadline = time.monotonic() + pause_s
        while time.monotonic() < deadline and not self._stop.wait(_POLL_S):
            self._seen_at = time.monotonic()

    def _drain(self) -> int:
        self._note(State.DRAINING)
        drained = self.flow.drain(self._run.drain_s)
        self._note(State.STOPPED)
        words = "at the end of an epoch" if drained else "in the middle of one, which the next start does again"
        self._say(f"the flow ended {words}")
        return 0

    def _note(self, state: State, **changes: Any) -> None:
        self._seen_at = time.monotonic()
        if state in {State.STARTING, State.PAUSING}:
            changes = {"partitions": {}, "samples": {}} | changes
        self._status = replace(self._status, state=state, **changes)
