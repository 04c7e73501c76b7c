"""Asks a scorer in a process of its own, and loses patience: a time budget a batch, and pauses while it keeps dying."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from connectors.local.supervisor import BackOff
from connectors.models.wire import Hello, Refused, Scores, decode_answer, encode_batch, receive, send
from dataflows.models.features import Batch, Window, statistic
from dataflows.models.spec import Model

logger = logging.getLogger(__name__)


class Result(StrEnum):
    """What became of a batch."""

    SCORED = "scored"
    OVER_BUDGET = "over_budget"
    CRASHED = "crashed"
    RAISED = "raised"
    PAUSED = "paused"
    """Not asked: it died a moment ago and is left alone for a while."""


BATCHES = Counter("vitals_model_batches", "Batches by what became of them", ["model", "result"])
WINDOWS = Counter("vitals_model_windows", "Windows by what became of them", ["model", "result"])
SECONDS = Histogram("vitals_model_batch_seconds", "Time that the scorer took for a batch", ["model"])
STARTS = Counter("vitals_model_starts", "Times that the scorer's process was started", ["model"])
ANSWERED = Gauge("vitals_model_last_answer_seconds", "When the scorer last answered, s since 1970", ["model"])
_LONGEST_PAUSE_S = 30.0
_HEALTHY_S = 60.0


class StartError(RuntimeError):
    """The scorer was not ready in time, or refused to start; with its own words."""


def batch_of(model: Model, windows: Sequence[Window]) -> Batch:
    """Returns what the scorer is called with."""
    rows = [[statistic(one.statistic, window.series.get(one.code)) for one in model.features] for window in windows]
    return Batch(model.columns, np.array(rows, dtype=np.float64), windows)


class ScorerProcess:
    """The scorer's process: started when it is needed, ended when it does not answer.

    Args:
        model: Its declaration.
        folder: Where the declaration lies.
        clock: Monotonic time, s.
    """

    def __init__(self, model: Model, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._model = model
        self._folder = folder
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._back_off = BackOff(_LONGEST_PAUSE_S, _HEALTHY_S)
        self._started = 0.0
        self._not_before = 0.0
        self._seconds = SECONDS.labels(model.name)
        self._batches = {result: BATCHES.labels(model.name, result.value) for result in Result}

    @property
    def pid(self) -> int | None:
        """Process id, while it runs."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if self._process is not None and alive else None

    def score(self, windows: Sequence[Window]) -> tuple[Result, list[float]]:
        """Returns what became of a batch, and one score a window where there are scores. Never raises, never hangs.

        A scorer that dies is started again and asked once more: killed, it loses no window. One over its budget is not.
        """
        result, scores = self._score(windows)
        if result is Result.CRASHED:
            self._not_before = self._clock()
            result, scores = self._score(windows)
        self._batches[result].inc()
        return result, scores

    def _score(self, windows: Sequence[Window]) -> tuple[Result, list[float]]:
        if self._socket is None:
            if self._clock() < self._not_before:
                return Result.PAUSED, []
            try:
                self.start()
            except StartError as error:
                self._fail(f"did not start: {error}")
                return Result.CRASHED, []
        began = time.monotonic()
        try:
            answer = self._ask(batch_of(self._model, windows), began + self._model.budget_s)
        except TimeoutError:
            self._fail(f"took longer than {self._model.budget_s:g} s for {len(windows)} windows")
            return Result.OVER_BUDGET, []
        except (OSError, EOFError, ValueError, msgspec.MsgspecError) as error:
            self._fail(f"died: {error}")
            return Result.CRASHED, []
        self._seconds.observe(time.monotonic() - began)
        ANSWERED.labels(self._model.name).set_to_current_time()
        if isinstance(answer, Scores) and len(answer.scores) == len(windows):
            return Result.SCORED, answer.scores
        logger.warning("model %s: %s", self._model.name, getattr(answer, "error", "an answer that is none"))
        return Result.RAISED, []

    def _ask(self, batch: Batch, deadline: float) -> object:
        assert self._socket is not None  # noqa: S101  (asked by the caller)
        send(self._socket, encode_batch(batch), deadline)
        return decode_answer(receive(self._socket, deadline))

    def start(self) -> None:
        """Starts the process and waits until the scorer is loaded.

        Raises:
            StartError: It was not ready in `startup_s`, or says why it cannot be.
        """
        ours, theirs = socket.socketpair()
        model = self._model
        command = [sys.executable, "-m", "connectors.models.child", str(theirs.fileno()), model.scorer]
        command += [str(self._folder.absolute()), str(model.memory_mb)]
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[theirs.fileno()], env=environment
            )
        STARTS.labels(model.name).inc()
        self._socket, self._started = ours, self._clock()
        try:
            answer = decode_answer(receive(ours, time.monotonic() + model.startup_s))
        except TimeoutError:
            message = f"not ready after {model.startup_s:g} s"
            raise StartError(message) from None
        except (OSError, EOFError, ValueError) as error:
            raise StartError(str(error)) from error
        if not isinstance(answer, Hello):
            raise StartError(answer.error if isinstance(answer, Refused) else "an answer that is none")

    def _fail(self, why: str) -> None:
        pause_s = self._back_off.after(self._clock() - self._started)
        self._not_before = self._clock() + pause_s
        logger.warning("model %s: the scorer %s; again in %.1f s", self._model.name, why, pause_s)
        self.close()

    def close(self) -> None:
        """Ends the process as a crash would: a scorer has nothing to lose."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
        self._socket = self._process = None
