"""How long the machine held this process up: what a bound on the product's own waiting must not be blamed for."""

import threading
import time

BEAT_S = 0.005
NOTICED_S = 0.02


class Stalls(threading.Thread):
    """Beats every 5 ms, and keeps each beat that came 20 ms late or more; use as a context manager."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self._late: list[tuple[float, float]] = []

    def run(self) -> None:
        """Beats until it is stopped."""
        before = time.monotonic()
        while not self._ended.wait(BEAT_S):
            now = time.monotonic()
            if now - before > NOTICED_S:
                self._late.append((before, now))
            before = now

    def __enter__(self) -> "Stalls":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def timed(self, act) -> float:
        """Does something, and returns how long that took without the stalls that fell into it, in s."""
        began = time.monotonic()
        act()
        ended = time.monotonic()
        time.sleep(2 * BEAT_S)  # a stall that ended it is known by then
        return ended - began - sum(max(0.0, min(b, ended) - max(a, began)) for a, b in self._late)
