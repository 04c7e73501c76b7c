"""The step `judge` of one patient: findings, readings, answers and commands in, alerts and records out.

No engine, no clock but the log's. Before each event every deadline that is due fires, in the order of log time, so that
what comes out depends neither on how the log is cut into lists nor on ticks. What becomes of a finding is in
`dataflows.alerts`, what readings are compared with in its rules, scores are in `dataflows.scores`.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dataflows._native import Answers, Command, Detection, Output, Reading
from dataflows.alerts.alert import Alert, alert_id
from dataflows.alerts.commands import AnyCommand, Commands, RecordedCommand, current_limits
from dataflows.alerts.conditions import Condition, LateConditions
from dataflows.alerts.episode import Case
from dataflows.alerts.finding import (
    AnyAnswers,
    AnyReading,
    Context,
    Finding,
    Outcome,
    RecordedAnswers,
    RecordedReading,
    Scorer,
    TableRow,
)
from dataflows.alerts.lifecycle import Lifecycle
from dataflows.alerts.limits import Limits, View
from dataflows.alerts.rules import BUILTIN, Bounds, Rule, RuleSet
from dataflows.contracts.tables import WAVEFORMS
from dataflows.monitor.rows import StoredRows
from dataflows.scores.scorers import Scores

_VERSION = 4
Verdict = Alert | TableRow
"""What the judge answers with: a transition for people and programs, or a row for the record."""
Event = Detection | Finding | Command | RecordedCommand | Reading | RecordedReading | Answers | RecordedAnswers
_READINGS = (Reading, RecordedReading)
_COMMANDS = (Command, RecordedCommand)
SCORERS: Mapping[str, type[Scorer]] = {"scores": Scores}
"""Scores by the name under which their state is kept."""


class _State(msgspec.Struct, array_like=True):
    """What a snapshot holds, after its version."""

    lifecycle: Lifecycle = msgspec.field(default_factory=Lifecycle)
    limits: Limits = msgspec.field(default_factory=Limits)
    commands: Commands = msgspec.field(default_factory=Commands)
    condition: Condition = msgspec.field(default_factory=Condition)
    late: LateConditions = msgspec.field(default_factory=LateConditions)
    scorers: dict[str, Any] = {}
    introduced: bool = False
    """Whether the patient's limits were written down."""


