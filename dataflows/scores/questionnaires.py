"""Streaming questionnaires of one patient: totals, item triggers, change from the own median, and answers that are due.

More breathlessness together with less oxygen says more than either alone, so a rise of Borg CR10 is looked at beside
SpO2 within an hour. Answers that were uploaded late are scored and raise nothing but a recorded item trigger.
"""

from collections.abc import Sequence
from statistics import median

import msgspec

from dataflows.alerts.finding import AnyAnswers, AnyReading, Context, Finding, Outcome
from dataflows.scores.companion import Companion
from dataflows.scores.episodes import Anchor, Episodes, usable
from dataflows.scores.instruments import Instrument, Result, load, score
from dataflows.scores.kept import Kept
from dataflows.scores.rows import score_row

_HOUR_NS = 3_600_000_000_000
_SECOND_NS = 1_000_000_000
_DAY_S = 86_400
_LEAST_ANSWERS = 3
"""Earlier answers before there is a median to rise over."""
_MOST_ANSWERS = 24
"""Totals that are remembered: three a day for a week."""
GRACE = 0.25
"""Part of the interval by which an answer may be late before it counts as missed."""
DYSPNOEA = "borg_cr10"
COMBINED_RULE = "dyspnoea_with_desaturation"
COMBINED_RISE = 2.0
COMBINED_FALL = 3.0
"""Borg CR10 up by 2 and SpO2 down by 3 points, both against the own usual, within an hour."""


class _Track(msgspec.Struct, array_like=True):
    """Answers to one instrument: (event time in s, total) of the last ones, and when the next is due."""

    anchor: Anchor
    totals: list[tuple[int, float]] = []
    due_ns: int | None = None


class _State(msgspec.Struct, array_like=True):
    tracks: dict[str, _Track] = {}
    spo2: Companion = msgspec.field(default_factory=Companion)
    rise: float = 0.0
    """Rise of the last Borg answer over its median."""
    episodes: Episodes = msgspec.field(default_factory=Episodes)


