"""Whether the flow gets on, by the health endpoints of `vitals run`: told to every screen twice a second.

A flow that died raises no alarm, which looks like a ward where all is well. The dead-man watch says so in ALERTS after
`run.silent_s`; a screen knows within seconds, because it asks the supervisor itself. An endpoint that never answered is
not known to be there (a flow run by hand has none), so nothing is said of it but that it is not known.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

EVERY_S = 0.5
STALE_S = 2.0
"""So long the flow may be away before a screen says so."""
TICK_S = 2.5
"""The broker's ticks come once a second and are seen half a second later."""
BEHIND_S = 10.0
"""With messages that are older than this, alerts come too late to be called live."""
Answer = Mapping[str, Any]


def ask(url: str) -> Answer | None:
    """Returns what a health endpoint says; None when it does not answer."""
    try:
        with urllib.request.urlopen(f"{url}/status", timeout=1.0) as answer:  # noqa: S310  (named by the operator)
            found: Answer = json.load(answer)
            return found
    except (OSError, ValueError):
        return None


class Pipeline:
    """Follows the flow.

    Args:
        urls: Health endpoints.
        ticks: Log time moves by itself (`streams.log_time = server`), so it has to move.
        clock: Seconds that never run back.
    """

    def __init__(self, urls: Sequence[str], *, ticks: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._urls, self._ticks, self._clock = urls, ticks, clock
        self._answers: list[Answer] = []
        self._known = False
        self._good_s = self._moved_s = clock()
        self._log_s = 0.0
        self._says = ""

    async def run(self) -> None:
        """Asks until it is cancelled."""
        while True:
            answers = await asyncio.gather(*(asyncio.to_thread(ask, url) for url in self._urls))
            self.take([answer for answer in answers if answer is not None])
            await asyncio.sleep(EVERY_S)

    def take(self, answers: Sequence[Answer]) -> None:
        """Takes what the endpoints said at one moment."""
        now_s = self._clock()
        self._answers = list(answers)
        if answers and not self._known:
            self._known, self._good_s, self._moved_s = True, now_s, now_s
        log_s = min((one["log_s"] for one in self.partitions.values()), default=0.0)
        if log_s > self._log_s:
            self._moved_s = now_s
        self._log_s = log_s
        self._says = self._trouble(now_s)
        if not self._says:
            self._good_s = now_s

    def _trouble(self, now_s: float) -> str:
        """Why no alert can come now, in words; "" when one can."""
        if not self._answers:
            return "vitals run does not answer"
        for answer in self._answers:
            if answer["state"] != "running":
                return f"the flow is {answer['state']}" + (f": {answer['reason']}" if answer["reason"] else "")
        if self._ticks and now_s - self._moved_s > TICK_S:
            return "log time stands still"
        if self.lag_s > BEHIND_S:
            return f"the flow is {self.lag_s:.0f} s behind"
        return ""

    @property
    def partitions(self) -> dict[str, dict[str, float]]:
        """How far each partition of the log is."""
        return {name: found for answer in self._answers for name, found in answer["partitions"].items()}

    @property
    def lag_s(self) -> float:
        """Age of the oldest message that the flow has not taken yet; 0 when none waits."""
        return max((one["lag_s"] for one in self.partitions.values()), default=0.0)

    def brief(self) -> dict[str, Any]:
        """Returns what every screen is told: `stale_s` is how long no alert can have come, 0 while all is well."""
        gone_s = self._clock() - self._good_s
        stale = self._known and bool(self._says) and gone_s > STALE_S
        return {
            "known": self._known,
            "stale_s": round(gone_s, 1) if stale else 0.0,
            "says": self._says if stale else "",
        }

    def whole(self) -> dict[str, Any]:
        """Returns what the technical page shows."""
        partitions = [{"partition": name, **found} for name, found in sorted(self.partitions.items())]
        return {
            **self.brief(),
            "urls": list(self._urls),
            "states": [str(answer["state"]) for answer in self._answers],
            "restarts": sum(int(answer["restarts"]) for answer in self._answers),
            "reason": next((str(answer["reason"]) for answer in self._answers if answer["reason"]), ""),
            "unaccounted": sum(int(answer.get("unaccounted", 0)) for answer in self._answers),
            "lag_s": self.lag_s,
            "pending": int(sum(one["pending"] for one in self.partitions.values())),
            "partitions": partitions,
        }
