"""How fast glucose moves, and where it will be soon.

The rate is the median of the slopes between all pairs of readings of the last 15 minutes (Theil-Sen), so one wrong
reading of four does not turn an arrow. Arrows follow the manufacturers' bands of 1, 2 and 3 mg/dL/min; the forecast
follows the "urgent low soon" alarm of current sensors: at or below 55 mg/dL within 20 minutes.
"""

from itertools import combinations
from statistics import median

import msgspec

from dataflows.scores.glucose import censored

WINDOW_NS = 15 * 60 * 1_000_000_000
SLACK_NS = 30 * 1_000_000_000
MINUTE_NS = 60 * 1_000_000_000
HORIZON_MIN = 20
ARROWS = ((3.0, "double"), (2.0, "single"), (1.0, "diagonal"))


class Rate(msgspec.Struct, array_like=True):
    """The last 15 minutes of a sensor: (time in ns, mg/dL), at most one reading a minute."""

    recent: list[tuple[int, int]] = []

    def push(self, ts_ns: int, mg_dl: int) -> None:
        """Takes a reading, not older than the one pushed last."""
        if self.recent and ts_ns - self.recent[-1][0] < MINUTE_NS // 2:
            return
        self.recent = [one for one in self.recent if ts_ns - one[0] <= WINDOW_NS + SLACK_NS]
        self.recent.append((ts_ns, mg_dl))

    @property
    def mg_dl_min(self) -> float | None:
        """Slope, mg/dL per minute; None with fewer than three readings, or one at the end of the device's range."""
        if len(self.recent) < 3 or any(censored(mg_dl) for _, mg_dl in self.recent):
            return None
        return median(
            (later - earlier) * MINUTE_NS / (at_later - at_earlier)
            for (at_earlier, earlier), (at_later, later) in combinations(self.recent, 2)
        )

    def forecast(self, minutes: float = HORIZON_MIN) -> float | None:
        """Where the slope leads, mg/dL; None without a slope."""
        slope = self.mg_dl_min
        return None if slope is None else self.recent[-1][1] + slope * minutes


def arrow(mg_dl_min: float) -> str:
    """Trend arrow: `flat`, or `diagonal`, `single` or `double` with `_up` or `_down`; a band's edge belongs to it."""
    for limit, name in ARROWS:
        if abs(mg_dl_min) > limit or (abs(mg_dl_min) == limit and limit < 3):
            return f"{name}_{'up' if mg_dl_min > 0 else 'down'}"
    return "flat"