class Judge:
    """The alerts, limits and scores of one patient."""

    def __init__(self, rules: RuleSet = BUILTIN, scorers: Mapping[str, type[Scorer]] = SCORERS) -> None:
        self._rules = rules
        self._kinds = scorers
        self._load(_State())

    def _load(self, state: _State) -> None:
        self._state = state
        self._scorers = {
            name: kind.from_state(state.scorers[name]) if name in state.scorers else kind()
            for name, kind in sorted(self._kinds.items())
        }
        self._bounds: dict[str, Bounds] = {}
        self._context: Context | None = None
        self._retired = any(one.last.rule not in self._rules.rules for one in state.lifecycle.episodes.values())
        self._next: int | None = self._deadline()

    def on_output(self, output: Output) -> list[Verdict]:
        """Takes what the step `signals` says of a list, also of one that held nothing but ticks."""
        events = output.events if output.has_events else ()
        return self.on_events(output.tenant, output.patient, events, output.log_ns)

    def stored(self, output: Output, verdicts: Sequence[Verdict]) -> tuple[Output, list[Verdict | StoredRows]]:
        """Returns what of a list is stored: all of it, or what the patient's choice of waveforms leaves of it."""
        waveforms = self._state.lifecycle.waveforms
        if waveforms.idle:
            return output, list(verdicts)
        alerts = [one for one in verdicts if isinstance(one, Alert)]
        rows = waveforms.kept((output.tenant, output.patient), output.waveforms(), alerts, output.log_ns)
        kept = [StoredRows([(WAVEFORMS.name, rows)])] if rows else []
        return output.without_waveforms(), [*verdicts, *kept]

    def on_events(self, tenant: str, patient: str, events: Sequence[Event], log_ns: int) -> list[Verdict]:
        """Takes events in log order, then log time: it has come to `log_ns` when the last of them is over."""
        if not events and (self._next is None or self._next > log_ns):
            return []
        state = self._state
        case = Case(tenant, patient, self._rules, state.limits.now.version, state.lifecycle.responsible)
        case.about = state.lifecycle.about
        for event in events:
            if not state.introduced or self._retired:
                self._introduce(case, event)
            if self._next is not None and self._next <= event.log_ns:
                self._fire(case, event.log_ns)
            self._take(case, event)
        if self._next is not None and self._next <= log_ns:
            self._fire(case, log_ns)
        return case.out

    def _introduce(self, case: Case, event: Event) -> None:
        at = (event.log_ns, event.log_seq)
        if self._retired:
            self._state.lifecycle.retire(case, at)
            self._retired = False
            self._changed()
        if not self._state.introduced:
            case.out += current_limits(case, self._state.limits, at, "")
            self._state.introduced = True

    # --- deadlines -----------------------------------------------------------------------------------------------

    def _deadline(self) -> int | None:
        due = [self._state.lifecycle.deadline()]
        due += [deadline[0] for one in self._scorers.values() if (deadline := one.deadline()) is not None]
        return min((one for one in due if one is not None), default=None)

    def _changed(self) -> None:
        """Forgets what was worked out from the state."""
        self._context = None
        self._next = self._deadline()

    def _fire(self, case: Case, until_ns: int) -> None:
        while self._next is not None and self._next <= until_ns:
            now = self._next
            self._state.lifecycle.fire(case, now)
            self._changed()
            for name, scorer in self._scorers.items():
                due = scorer.deadline()
                if due is None or due[0] > now:
                    continue
                self._outcomes(case, scorer.on_deadline(now, self._known(case)))
                if scorer.deadline() == due:
                    message = f"score {name} does not move on from its deadline {due}"
                    raise RuntimeError(message)
            self._changed()

    # --- events --------------------------------------------------------------------------------------------------

    def _take(self, case: Case, event: Event) -> None:
        if isinstance(event, _READINGS):
            self._reading(case, event)
        elif isinstance(event, Detection):
            self._found(case, _finding(event))
        elif isinstance(event, Finding):
            self._found(case, event)
        elif isinstance(event, _COMMANDS):
            self._command(case, event)
        else:
            self._answers(case, event)

    def _command(self, case: Case, command: AnyCommand) -> None:
        state = self._state
        was_discharged, version = state.lifecycle.discharged, state.limits.now.version
        state.commands.on_command(case, state.lifecycle, state.limits, command)
        if was_discharged and not state.lifecycle.discharged:
            # Somebody who comes back starts with new baselines.
            state.condition, state.late = Condition(), LateConditions()
            self._scorers = {name: kind() for name, kind in sorted(self._kinds.items())}
        if version != state.limits.now.version:
            self._bounds.clear()
        case.limits_version, case.responsible = state.limits.now.version, state.lifecycle.responsible
        self._changed()

    def _found(self, case: Case, found: Finding) -> None:
        rule = self._rules.rules.get(found.rule)
        if rule is None or not rule.may_alert(case.tenant):
            return
        if found.stored:
            case.out.append(_late_row(case, found, self._state.limits.at(found.sample_ns).version))
            return
        delay_s = rule.delay_s if rule.bounds is None else self._limits_of(rule).delay_s
        if self._state.lifecycle.on_found(case, found, delay_s):
            self._changed()

    def _reading(self, case: Case, reading: AnyReading) -> None:
        state = self._state
        if state.lifecycle.discharged:
            return
        # Fields of a reading of the flow are made anew each time they are asked for.
        code, device, signal, stored = reading.code, reading.device, reading.signal, reading.stored
        for rule in self._rules.by_code.get(code, ()):
            if rule.device is not None and rule.device != device:
                continue
            if stored:
                self._late(case, rule, reading)
                continue
            episode = state.lifecycle.standing(rule, device, signal, code)
            found = state.condition.judge(rule, self._limits_of(rule), reading, episode)
            if found is not None:
                self._found(case, found)
        known = self._known_at(case, reading.ts_ns) if stored else self._known(case)
        for scorer in self._scorers.values():
            due = scorer.deadline()
            self._outcomes(case, scorer.on_reading(reading, known))
            if scorer.deadline() != due:
                self._next = self._deadline()

    def _late(self, case: Case, rule: Rule, reading: AnyReading) -> None:
        def bounds_at(ns: int) -> Bounds:
            return self._state.limits.at(ns).bounds(self._rules, rule)

        found = self._state.late.judge(rule, bounds_at, reading)
        if found is not None:
            self._found(case, found)

    def _answers(self, case: Case, answers: AnyAnswers) -> None:
        if self._state.lifecycle.discharged:
            return
        known = self._known_at(case, answers.ts_ns) if answers.stored else self._known(case)
        for scorer in self._scorers.values():
            self._outcomes(case, scorer.on_answers(answers, known))
        self._changed()

    def _outcomes(self, case: Case, outcomes: Sequence[Outcome]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, TableRow):
                case.out.append(outcome)
            else:
                self._found(case, outcome)

    def _limits_of(self, rule: Rule) -> Bounds:
        bounds = self._bounds.get(rule.name)
        if bounds is None:
            bounds = self._bounds[rule.name] = self._state.limits.now.bounds(self._rules, rule)
        return bounds

    def _known(self, case: Case) -> Context:
        if self._context is None:
            self._context = self._context_of(case, self._state.limits.now)
        return self._context

    def _known_at(self, case: Case, ns: int) -> Context:
        """What comes late is scored by the limits of its own time."""
        return self._context_of(case, self._state.limits.at(ns))

    def _context_of(self, case: Case, limits: View) -> Context:
        standing, about = self._state.lifecycle.rules_in_alarm(), self._state.lifecycle.about
        scale, numbers = limits.scale(self._rules), limits.score_limits(self._rules)
        return Context(case.tenant, case.patient, scale, standing, numbers, limits.version, about)

    # --- snapshots -----------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """Version and state: at most 16 KiB of scores and 24 KiB of the rest (tests/dataflows/test_state_size.py)."""
        self._state.scorers = {name: scorer.state() for name, scorer in self._scorers.items()}
        return struct.pack("<H", _VERSION) + msgspec.msgpack.encode(self._state)

    @classmethod
    def restore(
        cls, snapshot: bytes, rules: RuleSet = BUILTIN, scorers: Mapping[str, type[Scorer]] = SCORERS
    ) -> "Judge":
        """The judge of a snapshot.

        Raises:
            ValueError: it is damaged, or of a version this program does not know.
        """
        if len(snapshot) < 2:
            msg = "snapshot of the judge is too short"
            raise ValueError(msg)
        (version,) = struct.unpack_from("<H", snapshot)
        if version != _VERSION:
            msg = f"snapshot of the judge has version {version}, this program reads {_VERSION}"
            raise ValueError(msg)
        judge = cls(rules, scorers)
        try:
            judge._load(msgspec.msgpack.decode(snapshot[2:], type=_State))
        except (msgspec.MsgspecError, ValueError) as error:
            msg = f"snapshot of the judge is damaged: {error}"
            raise ValueError(msg) from error
        return judge


def _finding(found: Detection) -> Finding:
    return Finding(
        rule=found.rule,
        raised=found.raised,
        device=found.device,
        boot=found.boot,
        signal=found.signal,
        seq=found.seq,
        code=found.code,
        onset=found.onset,
        onset_ns=found.onset_ns,
        value=found.value,
        limit=found.limit,
        evidence_ns=found.evidence_ns,
        sample_ns=found.sample_ns,
        log_seq=found.log_seq,
        log_ns=found.log_ns,
        stored=found.stored,
        details=found.details or None,
    )


def _late_row(case: Case, found: Finding, version: int) -> TableRow:
    source = (found.device, found.boot, found.code or found.signal)
    row = (
        found.onset_ns,
        case.tenant,
        case.patient,
        found.device,
        found.boot,
        found.signal,
        found.seq,
        alert_id(case.tenant, case.patient, found.rule, *source, found.onset),
        found.rule,
        found.code,
        found.raised,
        found.sample_ns,
        found.value,
        found.limit,
        version,
        found.log_ns,
        found.log_seq,
    )
    return TableRow("late_findings", row)
