"""What detectors, rules and scores tell the alert engine, and the one interface that scores have.

A *finding* says that a condition began, still holds with another value, or ended. It never says what a person is told
about it: priority, text, delay of escalation and everything else is the rule's (`dataflows/rules/*.toml`), looked up by
the finding's name. `Detection` (Rust) and `Finding` (Python) have the same fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

import msgspec

from dataflows.alerts.about import UNKNOWN, PatientContext
from dataflows.monitor.rows import Row, told

if TYPE_CHECKING:
    from dataflows._native import Answers, Detection, Reading


class Finding(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A condition began, still holds with another value (`raised` again), or ended (`raised=False`).

    Attributes:
        rule: Stable name of a rule in `dataflows/rules`.
        raised: It began or still holds; otherwise it ended.
        device: Device of the reading that decided.
        boot: Start counter of that device.
        signal: Signal of that reading.
        seq: Frame that holds it.
        code: Code of the observation, or name of the score or instrument.
        onset: Identity of the onset: device time (ns) of the reading at which the condition began. Every finding of
            one episode carries the same.
        onset_ns: Event time at which the condition began.
        value: What was measured or scored.
        limit: What it was compared with.
        evidence_ns: Event times between which the evidence lies.
        sample_ns: Event time of the reading that decided.
        log_seq: Message that decided; of a deadline, the one that armed it.
        log_ns: Log time of the decision; of a deadline, the deadline.
        stored: It rests on readings that came too late or were uploaded later: it is recorded and pages nobody.
        severe: The condition is at the rule's severe level, so the alert has the severe priority.
        details: JSON-able particulars for people (points per parameter, slope, what is missing); part of the body.
    """

    rule: str
    raised: bool
    device: str
    boot: int
    signal: str
    seq: int
    code: str
    onset: int
    onset_ns: int
    value: float
    limit: float
    evidence_ns: tuple[int, int]
    sample_ns: int
    log_seq: int
    log_ns: int
    stored: bool = False
    severe: bool = False
    details: dict[str, Any] | None = None


@dataclass(frozen=True)
class TableRow:
    """A row that goes to the database without being an alert: a score, a summary, an audit entry."""

    table: str
    row: Row

    def rows(self) -> list[tuple[str, list[Row]]]:
        """The row and its table, as the database sink asks for them."""
        return [(self.table, [told(self.row)])]


Outcome = Finding | TableRow
"""What a scorer answers with."""


class RecordedReading(msgspec.Struct, frozen=True, kw_only=True):
    """A reading in canonical units, with the fields of `dataflows._native.Reading`: from a file or a test."""

    code: str
    value: float
    ts_ns: int
    log_ns: int
    log_seq: int
    unit: str = ""
    device: str = "recorded"
    boot: int = 1
    signal: str = "numeric"
    seq: int = 0
    index: int = 0
    status: int = 0
    quality_pct: int = 0
    suspect: bool = False
    stored: bool = False


class RecordedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers to a questionnaire with the fields of `dataflows._native.Answers`."""

    instrument: str
    answers: list[tuple[str, float]]
    ts_ns: int
    log_ns: int
    log_seq: int
    version: str = ""
    mode: str = "app"
    device: str = "recorded"
    boot: int = 1
    signal: str = "questionnaire"
    seq: int = 0
    stored: bool = False


Found: TypeAlias = "Detection | Finding"
"""A finding of the step `signals`, of a rule or of a score."""
AnyReading: TypeAlias = "Reading | RecordedReading"
"""A reading in the canonical unit of its code; NaN where the device has none."""
AnyAnswers: TypeAlias = "Answers | RecordedAnswers"
"""Answers to a questionnaire."""


@dataclass(frozen=True)
class Context:
    """What a scorer may have to know of its patient at the moment of an event.

    Attributes:
        tenant: Organisation, for rows.
        patient: Pseudonym, for rows.
        spo2_scale: Scale on which NEWS2 scores SpO2: 2 is for hypercapnic failure, by a clinician's decision.
        standing: Rules whose condition holds now, by name; baselines are frozen while in alarm.
        overrides: Limits that a profile or a `threshold` command says, by rule: replaces the scorer's own limit.
        limits_version: Version of the limits, for rows.
        about: What is known of the patient beside measurements.
    """

    tenant: str
    patient: str
    spo2_scale: int
    standing: frozenset[str]
    overrides: dict[str, float]
    limits_version: int
    about: PatientContext = UNKNOWN


class Scorer(Protocol):
    """A score or trend of one patient: plain, without engine, clock or I/O.

    State is bounded and a function of what it was told. Deadlines are log times: the judge calls `on_deadline` with
    exactly the log time that `deadline` answered, before anything later; what it leads to carries that log time and the
    `log_seq` of the message that armed it.
    """

    def on_reading(self, reading: AnyReading, context: Context) -> Sequence[Outcome]:
        """Takes a reading, in log order. One with `stored` may only lead to outcomes with `stored`."""
        ...

    def on_answers(self, answers: AnyAnswers, context: Context) -> Sequence[Outcome]:
        """Takes the answers to a questionnaire, in log order."""
        ...

    def on_deadline(self, log_ns: int, context: Context) -> Sequence[Outcome]:
        """Fires what is due at `log_ns`."""
        ...

    def deadline(self) -> tuple[int, int] | None:
        """Log time of the next deadline and the `log_seq` that armed it; None without one."""
        ...

    def state(self) -> Any:
        """What msgpack writes, at once: structs may be the live ones. Small, and without NaN keys."""
        ...

    @classmethod
    def from_state(cls, state: Any) -> Self:
        """The scorer of a `state()`.

        Raises:
            ValueError: It is none.
        """
        ...
