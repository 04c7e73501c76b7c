"""Numeric vitals against their limits: which readings begin, continue and end the condition of a rule.

A limit is passed by values beyond it, never by one that meets it. Once people were told, the condition goes on until a
value is at the clear limit or inside; while it is only pending, any value that is not beyond the limit ends it. How
long it must hold is the lifecycle's business. The only state is what rise and fall are measured from.
"""

import math
from collections.abc import Callable

import msgspec

from dataflows.alerts.episode import SECOND_NS, Episode
from dataflows.alerts.finding import AnyReading, Finding
from dataflows.alerts.rules import Bounds, Rule

MAX_POINTS = 32
"""Readings that rise and fall can look back on. Weights come once a day; of a faster series the oldest go first."""
MAX_WINDOWS = 4
"""Places of which rise and fall are measured: two rules on two scales. A further one takes the place of the oldest."""
MAX_LATE = 16
"""Conditions in late readings that are followed at once."""


class Condition(msgspec.Struct, array_like=True):
    """What a patient's rules remember of readings: extremes within the window, by place, as (ts_ns, value)."""

    windows: dict[str, list[tuple[int, float]]] = {}

    def measure(self, rule: Rule, reading: AnyReading) -> tuple[float, int]:
        """How far a reading rose or fell within the window, and the event time at which that begins."""
        sign = 1.0 if rule.measure == "rise" else -1.0
        place = rule.place(reading.device, reading.signal, reading.code)
        if place not in self.windows and len(self.windows) >= MAX_WINDOWS:
            del self.windows[min(self.windows, key=lambda one: (self.windows[one][-1][0], one))]
        window = self.windows.setdefault(place, [])
        oldest_ns = reading.ts_ns - round(rule.within_s * SECOND_NS)
        kept = [point for point in window if oldest_ns <= point[0] <= reading.ts_ns]
        # A point that is no extreme for any later reading can go: the list stays in the order of time and of value.
        base = min(kept, key=lambda point: sign * point[1], default=(reading.ts_ns, reading.value))
        kept = [point for point in kept if sign * point[1] < sign * reading.value]
        window[:] = [*kept[-(MAX_POINTS - 1) :], (reading.ts_ns, reading.value)]
        return max(sign * (reading.value - base[1]), 0.0), base[0]

    def judge(self, rule: Rule, bounds: Bounds, reading: AnyReading, episode: Episode | None) -> Finding | None:
        """What a reading says of a rule, given its alert; None where it says nothing new."""
        if not usable(rule, reading):
            return None
        value, from_ns = (reading.value, reading.ts_ns) if rule.measure == "value" else self.measure(rule, reading)
        told = episode is not None and episode.standing
        severe = _severe(rule, bounds, value, was=told and episode is not None and episode.severe)
        if _beyond(rule, value, bounds.limit) or (told and episode is not None and _held(rule, bounds, value, episode)):
            return _finding(rule, bounds, reading, value, from_ns, raised=True, severe=severe)
        if episode is None:
            return None
        return _finding(rule, bounds, reading, value, from_ns, raised=False, severe=False)


def usable(rule: Rule, reading: AnyReading) -> bool:
    """Whether the device itself stands by the reading, as far as the rule asks."""
    if math.isnan(reading.value) or reading.status & rule.ignore:
        return False
    return not 0 < reading.quality_pct < rule.min_quality_pct


def _beyond(rule: Rule, value: float, limit: float) -> bool:
    return value > limit if rule.upwards else value < limit


def _held(rule: Rule, bounds: Bounds, value: float, episode: Episode) -> bool:
    """Within the hysteresis: not over yet. A latched alert whose condition is over does not come back by that."""
    return episode.holds and _beyond(rule, value, bounds.clear)


def _severe(rule: Rule, bounds: Bounds, value: float, *, was: bool) -> bool:
    """Beyond the severe level, with the same hysteresis as the limit."""
    if bounds.severe is None:
        return False
    back = abs(bounds.limit - bounds.clear) if was else 0.0
    return _beyond(rule, value, bounds.severe - back if rule.upwards else bounds.severe + back)


def _finding(
    rule: Rule, bounds: Bounds, reading: AnyReading, value: float, from_ns: int, *, raised: bool, severe: bool
) -> Finding:
    ts_ns = reading.ts_ns
    return Finding(
        rule=rule.name,
        raised=raised,
        device=reading.device,
        boot=reading.boot,
        signal=reading.signal,
        seq=reading.seq,
        code=reading.code,
        onset=ts_ns,
        onset_ns=ts_ns,
        value=value,
        limit=bounds.limit,
        evidence_ns=(from_ns, ts_ns),
        sample_ns=ts_ns,
        log_seq=reading.log_seq,
        log_ns=reading.log_ns,
        stored=reading.stored,
        severe=severe,
    )


class LateEpisode(msgspec.Struct, array_like=True):
    """A condition in readings that came late, in event time."""

    onset_ns: int
    recorded: bool = False


class LateConditions(msgspec.Struct, array_like=True):
    """The same rules on readings that came too late to page anybody: delays count in event time alone."""

    episodes: dict[str, LateEpisode] = {}

    def judge(self, rule: Rule, bounds_at: Callable[[int], Bounds], reading: AnyReading) -> Finding | None:
        """What is to be recorded. The limits are those of the reading's own time. Rise and fall are left out."""
        if rule.measure != "value" or not usable(rule, reading):
            return None
        bounds = bounds_at(reading.ts_ns)
        place = rule.place(reading.device, reading.signal, reading.code)
        episode = self.episodes.get(place)
        recorded = episode is not None and episode.recorded
        value = reading.value
        if not _beyond(rule, value, bounds.clear if recorded else bounds.limit):
            self.episodes.pop(place, None)
            if episode is None or not recorded:
                return None
            found = _finding(rule, bounds, reading, value, reading.ts_ns, raised=False, severe=False)
        else:
            if episode is None or reading.ts_ns < episode.onset_ns:
                if place not in self.episodes and len(self.episodes) >= MAX_LATE:
                    del self.episodes[min(self.episodes, key=lambda one: (self.episodes[one].onset_ns, one))]
                episode = self.episodes[place] = LateEpisode(reading.ts_ns)
            if episode.recorded or reading.ts_ns - episode.onset_ns < bounds.delay_s * SECOND_NS:
                return None
            episode.recorded = True
            severe = _severe(rule, bounds, value, was=False)
            found = _finding(rule, bounds, reading, value, episode.onset_ns, raised=True, severe=severe)
        return msgspec.structs.replace(found, onset=episode.onset_ns, onset_ns=episode.onset_ns)
