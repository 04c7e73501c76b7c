"""How good alerts are: how often they come, how many deteriorations they precede and by how much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

HOUR_NS = 3_600_000_000_000
WINDOW_NS = 24 * HOUR_NS
"""An alert belongs to a deterioration when it stands within 24 h before it."""
LEAST_NS = 12 * HOUR_NS
"""Shorter rests of a stay are no window, and deteriorations that early are not counted."""

Alert = tuple[int, int]
"""Raised and ended, ns."""


@dataclass(frozen=True)
class Course:
    """Alerts of one detector in one stay."""

    start_ns: int
    end_ns: int
    event_ns: int | None
    alerts: list[Alert]


def figures(courses: Iterable[Course]) -> dict[str, float | int | str]:
    """Figures of one detector.

    `quiet windows with alert` are the days of patients who did not deteriorate in which an alert stood: what a detector
    that alerts at random would also call a success, so the two shares belong together.
    """
    raised, days, leads, events, windows, hit, useful = 0, 0.0, [], 0, 0, 0, 0
    for one in courses:
        raised += len(one.alerts)
        days += (one.end_ns - one.start_ns) / WINDOW_NS
        if one.event_ns is None:
            at_ns = one.start_ns
            while one.end_ns - at_ns >= LEAST_NS:
                windows += 1
                hit += any(begun < at_ns + WINDOW_NS and ended > at_ns for begun, ended in one.alerts)
                at_ns += WINDOW_NS
            continue
        if one.event_ns - one.start_ns < LEAST_NS:
            continue
        events += 1
        since_ns = one.event_ns - WINDOW_NS
        before = [begun for begun, ended in one.alerts if begun < one.event_ns and ended > since_ns]
        useful += sum(since_ns <= begun < one.event_ns for begun, _ in one.alerts)
        if before:
            leads.append((one.event_ns - max(min(before), since_ns)) / HOUR_NS)
    return {
        "alerts a patient-day": raised / days if days else float("nan"),
        "events": events,
        "preceded %": 100 * len(leads) / events if events else float("nan"),
        "95 %": wilson(len(leads), events),
        "quiet windows with alert %": 100 * hit / windows if windows else float("nan"),
        "median lead h": median(leads) if leads else float("nan"),
        "alerts before an event %": 100 * useful / raised if raised else float("nan"),
    }


def wilson(part: int, whole: int, z: float = 1.96) -> str:
    """95 % confidence interval of a share, percent (Wilson 1927)."""
    if not whole:
        return "-"
    p = part / whole
    middle, half = p + z * z / (2 * whole), z * ((p * (1 - p) + z * z / (4 * whole)) / whole) ** 0.5
    low, high = (middle - half) / (1 + z * z / whole), (middle + half) / (1 + z * z / whole)
    return f"{100 * low:.0f}-{100 * high:.0f}"