class Questionnaires(Kept[_State]):
    """Patient-reported outcomes of one patient."""

    _kind = _State

    def __init__(self) -> None:
        self._state = _State()

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading; only SpO2 has a part in it."""
        if reading.code != "spo2" or not usable(reading):
            return []
        anchor = Anchor.of(reading)
        if not self._state.spo2.push(anchor, reading.value) or not self._state.rise:
            return []
        return self._combined(anchor, context)

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Takes answers; instruments that are not shipped lead to nothing."""
        instrument = load().get(answers.instrument)
        if instrument is None:
            return []
        anchor, result = Anchor.of(answers), score(instrument, answers.answers)
        track = self._state.tracks.setdefault(instrument.name, _Track(anchor))
        rise, usual = self._rise(instrument, track, anchor, result)
        parts = {
            "items": {f"item_{place}": value for place, value in sorted(result.items.items())},
            "missing": [f"item_{place}" for place in result.missing],
            "refused": list(result.refused),
            "band": result.band,
            "median": usual,
            "version": answers.version,
            "mode": answers.mode,
        }
        row = score_row(
            instrument.name, result.total, anchor, context, parts=parts, state=result.state, device=answers.device
        )
        if answers.stored:
            return [row, *_recorded(instrument, result, anchor)]
        found = self._answered(instrument, track, anchor, context)
        found += self._findings(instrument, result, rise, anchor, context)
        if instrument.name == DYSPNOEA and rise is not None:
            self._state.rise = max(rise, 0.0)
            found += self._combined(anchor, context)
        return [row, *found]

    def deadline(self) -> tuple[int, int] | None:
        """When the next expected answer counts as missed."""
        return min(
            ((track.due_ns, track.anchor.log_seq) for track in self._state.tracks.values() if track.due_ns is not None),
            default=None,
        )

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """Expected answers did not come."""
        found: list[Outcome] = []
        for name, track in sorted(self._state.tracks.items()):
            if track.due_ns is None or track.due_ns > log_ns:
                continue
            instrument = load()[name]
            anchor, track.due_ns = track.anchor.at(track.due_ns), None
            hours = (anchor.log_ns - track.anchor.log_ns) / _HOUR_NS
            found += self._state.episodes.tell(
                instrument.missed_rule,
                True,
                anchor,
                value=round(hours, 2),
                limit=context.overrides.get(instrument.missed_rule, instrument.every_h),
                code=name,
                details={"last_answer_ns": track.anchor.ts_ns},
            )
        return found

    def _rise(
        self, instrument: Instrument, track: _Track, anchor: Anchor, result: Result
    ) -> tuple[float | None, float | None]:
        """Rise over the own median and that median; remembers the total."""
        now_s = anchor.ts_ns // _SECOND_NS
        earlier = [total for at_s, total in track.totals if now_s - instrument.median_d * _DAY_S <= at_s < now_s]
        usual = median(earlier) if len(earlier) >= _LEAST_ANSWERS else None
        if result.total is None:
            return None, usual
        rise = 0.0 if usual is None else result.total - usual
        track.totals = sorted([*track.totals, (now_s, result.total)])[-_MOST_ANSWERS:]
        return rise, usual

    def _answered(self, instrument: Instrument, track: _Track, anchor: Anchor, context: Context) -> list[Finding]:
        """An answer came: the next one is due, and a missed one is made good."""
        every_h = context.overrides.get(instrument.missed_rule, instrument.every_h)
        track.anchor = anchor
        track.due_ns = anchor.log_ns + round(every_h * (1 + GRACE) * _HOUR_NS) if every_h > 0 else None
        return self._state.episodes.tell(
            instrument.missed_rule, False, anchor, value=0.0, limit=every_h, code=instrument.name
        )

    def _findings(
        self, instrument: Instrument, result: Result, rise: float | None, anchor: Anchor, context: Context
    ) -> list[Finding]:
        found: list[Finding] = []
        for rule in instrument.rules:
            measured = {"total": result.total, "rise": rise, "item": result.items.get(rule.item)}[rule.kind]
            if measured is None:
                continue  # not answered: what stands goes on standing
            limit = context.overrides.get(rule.rule, rule.limit)
            found += self._state.episodes.tell(
                rule.rule,
                measured >= limit,
                anchor,
                value=measured,
                limit=limit,
                code=instrument.name,
                details={"total": result.total, "state": result.state, "band": result.band},
            )
        return found

    def _combined(self, anchor: Anchor, context: Context) -> list[Finding]:
        fall, answered = self._state.spo2.fall(anchor.log_ns), self._state.tracks[DYSPNOEA].anchor
        if fall is None:
            return []
        limit = context.overrides.get(COMBINED_RULE, COMBINED_FALL)
        stands = self._state.episodes.standing.get(COMBINED_RULE)
        recent = stands is not None or anchor.log_ns - answered.log_ns <= _HOUR_NS
        holds = self._state.rise >= COMBINED_RISE and fall >= limit and recent
        return self._state.episodes.tell(
            COMBINED_RULE,
            holds,
            anchor,
            value=max(fall, stands.value) if holds and stands is not None else fall,
            limit=limit,
            code=DYSPNOEA,
            details={"borg_rise": self._state.rise, "spo2_fall": round(fall, 2)},
        )


def _recorded(instrument: Instrument, result: Result, anchor: Anchor) -> list[Finding]:
    """Item triggers of answers that came too late to page anybody."""
    return [
        Finding(
            rule=rule.rule,
            raised=True,
            device=anchor.device,
            boot=anchor.boot,
            signal=anchor.signal,
            seq=anchor.seq,
            code=instrument.name,
            onset=anchor.ts_ns,
            onset_ns=anchor.ts_ns,
            value=result.items[rule.item],
            limit=rule.limit,
            evidence_ns=(anchor.ts_ns, anchor.ts_ns),
            sample_ns=anchor.ts_ns,
            log_seq=anchor.log_seq,
            log_ns=anchor.log_ns,
            stored=True,
        )
        for rule in instrument.rules
        if rule.kind == "item" and result.items.get(rule.item, 0) >= rule.limit
    ]
