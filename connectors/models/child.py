"""The process of a scorer: `python -m connectors.models.child <fd> <scorer> <folder> <memory_mb>`.

Whatever the user's code does happens here: it may crash, hang, leak or print, and the graph that feeds it loses no more
than the batch. When the graph dies this process dies with it.
"""

import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from connectors.models.wire import Hello, Refused, Scores, decode_batch, encode_answer, receive, send
from dataflows.models.features import Batch

Scorer = Callable[[Batch], Iterable[float]]
_PR_SET_PDEATHSIG = 1
_SEND_S = 60.0
_NICE = 10
"""The flow goes first where both want the processor."""


def load_scorer(scorer: str, folder: Path) -> Scorer:
    """Returns the callable that a declaration names; modules and files are looked for beside the declaration, too.

    Raises:
        Exception: Whatever keeps it from being loaded.
    """
    module, _, name = scorer.partition(":")
    if module == "onnx":
        from connectors.models.onnx import OnnxScorer  # noqa: PLC0415  (an optional extra)

        return OnnxScorer(folder / name)
    sys.path.insert(0, str(folder))
    found: Scorer = getattr(importlib.import_module(module), name)
    return found


def _scores(scorer: Scorer, batch: Batch) -> Scores | Refused:
    try:
        scores = [float(score) for score in scorer(batch)]
    except Exception as error:
        return Refused(f"{type(error).__name__}: {error}")
    if len(scores) != len(batch):
        return Refused(f"{len(scores)} scores for {len(batch)} windows")
    return Scores(scores)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Loads the scorer, says so, then answers batch after batch until the other side is gone."""
    number, scorer, folder, memory_mb = sys.argv[1:]
    _die_with_parent()
    os.nice(_NICE)
    if int(memory_mb):
        resource.setrlimit(resource.RLIMIT_AS, (int(memory_mb) << 20, int(memory_mb) << 20))
    # What the user's code prints goes to the log.
    os.dup2(2, 1)
    with socket.socket(fileno=int(number)) as graph:
        graph.settimeout(_SEND_S)
        try:
            called = load_scorer(scorer, Path(folder))
        except Exception as error:
            send(graph, encode_answer(Refused(f"{type(error).__name__}: {error}")), _after(_SEND_S))
            sys.exit(1)
        send(graph, encode_answer(Hello()), _after(_SEND_S))
        while True:
            try:
                batch = decode_batch(receive(graph, None))
            except EOFError:
                return
            send(graph, encode_answer(_scores(called, batch)), _after(_SEND_S))


def _after(seconds: float) -> float:
    return time.monotonic() + seconds


if __name__ == "__main__":
    main()
