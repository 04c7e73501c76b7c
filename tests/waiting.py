"""Waiting on conditions, with a deadline and without spinning a shared processor."""

import threading
import time
from collections.abc import Callable


def until(condition: Callable[[], object], timeout_s: float = 180.0, poll_s: float = 0.02) -> None:
    """Returns as soon as `condition()` is true; fails after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not true within {timeout_s} s"
        pause.wait(poll_s)
