"""The 15-minute rule: when readings beyond a level are an event, and when the event is over.

An event begins with the first of consecutive readings beyond the level that span at least 15 minutes, and ends with the
first of readings back that span at least 15 minutes (Danne et al., International consensus on use of continuous glucose
monitoring, Diabetes Care 2017;40:1631). The span is the time between two readings, so with one reading each 5 minutes
it takes four. Programs that count three readings as 15 minutes find more events.
"""

from dataclasses import dataclass

import msgspec

_SECOND_NS = 1_000_000_000
SPAN_NS = 15 * 60 * _SECOND_NS
JITTER_NS = 30 * _SECOND_NS
"""Sensors are some seconds early or late: 14:30 between readings counts as 15 minutes."""
GAP_NS = 30 * 60 * _SECOND_NS
"""Readings further apart than two intervals of the slowest sensors (15 min) are not consecutive."""


@dataclass(frozen=True)
class Excursion:
    """An event as it stands: times in ns since 1970, the most extreme value in mg/dL.

    Attributes:
        start_ns: First reading beyond.
        last_ns: Last reading beyond.
        end_ns: The same while it goes on; once it is over, the first reading back.
        extreme: Most extreme value.
        over: 15 minutes were back.
    """

    start_ns: int
    last_ns: int
    end_ns: int
    extreme: int
    over: bool

    @property
    def span_ns(self) -> int:
        """From the first to the last reading beyond."""
        return self.last_ns - self.start_ns

    @property
    def duration_ns(self) -> int:
        """From the first reading beyond to the end."""
        return self.end_ns - self.start_ns


class Run(msgspec.Struct, array_like=True):
    """Readings beyond one level, in time order.

    Attributes:
        since_ns: First reading beyond of the run; None while in range.
        last_ns: Last reading beyond.
        back_ns: First reading back in range of a confirmed event; None while beyond.
        extreme: Most extreme value of the run, mg/dL.
        confirmed: The run is an event.
    """

    since_ns: int | None = None
    last_ns: int = 0
    back_ns: int | None = None
    extreme: int = 0
    confirmed: bool = False

    def push(self, ts_ns: int, mg_dl: int, *, beyond: bool, span_ns: int = SPAN_NS) -> Excursion | None:
        """Takes a reading.

        Args:
            ts_ns: Its time, not before the one pushed last.
            mg_dl: Its value.
            beyond: Whether it lies beyond the level.
            span_ns: How long readings must be beyond; 0 takes the first one for an event.

        Returns:
            The event as it stands, also on the reading that ends it; None without one.
        """
        if beyond:
            return self._beyond(ts_ns, mg_dl, span_ns)
        if not self.confirmed or self.since_ns is None:
            self.since_ns = None
            return None
        self.back_ns = ts_ns if self.back_ns is None else self.back_ns
        over = ts_ns - self.back_ns >= SPAN_NS - JITTER_NS
        # After a gap nobody knows when it ended: it is not counted longer than to its last reading.
        known = self.back_ns - self.last_ns <= GAP_NS
        event = Excursion(self.since_ns, self.last_ns, self.back_ns if known else self.last_ns, self.extreme, over)
        if over:
            self.since_ns, self.back_ns, self.confirmed = None, None, False
        return event

    def _beyond(self, ts_ns: int, mg_dl: int, span_ns: int) -> Excursion | None:
        apart = self.since_ns is not None and ts_ns - self.last_ns > GAP_NS
        if self.since_ns is None or (apart and not self.confirmed):
            self.since_ns, self.extreme = ts_ns, mg_dl
        if abs(mg_dl - 125) > abs(self.extreme - 125):
            self.extreme = mg_dl
        self.last_ns, self.back_ns = ts_ns, None
        self.confirmed = self.confirmed or ts_ns - self.since_ns >= span_ns - JITTER_NS
        return Excursion(self.since_ns, ts_ns, ts_ns, self.extreme, over=False) if self.confirmed else None
