"""SpO2 beside a questionnaire: how far the last minutes are below the patient's usual of the last day."""

from statistics import median

import msgspec

from dataflows.scores.episodes import Anchor
from dataflows.scores.series import Series

_HOUR_NS = 3_600_000_000_000
_MEDIAN_S = 300
_HOURS = 24
_LEAST_HOURS = 3


class Companion(msgspec.Struct, array_like=True):
    """SpO2 of a day.

    Attributes:
        recent: Last five minutes.
        hours: Hour number and the median at its end.
    """

    recent: Series | None = None
    hours: list[tuple[int, float]] = []

    def push(self, anchor: Anchor, value: float) -> bool:
        """Takes a reading; answers whether the median may have changed."""
        if self.recent is None:
            self.recent = Series.begin(anchor, value)
        elif not self.recent.push(anchor, value, _MEDIAN_S):
            return False
        hour = self.recent.seen_ns // _HOUR_NS
        before = [one for one in self.hours if hour - _HOURS <= one[0] < hour]
        self.hours = [*before, (hour, self.recent.value)]
        return True

    def fall(self, log_ns: int) -> float | None:
        """Points below the usual.

        Args:
            log_ns: Now; a reading of the last hour must be there.

        Returns:
            The fall, negative when above; None without a recent reading or without three hours before.
        """
        if self.recent is None or self.recent.seen_ns <= log_ns - _HOUR_NS:
            return None
        hour = self.recent.seen_ns // _HOUR_NS
        usual = [value for at, value in self.hours if at < hour]
        return median(usual) - self.recent.value if len(usual) >= _LEAST_HOURS else None
