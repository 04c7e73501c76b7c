"""All scores of one patient as one scorer, as the judge drives it."""

from collections.abc import Sequence
from typing import Any, Self

from dataflows.alerts.finding import AnyAnswers, AnyReading, Context, Outcome, Scorer
from dataflows.scores import combined, glucose_monitor, instruments, questionnaires, trends
from dataflows.scores.combined import Combined
from dataflows.scores.early_warning import EarlyWarning
from dataflows.scores.glucose_monitor import GlucoseMonitor
from dataflows.scores.questionnaires import Questionnaires
from dataflows.scores.series import SLOT_NS
from dataflows.scores.table import SHIPPED, load
from dataflows.scores.trends import Trends

CONTINUOUS = frozenset({"hr", "pulse_rate", "spo2", "resp_rate"})
"""Codes of which every score takes the first good reading of a slot alone (`series.py`)."""


def rule_names() -> frozenset[str]:
    """Every rule that a score can tell; each needs an entry in `dataflows/rules`."""
    shipped = instruments.load().values()
    return frozenset(
        {
            *(rule.rule for name in SHIPPED for rule in load(name).rules),
            *(f"{signal.code}_{kind}" for signal in trends.load() for kind in ("trend", "shift")),
            *glucose_monitor.RULES,
            *(rule.rule for one in shipped for rule in one.rules),
            *(one.missed_rule for one in shipped),
            questionnaires.COMBINED_RULE,
            combined.SEVERAL_RULE,
            combined.NEWS2_RULE,
        }
    )


class Scores:
    """Early warning, trends, glucose and questionnaires of one patient.

    Most readings are the second, third ... of their slot: no score would take them, so they are dropped here, before
    anything else is asked.
    """

    def __init__(self) -> None:
        self._load(
            {
                **{name: EarlyWarning(load(name)) for name in SHIPPED},
                "trends": Trends(),
                "glucose": GlucoseMonitor(),
                "questionnaires": Questionnaires(),
            },
            Combined(),
        )

    def _load(self, scorers: dict[str, Scorer], together: Combined) -> None:
        self._scorers, self._together = scorers, together
        self._slots: dict[str, int] = {}
        """Last slot of a code. Not state: a score that is asked again takes nothing twice."""
        self._due: tuple[int, int, Scorer] | None = None
        self._deadline: tuple[int, int] | None = None
        self._arm()

    def _arm(self) -> None:
        due = ((*deadline, one) for one in self._scorers.values() if (deadline := one.deadline()) is not None)
        self._due = min(due, key=lambda one: one[:2], default=None)
        self._deadline = None if self._due is None else self._due[:2]

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading of any code."""
        code = reading.code
        if code in CONTINUOUS and not reading.status and not reading.stored and reading.value == reading.value:
            ts_ns, log_ns = reading.ts_ns, reading.log_ns
            slot = (ts_ns if ts_ns < log_ns else log_ns) // SLOT_NS
            if self._slots.get(code) == slot:
                return []
            self._slots[code] = slot
        outcomes = [outcome for one in self._scorers.values() for outcome in one.on_reading(reading, context)]
        return self._said(outcomes, context)

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Takes the answers to a questionnaire."""
        outcomes = [outcome for one in self._scorers.values() for outcome in one.on_answers(answers, context)]
        return self._said(outcomes, context)

    def _said(self, outcomes: list[Outcome], context: Context) -> list[Outcome]:
        """Arms the next deadline, and adds what the findings say together."""
        self._arm()
        return [*outcomes, *self._together.on_outcomes(outcomes, context)] if outcomes else outcomes

    def deadline(self) -> tuple[int, int] | None:
        """The next deadline of any score."""
        return self._deadline

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """Fires what is due, one after the other."""
        outcomes: list[Outcome] = []
        while self._due is not None and self._due[0] <= log_ns:
            outcomes += self._said(list(self._due[2].on_deadline(self._due[0], context)), context)
        return outcomes

    def state(self) -> Any:
        """States by name."""
        return {**{name: one.state() for name, one in self._scorers.items()}, "combined": self._together.state()}

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The scores of a `state()`; one that a later version added begins anew.

        Raises:
            ValueError: It is none.
        """
        scores = cls()
        scores._load(
            {
                name: type(one).from_state(state[name]) if name in state else one
                for name, one in scores._scorers.items()
            },
            Combined.from_state(state["combined"]) if "combined" in state else Combined(),
        )
        return scores
