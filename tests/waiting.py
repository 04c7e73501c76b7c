"""Waiting on conditions, with a deadline and without spinning a shared processor."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


def until(condition: Callable[[], _T], timeout_s: float = 180.0, poll_s: float = 0.02) -> _T:
    """Returns what `condition()` is as soon as that is true; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        pause.wait(poll_s)
    return found
