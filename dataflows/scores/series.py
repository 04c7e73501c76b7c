"""The recent readings of one code: the last one, or the median of the last minutes, and when it is too old."""

from bisect import bisect_left
from statistics import median

import msgspec

from dataflows.scores.episodes import Anchor

SLOT_NS = 30_000_000_000
"""Continuous signals come every second; ten readings are enough for a median of five minutes."""


class Series(msgspec.Struct, array_like=True):
    """Readings of one code.

    Attributes:
        slots: Slot number and first reading of the slot, ascending; one entry where the last reading counts.
        anchor: Newest reading that was taken.
        seen_ns: Event time from which its age counts, never after the log time at which it came.
    """

    slots: list[tuple[int, float]]
    anchor: Anchor
    seen_ns: int

    @classmethod
    def begin(cls, anchor: Anchor, value: float) -> "Series":
        """The series of a first reading."""
        seen_ns = min(anchor.ts_ns, anchor.log_ns)
        return cls([(seen_ns // SLOT_NS, value)], anchor, seen_ns)

    def push(self, anchor: Anchor, value: float, median_s: int) -> bool:
        """Takes a reading; answers whether the value may have changed.

        Args:
            anchor: Where it is from.
            value: Reading.
            median_s: Span of the median; 0 keeps the newest reading alone.
        """
        seen_ns = min(anchor.ts_ns, anchor.log_ns)
        slot = seen_ns // SLOT_NS
        if median_s == 0:
            if seen_ns < self.seen_ns:
                return False
            self.slots, self.anchor, self.seen_ns = [(slot, value)], anchor, seen_ns
            return True
        newest, oldest = self.slots[-1][0], slot - median_s * 1_000_000_000 // SLOT_NS
        if slot > newest:
            self.slots = [entry for entry in self.slots if entry[0] > oldest]
            self.slots.append((slot, value))
            self.anchor, self.seen_ns = anchor, seen_ns
            return True
        if slot == newest or slot <= newest - median_s * 1_000_000_000 // SLOT_NS:
            return False
        at = bisect_left(self.slots, (slot,))
        if self.slots[at][0] == slot:
            return False
        self.slots.insert(at, (slot, value))
        return True

    @property
    def value(self) -> float:
        """The last reading, or the median of those that are kept."""
        return median(value for _, value in self.slots)
