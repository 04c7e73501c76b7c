"""What several findings say together: the sharpest sign of deterioration that charts have.

One signal that moves is often nothing. Two that move the wrong way, or a NEWS2 of 5 or more in a patient with any
signal that moves the wrong way, are fewer alerts for as many deteriorations than a higher NEWS2 alone
(docs/benchmarks/early_warning.md).
"""

from collections.abc import Iterable, Sequence

import msgspec

from dataflows.alerts.finding import Context, Finding, Outcome
from dataflows.scores.episodes import Anchor, Episodes
from dataflows.scores.kept import Kept
from dataflows.scores.trends import load

SEVERAL_RULE = "several_trends"
SEVERAL = 2
NEWS2_RULE = "news2_with_trend"
_NEWS2 = "news2_medium"
NEWS2_LIMIT = 5.0
"""The publication's limit of `news2_medium`, where neither profile nor command says another."""


class _State(msgspec.Struct, array_like=True):
    adverse: list[str] = []
    """Rules of trends and shifts that hold in the direction in which patients get worse, sorted."""
    news2: float | None = None
    """NEWS2 while it is at its limit or above."""
    episodes: Episodes = msgspec.field(default_factory=Episodes)


class Combined(Kept[_State]):
    """Findings of other scores in, findings of what they say together out."""

    _kind = _State

    def __init__(self) -> None:
        self._signs = {
            f"{one.code}_{kind}": 1 if one.adverse == "up" else -1 for one in load() for kind in ("trend", "shift")
        }
        self._state = _State()

    def on_outcomes(self, outcomes: Iterable[Outcome], context: Context) -> Sequence[Finding]:
        """Takes what the other scores said of one event or deadline."""
        last: Finding | None = None
        for one in outcomes:
            if not isinstance(one, Finding):
                continue
            if one.rule == _NEWS2:
                self._state.news2 = one.value if one.raised else None
            elif one.rule in self._signs:
                rest = [rule for rule in self._state.adverse if rule != one.rule]
                holds = one.raised and one.value * self._signs[one.rule] > 0
                self._state.adverse = sorted([*rest, one.rule]) if holds else rest
            else:
                continue
            last = one
        return [] if last is None else self._tell(last, context)

    def _tell(self, last: Finding, context: Context) -> list[Finding]:
        state = self._state
        anchor = Anchor(last.device, last.boot, last.signal, last.seq, last.sample_ns, last.log_seq, last.log_ns)
        signals = sorted({rule.rsplit("_", 1)[0] for rule in state.adverse})
        details = {"signals": signals, "rules": list(state.adverse)}
        limit = context.overrides.get(SEVERAL_RULE, SEVERAL)
        found = state.episodes.tell(
            SEVERAL_RULE,
            len(signals) >= limit,
            anchor,
            value=len(signals),
            limit=limit,
            code="trends",
            details=details,
        )
        return found + state.episodes.tell(
            NEWS2_RULE,
            state.news2 is not None and bool(signals),
            anchor,
            value=0.0 if state.news2 is None else state.news2,
            limit=context.overrides.get(_NEWS2, NEWS2_LIMIT),
            code="news2",
            details=details,
        )
