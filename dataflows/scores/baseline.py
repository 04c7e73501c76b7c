"""A patient's own usual value of a signal, and how much it spreads.

Median and 1.4826 x median absolute deviation of a day's values, so that a quarter of bad ones does no harm. The newest
values wait before they count: a patient who gets worse over an hour is not compared with that hour. Nothing is learnt
while the signal is in alarm, but what lasts for a day has become the usual.
"""

from statistics import median

import msgspec

MAD_TO_SIGMA = 1.4826


class Baseline(msgspec.Struct, array_like=True):
    """Values of the last day, oldest first.

    Attributes:
        values: Those that count.
        waiting: Those that are too new.
        frozen: How many values in a row came while in alarm.
    """

    values: list[float] = []
    waiting: list[float] = []
    frozen: int = 0

    def push(self, value: float, *, in_alarm: bool, kept: int, lag: int) -> None:
        """Takes a value.

        Args:
            value: Median of some minutes.
            in_alarm: Whether the signal is in alarm.
            kept: How many values a day has.
            lag: How many wait.
        """
        self.frozen = self.frozen + 1 if in_alarm else 0
        if in_alarm and self.frozen <= kept:
            # What led to the alarm is not the usual either.
            self.waiting = []
            return
        self.waiting = [*self.waiting, value]
        while len(self.waiting) > lag:
            self.values = [*self.values[-(kept - 1) :], self.waiting[0]]
            self.waiting = self.waiting[1:]

    def usual(self, least: int, floor: float) -> tuple[float, float] | None:
        """Centre and spread.

        Args:
            least: How many values must count.
            floor: Smallest spread: below it lies what sensors do by themselves.

        Returns:
            Both, or None while too few values count.
        """
        if len(self.values) < least:
            return None
        centre = median(self.values)
        return centre, max(floor, MAD_TO_SIGMA * median(abs(value - centre) for value in self.values))
