"""Time in range, GMI and variability, from daily sums that can be added.

A day is a UTC day. Sums are whole numbers, so any order of readings gives the same figures.

Sources: time in range and targets Battelino 2019; GMI = 3.31 + 0.02392 x mean mg/dL (Bergenstal et al., Diabetes Care
2018;41:2275); CV at most 36 % means stable. Of 14 days at least 70 % must be covered for a report to be relied on.
"""

from collections.abc import Iterable

import msgspec

from dataflows.scores.glucose import level

DAY_NS = 86_400_000_000_000
_QUARTER_NS = 15 * 60 * 1_000_000_000
"""A quarter of an hour with a reading counts as covered: the interval of the slowest sensors."""
SUFFICIENT_DAYS = 14
SUFFICIENT_PCT = 70.0


class Day(msgspec.Struct, array_like=True):
    """Sums over the readings of a day.

    Attributes:
        number: Days since 1970, UTC.
        count: Readings.
        total: Sum of values, mg/dL.
        squares: Sum of squares.
        levels: Readings per consensus range, very low to very high.
        tight: Readings from 70 to 140 mg/dL.
        quarters: Quarters of an hour with a reading, 32 bits each.
    """

    number: int
    count: int = 0
    total: int = 0
    squares: int = 0
    levels: list[int] = msgspec.field(default_factory=lambda: [0] * 5)
    tight: int = 0
    quarters: list[int] = msgspec.field(default_factory=lambda: [0] * 3)

    def push(self, ts_ns: int, mg_dl: int) -> None:
        """Takes a reading of this day, at any place in the order."""
        self.count += 1
        self.total += mg_dl
        self.squares += mg_dl * mg_dl
        self.levels[level(mg_dl)] += 1
        self.tight += 70 <= mg_dl <= 140
        word, bit = divmod(ts_ns % DAY_NS // _QUARTER_NS, 32)
        self.quarters[word] |= 1 << bit

    @property
    def covered(self) -> int:
        """Quarters of an hour with a reading."""
        return sum(word.bit_count() for word in self.quarters)


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a span of days; shares in percent of readings, glucose in mg/dL, GMI in percent."""

    days: int
    readings: int
    active_pct: float
    mean: float
    sd: float
    cv_pct: float
    gmi_pct: float
    below_54_pct: float
    below_70_pct: float
    in_range_pct: float
    tight_range_pct: float
    above_180_pct: float
    above_250_pct: float
    sufficient: bool


def gmi_pct(mean_mg_dl: float) -> float:
    """Glucose management indicator."""
    return 3.31 + 0.02392 * mean_mg_dl


def summarise(days: Iterable[Day], span_days: int) -> Summary | None:
    """Figures over the given days.

    Args:
        days: Sums of the days that have readings.
        span_days: Length of the span, with the days that have none.

    Returns:
        The figures; None without a reading.
    """
    some = [day for day in days if day.count]
    count = sum(day.count for day in some)
    if not count:
        return None
    total, squares = sum(day.total for day in some), sum(day.squares for day in some)
    mean = total / count
    # Exact in whole numbers until the last division.
    sd = ((squares * count - total * total) / (count * (count - 1))) ** 0.5 if count > 1 else 0.0
    share = [100.0 * sum(day.levels[at] for day in some) / count for at in range(5)]
    active = 100.0 * sum(day.covered for day in some) / (96 * span_days)
    return Summary(
        days=span_days,
        readings=count,
        active_pct=active,
        mean=mean,
        sd=sd,
        cv_pct=100.0 * sd / mean,
        gmi_pct=gmi_pct(mean),
        below_54_pct=share[0],
        below_70_pct=share[0] + share[1],
        in_range_pct=share[2],
        tight_range_pct=100.0 * sum(day.tight for day in some) / count,
        above_180_pct=share[3] + share[4],
        above_250_pct=share[4],
        sufficient=span_days >= SUFFICIENT_DAYS and active >= SUFFICIENT_PCT,
    )
