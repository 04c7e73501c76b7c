"""Streaming early-warning score of one patient, from any point table (`table.py`).

Continuous signals count with the median of their last minutes, others with their last reading, each no longer than its
maximum age. A parameter without a usable reading makes the score `partial`: it is listed as missing or stale and never
scored as 0. A partial total is a lower bound, so it may raise an alert; what ends one is never that a sensor fell
silent, because stale parameters keep the points that they had.
"""

from collections.abc import Sequence
from typing import Any, Self

import msgspec

from dataflows.alerts.about import PatientContext
from dataflows.alerts.finding import AnyAnswers, AnyReading, Context, Finding, Outcome
from dataflows.scores.episodes import Anchor, Episodes, usable
from dataflows.scores.rows import score_row
from dataflows.scores.series import Series
from dataflows.scores.table import SHIPPED, Score, ScoreTable, load, score

RISE_HOURS = 6
"""A rise is measured against the hours before: the longest interval between observations that NEWS2 knows for a
patient who scores at all."""
AIR_PCT = 21.5
"""Above this inspired fraction the patient breathes supplemental oxygen (room air has 20.9 %)."""
_HOUR_NS = 3_600_000_000_000
_SECOND_NS = 1_000_000_000
_OXYGEN = {"o2_flow", "fio2"}
AFTER_NS = 1
"""A round of observations comes in one message and is judged as one, just after it: half a round beside half of the one
before would raise alerts for a state that the patient was never in."""


class _State(msgspec.Struct, array_like=True):
    series: dict[str, Series] = {}
    hours: list[tuple[int, list[int | None]]] = []
    """Hour number and the points at its end, in the table's order; None where a parameter is missing."""
    changed: Anchor | None = None
    """Last reading of a message in which something changed; it is judged when the message is over."""
    said: list[Any] = []
    """What the last row said; the next is written when that changes."""
    episodes: Episodes = msgspec.field(default_factory=Episodes)


