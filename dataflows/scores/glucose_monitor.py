"""Streaming glucose of one patient: findings by the consensus levels, events and daily figures as rows.

Each sensor and meter is followed by itself. Levels below 54 and from 400 mg/dL (also LO and HI) are told at the first
reading, the others by the 15-minute rule; both end after 15 minutes back. Readings that came too late count in the
daily figures and raise nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dataflows.alerts.finding import AnyAnswers, AnyReading, Context, Finding, Outcome, TableRow
from dataflows.scores.episodes import LEAD_OFF, Anchor, Episodes, usable
from dataflows.scores.glucose import Level, level, whole_mg_dl
from dataflows.scores.glucose_events import JITTER_NS, SPAN_NS, Excursion, Run
from dataflows.scores.glucose_rate import HORIZON_MIN, Rate, arrow
from dataflows.scores.glucose_summary import DAY_NS, SUFFICIENT_DAYS, Day, summarise
from dataflows.scores.kept import Kept
from dataflows.scores.rows import score_row

_MINUTE_NS = 60_000_000_000
_DEVICES = 3
"""Devices that are followed: a sensor, the one before it, a meter. A fourth takes the place of the one that is silent
longest, and what stood on that one ends."""
_SUMMARY_DELAY_NS = 60 * _MINUTE_NS
"""Daily figures are written an hour after midnight (UTC), when the last readings of the day have come."""


@dataclass(frozen=True)
class LevelRule:
    """A level and how it is told: low or high, at once or by the 15-minute rule."""

    rule: str
    limit: float
    low: bool
    at_once: bool

    def beyond(self, mg_dl: int, limit: float) -> bool:
        """Whether a value lies beyond; 400 itself is what a sensor shows for HI."""
        if self.low:
            return mg_dl < limit
        return mg_dl >= limit if self.at_once else mg_dl > limit


LEVEL_2_RULE = "glucose_level_2_event"
"""Below 54 for 15 minutes: half of such lows are not back above 70 by then, so it is told again."""
LEVEL_RULES = (
    LevelRule("glucose_below_54", 54, low=True, at_once=True),
    LevelRule(LEVEL_2_RULE, 54, low=True, at_once=False),
    LevelRule("glucose_below_70", 70, low=True, at_once=False),
    LevelRule("glucose_above_250", 250, low=False, at_once=False),
    LevelRule("glucose_above_400", 400, low=False, at_once=True),
)
PROLONGED_MIN = 120.0
"""Minutes that make a level 2 event prolonged (Danne 2017; Battelino 2023 calls it extended, below 70)."""
PREDICTED_LOW = 55.0
PREDICTED_CLEAR = 70.0
FAST_MG_DL_MIN = 3.0
FAST_CLEAR = 2.0
RULES = (
    *(one.rule for one in LEVEL_RULES),
    "glucose_hypo_prolonged",
    "glucose_predicted_low",
    "glucose_falling_fast",
    "glucose_rising_fast",
)
"""Every rule that this monitor tells."""


class _Device(msgspec.Struct, array_like=True):
    last_ns: int = 0
    runs: list[Run] = msgspec.field(default_factory=lambda: [Run() for _ in LEVEL_RULES])
    rate: Rate = msgspec.field(default_factory=Rate)
    days: list[Day] = []
    unwritten: list[int] = []
    """Days whose figures changed since they were written."""
    episodes: Episodes = msgspec.field(default_factory=Episodes)


class _State(msgspec.Struct, array_like=True):
    devices: dict[str, _Device] = {}
    armed: Anchor | None = None
    due_ns: int = 0


class GlucoseMonitor(Kept[_State]):
    """Glucose of one patient."""

    _kind = _State

    def __init__(self) -> None:
        self._state = _State()

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading; others than of glucose lead to nothing."""
        if reading.code != "glucose" or reading.value != reading.value or reading.status & LEAD_OFF:
            return []
        anchor, mg_dl = Anchor.of(reading), whole_mg_dl(reading.value)
        replaced = self._make_room(anchor, context)
        device = self._state.devices.setdefault(anchor.device, _Device())
        self._count(device, anchor, mg_dl)
        if not usable(reading) or reading.ts_ns <= device.last_ns:
            return replaced
        device.last_ns = reading.ts_ns
        device.rate.push(reading.ts_ns, mg_dl)
        found = [*self._levels(device, anchor, mg_dl, context), *self._motion(device, anchor, mg_dl, context)]
        return [*replaced, *found]

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Questionnaires have no part in it."""
        return []

    def deadline(self) -> tuple[int, int] | None:
        """When the figures of the day are written."""
        return None if self._state.armed is None else (self._state.due_ns, self._state.armed.log_seq)

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """Writes the figures of the days that changed."""
        armed = self._state.armed
        if armed is None or log_ns < self._state.due_ns:
            return []
        anchor, today = armed.at(self._state.due_ns), self._state.due_ns // DAY_NS
        written: list[Outcome] = []
        for name, device in self._state.devices.items():
            for number in device.unwritten:
                if number < today:
                    written += _summaries(name, device.days, number, anchor, context)
            device.unwritten = [number for number in device.unwritten if number >= today]
        if any(device.unwritten for device in self._state.devices.values()):
            self._state.due_ns += DAY_NS
        else:
            self._state.armed = None
        return written

    def _make_room(self, anchor: Anchor, context: Context) -> list[Outcome]:
        """A further device is followed instead of the one that is silent longest: its figures and alerts end here."""
        devices = self._state.devices
        if anchor.device in devices or len(devices) < _DEVICES:
            return []
        name = min(devices, key=lambda one: devices[one].last_ns)
        gone = devices.pop(name)
        figures = [row for number in gone.unwritten for row in _summaries(name, gone.days, number, anchor, context)]
        return [*figures, *gone.episodes.end_all(anchor, "glucose")]

    def _count(self, device: _Device, anchor: Anchor, mg_dl: int) -> None:
        number = anchor.ts_ns // DAY_NS
        day = next((day for day in device.days if day.number == number), None)
        if day is None:
            if device.days and number <= device.days[-1].number - SUFFICIENT_DAYS:
                return
            day = Day(number)
            kept = [one for one in device.days if one.number > number - SUFFICIENT_DAYS]
            device.days = sorted([*kept, day], key=lambda one: one.number)
        day.push(anchor.ts_ns, mg_dl)
        if number not in device.unwritten:
            device.unwritten = sorted([*device.unwritten, number])
        if self._state.armed is None:
            days = (anchor.log_ns - _SUMMARY_DELAY_NS) // DAY_NS + 1
            self._state.armed, self._state.due_ns = anchor, days * DAY_NS + _SUMMARY_DELAY_NS

    def _levels(self, device: _Device, anchor: Anchor, mg_dl: int, context: Context) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for one, run in zip(LEVEL_RULES, device.runs, strict=True):
            limit = context.overrides.get(one.rule, one.limit)
            span_ns = 0 if one.at_once else SPAN_NS
            event = run.push(anchor.ts_ns, mg_dl, beyond=one.beyond(mg_dl, limit), span_ns=span_ns)
            if event is None:
                continue
            outcomes += _event(device, one, event, anchor, limit=limit, context=context)
            if one.rule == LEVEL_2_RULE:
                outcomes += _prolonged(device, event, anchor, context)
        return outcomes

    def _motion(self, device: _Device, anchor: Anchor, mg_dl: int, context: Context) -> list[Finding]:
        slope, forecast = device.rate.mg_dl_min, device.rate.forecast()
        if slope is None or forecast is None:
            return []
        details = {"mg_dl_min": round(slope, 2), "arrow": arrow(slope), "mg_dl": mg_dl, "horizon_min": HORIZON_MIN}
        low = context.overrides.get("glucose_predicted_low", PREDICTED_LOW)
        stands = device.episodes.holds("glucose_predicted_low")
        comes = forecast <= (PREDICTED_CLEAR if stands else low) and level(mg_dl) != Level.VERY_LOW
        found = _tell_worst(
            device,
            "glucose_predicted_low",
            comes,
            anchor,
            value=float(round(forecast)),
            limit=low,
            sign=-1,
            details=details,
        )
        for rule, sign in (("glucose_falling_fast", -1), ("glucose_rising_fast", 1)):
            limit = context.overrides.get(rule, FAST_MG_DL_MIN)
            bound = limit - (FAST_MG_DL_MIN - FAST_CLEAR) * device.episodes.holds(rule)
            found += _tell_worst(
                device,
                rule,
                slope * sign > bound,
                anchor,
                value=round(slope, 1),
                limit=limit,
                sign=sign,
                details=details,
            )
        return found


def _event(
    device: _Device, one: LevelRule, event: Excursion, anchor: Anchor, *, limit: float, context: Context
) -> list[Outcome]:
    minutes = event.duration_ns / _MINUTE_NS
    outcomes: list[Outcome] = [
        *device.episodes.tell(
            one.rule,
            not event.over,
            anchor,
            value=float(event.extreme),
            limit=limit,
            code="glucose",
            onset_ns=event.start_ns,
            details={"extreme_mg_dl": event.extreme, "minutes": round(minutes, 1)},
        )
    ]
    if event.over and not one.at_once:
        particulars = {"extreme_mg_dl": event.extreme, "start_ns": event.start_ns, "end_ns": event.end_ns}
        outcomes.append(score_row(one.rule, minutes, anchor, context, parts=particulars, device=anchor.device))
    return outcomes


def _prolonged(device: _Device, event: Excursion, anchor: Anchor, context: Context) -> list[Finding]:
    limit = context.overrides.get("glucose_hypo_prolonged", PROLONGED_MIN)
    minutes = (event.span_ns + JITTER_NS) / _MINUTE_NS
    return device.episodes.tell(
        "glucose_hypo_prolonged",
        minutes >= limit and not event.over,
        anchor,
        value=max(limit, float(minutes // 60 * 60)),  # told again each hour
        limit=limit,
        code="glucose",
        onset_ns=event.start_ns,
        details={"extreme_mg_dl": event.extreme},
    )


def _tell_worst(
    device: _Device,
    rule: str,
    holds: bool,
    anchor: Anchor,
    *,
    value: float,
    limit: float,
    sign: int,
    details: dict[str, Any],
) -> list[Finding]:
    """Tells of a condition again only when its value gets worse (`sign` says which way)."""
    episode = device.episodes.standing.get(rule)
    if holds and episode is not None and value * sign < episode.value * sign:
        value = episode.value
    return device.episodes.tell(rule, holds, anchor, value=value, limit=limit, code="glucose", details=details)


def _summaries(device: str, days: list[Day], number: int, anchor: Anchor, context: Context) -> list[TableRow]:
    rows: list[TableRow] = []
    for score, span in (("glucose_day", 1), ("glucose_14d", SUFFICIENT_DAYS)):
        figures = summarise((day for day in days if number - span < day.number <= number), span)
        if figures is not None:
            state = "complete" if span == 1 or figures.sufficient else "partial"
            parts = {
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in msgspec.structs.asdict(figures).items()
            }
            rows.append(
                score_row(
                    score,
                    figures.in_range_pct,
                    anchor,
                    context,
                    state=state,
                    parts=parts,
                    device=device,
                    ts_ns=number * DAY_NS,
                )
            )
    return rows
