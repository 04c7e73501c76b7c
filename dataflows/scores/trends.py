"""Streaming trends of one patient: where each signal goes, and how far it is from the patient's own usual.

Readings become one median per slot. Each slot asks two questions:

- `<code>_trend`: does the Theil-Sen slope of the window leave out 0 with 95 %, and does it make a change that matters?
- `<code>_shift`: do EWMA and CUSUM both say that the level left the baseline, and is the median of the last five slots
  that far away?

A trend is told again when it has grown by half of the limit, and ends when the slope has no sign any more or makes less
than half of the change. Nothing ends because a sensor fell silent.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec

from dataflows.alerts.finding import AnyAnswers, AnyReading, Context, Finding, Outcome, TableRow
from dataflows.scores.baseline import Baseline
from dataflows.scores.charts import Charts
from dataflows.scores.episodes import Anchor, Episodes, usable
from dataflows.scores.kept import Kept
from dataflows.scores.theil_sen import Slope, theil_sen

_SECOND_NS = 1_000_000_000
_HOUR_S = 3600
_DAY_S = 86_400
_PARTS = 10
"""Readings that a slot keeps: the first of each tenth."""
_BASELINE_VALUES = 48
_RECENT = 5
"""Slots whose median is the level that is compared with the usual."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one signal is followed.

    Attributes:
        code: Code of the readings.
        unit: Their unit.
        window_s: Length of the window of the slope.
        slot_s: Length of a slot, for which one median stands.
        change: Change over the window, or distance from the usual, that matters.
        floor: Smallest spread of the baseline.
        up: Whether rises are told.
        down: Whether falls are told.
        adverse: Which way patients get worse.
        alarms: Rules that freeze the baseline, besides the signal's own.
        baseline_s: Span of the baseline.
        least: Baseline values before shifts are told.
    """

    code: str
    unit: str
    window_s: int
    slot_s: int
    change: float
    floor: float
    up: bool = False
    down: bool = False
    adverse: Literal["up", "down"]
    alarms: tuple[str, ...] = ()
    baseline_s: int = _DAY_S
    least: int = 12

    @property
    def every(self) -> int:
        """Slots per value of the baseline."""
        return max(1, self.baseline_s // (_BASELINE_VALUES * self.slot_s))

    @property
    def kept(self) -> int:
        """Values of a full baseline."""
        return self.baseline_s // (self.every * self.slot_s)

    @property
    def lag(self) -> int:
        """Values that wait: those of the window."""
        return max(1, self.window_s // (self.every * self.slot_s))


class _Signals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    signals: tuple[Signal, ...]


@cache
def load() -> tuple[Signal, ...]:
    """The shipped signals (`trends.toml`)."""
    return msgspec.toml.decode((Path(__file__).parent / "trends.toml").read_bytes(), type=_Signals).signals


class _Track(msgspec.Struct, array_like=True):
    """State of one signal: the open slot, the window, the baseline, the charts."""

    slot: int
    part: int = -1
    values: list[float] = []
    window: list[tuple[int, float]] = []
    baseline: Baseline = msgspec.field(default_factory=Baseline)
    charts: Charts = msgspec.field(default_factory=Charts)


class _State(msgspec.Struct, array_like=True):
    tracks: dict[str, _Track] = {}
    episodes: Episodes = msgspec.field(default_factory=Episodes)


class Trends(Kept[_State]):
    """Trends of one patient.

    Args:
        signals: What is followed; the shipped signals unless a site has its own.
    """

    _kind = _State

    def __init__(self, signals: Sequence[Signal] | None = None) -> None:
        self._signals = {one.code: one for one in (load() if signals is None else signals)}
        self._state = _State()

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading; it closes the slot before its own."""
        signal = self._signals.get(reading.code)
        if signal is None or not usable(reading):
            return []
        slot_ns = signal.slot_s * _SECOND_NS
        slot, within = divmod(min(reading.ts_ns, reading.log_ns), slot_ns)
        track = self._state.tracks.get(signal.code)
        if track is None:
            track = self._state.tracks[signal.code] = _Track(slot)
        if slot < track.slot:
            return []
        outcomes: list[Outcome] = []
        if slot > track.slot:
            outcomes = self._close(signal, track, Anchor.of(reading), context)
            track.slot, track.part, track.values = slot, -1, []
        part = within * _PARTS // slot_ns
        if part > track.part:
            track.part = part
            track.values.append(reading.value)
        return outcomes

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Questionnaires have no part in it."""
        return []

    def deadline(self) -> tuple[int, int] | None:
        """Nothing waits: a slot closes with the next reading."""
        return None

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """Nothing waits."""
        return []

    def _close(self, signal: Signal, track: _Track, anchor: Anchor, context: Context) -> list[Outcome]:
        """The slot is over: window, slope, charts, findings, and last the baseline, for the slots to come."""
        value, slots = median(track.values), signal.window_s // signal.slot_s
        if track.window and track.slot - track.window[-1][0] > slots:
            track.charts = Charts()
        track.window = [one for one in track.window if track.slot - one[0] < slots]
        track.window.append((track.slot, value))
        slope = theil_sen([(slot * signal.slot_s / _HOUR_S, y) for slot, y in track.window])
        usual = track.baseline.usual(signal.least, signal.floor)
        if usual is not None:
            track.charts.push((value - usual[0]) / usual[1])
        found = self._trend(signal, track, slope, anchor, context)
        found += self._shift(signal, track, usual, anchor, context)
        in_alarm = any(self._state.episodes.holds(f"{signal.code}_{kind}") for kind in ("trend", "shift"))
        in_alarm = in_alarm or not context.standing.isdisjoint(signal.alarms)
        if track.slot % signal.every == 0:
            track.baseline.push(value, in_alarm=in_alarm, kept=signal.kept, lag=signal.lag)
        return [_row(signal, track, anchor, context, value=value, slope=slope, usual=usual, in_alarm=in_alarm), *found]

    def _trend(
        self, signal: Signal, track: _Track, slope: Slope | None, anchor: Anchor, context: Context
    ) -> list[Finding]:
        rule = f"{signal.code}_trend"
        stands = self._state.episodes.standing.get(rule)
        if slope is None:
            return []
        limit = context.overrides.get(rule, signal.change)
        change = slope.slope * signal.window_s / _HOUR_S
        told = signal.up if change > 0 else signal.down
        holds = told and slope.significant and abs(change) >= (limit if stands is None else limit / 2)
        if holds and stands is not None and abs(change) < abs(stands.value) + limit / 2:
            change = stands.value
        first = track.window[0][0] * signal.slot_s * _SECOND_NS
        return self._state.episodes.tell(
            rule,
            holds,
            anchor,
            value=round(change, 3),
            limit=limit,
            code=signal.code,
            onset_ns=first,
            details={
                "slope_per_h": round(slope.slope, 3),
                "slope_95": [round(slope.low, 3), round(slope.high, 3)],
                "window_min": signal.window_s // 60,
                "points": len(track.window),
                "confidence": round(slope.confidence, 4),
                "unit": signal.unit,
            },
        )

    def _shift(
        self, signal: Signal, track: _Track, usual: tuple[float, float] | None, anchor: Anchor, context: Context
    ) -> list[Finding]:
        rule = f"{signal.code}_shift"
        stands = self._state.episodes.standing.get(rule)
        if usual is None:
            return []
        centre, spread = usual
        limit = context.overrides.get(rule, signal.change)
        distance = median(value for _, value in track.window[-_RECENT:]) - centre
        direction = track.charts.shifted
        told = signal.up if direction > 0 else signal.down
        holds = told and direction * distance > 0 and abs(distance) >= (limit if stands is None else limit / 2)
        if holds and stands is not None and abs(distance) < abs(stands.value) + limit / 2:
            distance = stands.value
        return self._state.episodes.tell(
            rule,
            holds,
            anchor,
            value=round(distance, 3),
            limit=limit,
            code=signal.code,
            details={
                "baseline": round(centre, 3),
                "spread": round(spread, 3),
                "ewma_sigma": round(track.charts.ewma / track.charts.sigma, 2),
                "cusum": round(max(track.charts.up, track.charts.down), 2),
                "unit": signal.unit,
            },
        )


def _row(
    signal: Signal,
    track: _Track,
    anchor: Anchor,
    context: Context,
    *,
    value: float,
    slope: Slope | None,
    usual: tuple[float, float] | None,
    in_alarm: bool,
) -> TableRow:
    centre, spread = (None, None) if usual is None else usual
    return TableRow(
        "trends",
        (
            (track.slot + 1) * signal.slot_s * _SECOND_NS,
            context.tenant,
            context.patient,
            signal.code,
            value,
            centre,
            spread,
            None if centre is None or spread is None else centre + track.charts.ewma * spread,
            track.charts.up,
            track.charts.down,
            None if slope is None else slope.slope,
            None if slope is None else slope.low,
            None if slope is None else slope.high,
            None if slope is None else slope.confidence,
            in_alarm,
            anchor.log_ns,
            anchor.log_seq,
        ),
    )
