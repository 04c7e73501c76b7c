"""The metric that must read 0: messages that the log handed over and that became nothing, or two things.

received = stored + late + duplicate + rejected + commands, by the flow's own counters. They are read while it works, so
what was received some seconds ago is held against what has come of it by now: whatever is still on its way then is
stuck or gone.
"""

from collections import deque
from collections.abc import Mapping

from prometheus_client import Gauge

UNACCOUNTED = Gauge("vitals_ledger_unaccounted", "Messages that became nothing, or two things; must be 0")
_RECEIVED, _OUTCOMES = "vitals_received_total", ("vitals_frames_total", "vitals_commands_total")


class Unaccounted:
    """Follows the counters of one run of the flow; pure.

    Args:
        patience_s: So long a message may be on its way.
    """

    def __init__(self, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._received: deque[tuple[float, float]] = deque()

    def observe(self, samples: Mapping[str, float], now_s: float) -> int:
        """Takes a look at the counters; returns how many messages are unaccounted for."""
        if _RECEIVED not in samples:
            return 0
        received = samples[_RECEIVED]
        outcomes = sum(value for name, value in samples.items() if name.partition("{")[0] in _OUTCOMES)
        if self._received and received < self._received[-1][1]:
            self._received.clear()  # started anew, as all counters
        self._received.append((now_s, received))
        while len(self._received) > 1 and self._received[1][0] <= now_s - self._patience_s:
            self._received.popleft()
        then_s, then = self._received[0]
        gone = max(0.0, then - outcomes) if then_s <= now_s - self._patience_s else 0.0
        return int(gone or max(0.0, outcomes - received))