class EarlyWarning:
    """An early-warning score that follows the readings of one patient.

    Args:
        table: Published table.
    """

    def __init__(self, table: ScoreTable) -> None:
        self.table = table
        self._parameters = {code: one for one in table.parameters for code in one.codes}
        self._state = _State()
        self._judged: dict[str, tuple[float, int, int, PatientContext]] = {}
        """What the last evaluation saw of a code. Not state: seeing the same again leads to nothing."""
        self._next: tuple[int, Anchor] | None = None
        """The next deadline, worked out from the state when a reading changed it."""

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading of any code."""
        code, value = reading.code, reading.value
        if code in _OXYGEN:
            code, value = "oxygen", float(value > (AIR_PCT if code == "fio2" else 0.0))
        parameter = self._parameters.get(code)
        if parameter is None or not usable(reading):
            return []
        if reading.ts_ns + parameter.max_age_s * _SECOND_NS <= reading.log_ns:
            return []
        anchor, series = Anchor.of(reading), self._state.series.get(code)
        if series is None:
            series = self._state.series[code] = Series.begin(anchor, value)
        elif not series.push(anchor, value, parameter.median_s):
            return []
        seen = (
            parameter.on_grid(series.value),
            reading.log_ns // _HOUR_NS,
            context.limits_version,
            context.about,
        )
        # Once something changed the last reading of the message is the anchor, whether it changed anything or not: what
        # was judged before a restart is forgotten.
        if self._judged.get(code) != seen or self._state.changed is not None:
            self._judged[code] = seen
            self._state.changed = anchor
        self._next = self._due()
        return []

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Questionnaires have no part in it."""
        return []

    def deadline(self) -> tuple[int, int] | None:
        """When the message is over, or the next parameter becomes too old."""
        return None if self._next is None else (self._next[0], self._next[1].log_seq)

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """All readings of a message are there, or a parameter became too old."""
        due = self._next
        if due is None or due[0] > log_ns:
            return []
        self._state.changed = None
        # Marked in the state, not by the time alone: what is stale once stays so until a new reading comes.
        for series, expires_ns in self._expiries():
            if expires_ns <= log_ns:
                series.seen_ns = 0
                self._judged.clear()
        self._next = self._due()
        return self._evaluate(due[1].at(log_ns), context)

    def state(self) -> Any:
        """What msgpack writes."""
        return [self.table.name, self._state]

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The scorer of a `state()` of a shipped table.

        Raises:
            ValueError: It is none.
        """
        name, kept = msgspec.convert(state, tuple[str, _State])
        if name not in SHIPPED:
            msg = f"there is no early-warning table {name!r}"
            raise ValueError(msg)
        scorer = cls(load(name))
        scorer._state = kept
        scorer._next = scorer._due()
        return scorer

    def _expiries(self) -> list[tuple[Series, int]]:
        return [
            (series, series.seen_ns + one.max_age_s * _SECOND_NS)
            for one in self.table.parameters
            for code in one.codes
            if (series := self._state.series.get(code)) is not None and series.seen_ns
        ]

    def _due(self) -> tuple[int, Anchor] | None:
        due = [(expires_ns, series.anchor) for series, expires_ns in self._expiries()]
        if self._state.changed is not None:
            due.append((self._state.changed.log_ns + AFTER_NS, self._state.changed))
        return min(due, key=lambda one: (one[0], one[1].log_seq), default=None)

    def _values(self, about: PatientContext) -> tuple[dict[str, float], dict[str, float]]:
        """Usable values, and the last ones of parameters that became stale."""
        fresh: dict[str, float] = {}
        stale: dict[str, float] = {}
        for one in self.table.parameters:
            known = [series for code in one.codes if (series := self._state.series.get(code)) is not None]
            for series in known:
                if series.seen_ns:
                    fresh[one.name] = series.value
                    break
            else:
                if one.name == "oxygen" and about.oxygen:
                    # Stated therapy holds until another is stated; a device that says it now knows better.
                    fresh[one.name] = float(about.oxygen == "supplemental")
                elif known:
                    stale[one.name] = max(known, key=lambda series: series.anchor.ts_ns).value
        return fresh, stale

    def _evaluate(self, anchor: Anchor, context: Context) -> list[Outcome]:
        scale = context.spo2_scale
        # Neither NEWS2 nor MEWS is made for people under 16: nothing is scored, and what stood on a score ends.
        applies = context.about.age_band != "child"
        fresh, stale = self._values(context.about) if applies else ({}, {})
        now = score(self.table, fresh, scale=scale)
        held = now if not stale else score(self.table, stale | fresh, scale=scale)
        rise = self._rise(anchor.log_ns, held)
        details = self._details(now, fresh, stale, scale)
        outcomes: list[Outcome] = []
        said = [scale, now.points, sorted(stale)]
        if applies and said != self._state.said:
            self._state.said = said
            state = "complete" if now.complete else "partial"
            outcomes.append(score_row(self.table.name, float(now.total), anchor, context, state=state, parts=details))
        return [*outcomes, *self._findings(anchor, context, now=now, held=held, rise=rise, details=details)]

    def _details(self, now: Score, fresh: dict[str, float], stale: dict[str, float], scale: int) -> dict[str, Any]:
        details = {
            "points": now.points,
            "values": {
                one.name: one.on_grid(fresh[one.name]) for one in self.table.parameters if one.name in now.points
            },
            "missing": [name for name in now.missing if name not in stale],
            "stale": [name for name in now.missing if name in stale],
            "response": now.response,
            "text": now.text,
            "version": self.table.version,
        }
        if any(one.scale_2 for one in self.table.parameters):
            details["spo2_scale"] = scale
        return details

    def _rise(self, log_ns: int, held: Score) -> int:
        """Points gained on the lowest of the last hours, over the parameters that both have."""
        hour = log_ns // _HOUR_NS
        hours = [one for one in self._state.hours if hour - RISE_HOURS <= one[0] < hour]
        now = [held.points.get(one.name) for one in self.table.parameters]
        self._state.hours = [*hours, (hour, now)]
        gains = [
            sum(new - old for new, old in zip(now, before, strict=True) if new is not None and old is not None)
            for _, before in hours
        ]
        return max(0, *gains) if gains else 0

    def _findings(
        self, anchor: Anchor, context: Context, *, now: Score, held: Score, rise: int, details: dict[str, Any]
    ) -> list[Finding]:
        found: list[Finding] = []
        measured = {
            "total": (now.total, held.total),
            "single": (max(now.points.values(), default=0), max(held.points.values(), default=0)),
            "rise": (rise, rise),
        }
        for rule in self.table.rules:
            limit = context.overrides.get(rule.rule, rule.limit)
            raises, keeps = measured[rule.kind]
            holds = keeps >= limit if self._state.episodes.holds(rule.rule) else raises >= limit
            found += self._state.episodes.tell(
                rule.rule,
                holds,
                anchor,
                value=keeps if holds and raises < limit else raises,
                limit=limit,
                code=self.table.name,
                details=details,
            )
        return found
