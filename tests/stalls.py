"""How long the machine held this process up: what a bound on the product's own waiting must not be blamed for."""

import threading
import time

BEAT_S = 0.005
NOTICED_S = 0.02


class Stalls(threading.Thread):
    """Beats every 5 ms, and keeps each beat that came `noticed_s` late or more; use as a context manager.

    A process that works in Python itself holds up its own beats for some 10 ms: there only a longer one counts.
    """

    def __init__(self, noticed_s: float = NOTICED_S) -> None:
        super().__init__(daemon=True)
        self._noticed_s = noticed_s
        self._ended = threading.Event()
        self._beat_at = time.monotonic()
        self._late: list[tuple[float, float]] = []

    def run(self) -> None:
        """Beats until it is stopped."""
        while not self._ended.wait(BEAT_S):
            now = time.monotonic()
            if now - self._beat_at > self._noticed_s:
                self._late.append((self._beat_at, now))
            self._beat_at = now

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
        return self.awake_s(began, time.monotonic())

    def awake_until_s(self, at_s: float, delay_s: float) -> float:
        """A delay that ended at a moment of the system's clock (s since 1970), without the stalls in it, in s."""
        ended = at_s - (time.time() - time.monotonic())
        return self.awake_s(ended - delay_s, ended)

    def awake_s(self, began: float, ended: float) -> float:
        """The time between two moments of the monotonic clock without the stalls in it, in s."""
        while self._beat_at < ended and self.is_alive():  # a stall that ended it is not known yet
            time.sleep(BEAT_S)
        return ended - began - sum(max(0.0, min(b, ended) - max(a, began)) for a, b in self._late)
