"""The alert of one rule at one place, and what can happen to it. No commands, no readings: transitions only.

inactive -> pending -> active -> acknowledged | snoozed | escalated -> cleared. Every method that changes what people
know returns the transition; `Lifecycle` decides which one is called when. Timers are log times, kept with the message
that armed them, so that what they lead to is stamped the same however late it is evaluated.
"""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from dataflows.alerts.about import UNKNOWN, PatientContext
from dataflows.alerts.alert import NOTIFIES, Alert, Event, Priority, State, alert_id
from dataflows.alerts.finding import Finding, TableRow
from dataflows.alerts.rules import Policy, Rule, RuleSet

SECOND_NS = 1_000_000_000
Stamp = tuple[int, int]
"""(log_ns, log_seq)."""


class Timer(StrEnum):
    """What an alert may be waiting for."""

    DELAY = "delay"
    CLEAR = "clear"
    ESCALATE = "escalate"
    DELIVER = "deliver"
    SNOOZE = "snooze"
    KEEP = "keep"


_ORDER = {timer: place for place, timer in enumerate(Timer)}


@dataclass
class Case:
    """The patient, and what was said of it since the list began."""

    tenant: str
    patient: str
    rules: RuleSet
    limits_version: int = 0
    responsible: str = ""
    about: PatientContext = UNKNOWN
    out: list[Alert | TableRow] = field(default_factory=list)


class Episode(msgspec.Struct, array_like=True):
    """The last alert of a rule at a place: standing, or cleared and kept so that its transitions go on counting."""

    alert_id: str
    last: Finding
    state: State = State.PENDING
    transition: int = -1
    holds: bool = True
    severe: bool = False
    level: int = 1
    told: float = math.nan
    repeats: int = 0
    version: int = 0
    timers: dict[Timer, Stamp] = {}

    @property
    def standing(self) -> bool:
        """Whether people were told and it is not over."""
        return self.state not in (State.PENDING, State.CLEARED)

    def rule(self, rules: RuleSet) -> Rule:
        """Its rule."""
        return rules.rule(self.last.rule)

    def priority(self, rules: RuleSet) -> Priority:
        """Priority at the present severity."""
        rule = self.rule(rules)
        return rule.severe_priority if self.severe and rule.severe_priority is not None else rule.priority

    def policy(self, rules: RuleSet) -> Policy:
        """What its priority asks for."""
        return rules.policy[self.priority(rules)]

    def arm(self, timer: Timer, after_s: float, at: Stamp) -> None:
        """Sets a timer `after_s` from a moment."""
        self.timers[timer] = (at[0] + round(after_s * SECOND_NS), at[1])

    def disarm(self, *timers: Timer) -> None:
        """Forgets timers."""
        for timer in timers:
            self.timers.pop(timer, None)

    def deadline(self) -> tuple[int, Timer] | None:
        """The next deadline, (log_ns, timer); of two at once the one that `Timer` names first."""
        if not self.timers:
            return None  # most alerts wait for nothing, and this is asked for all of them
        due_ns, _, timer = min((at[0], _ORDER[timer], timer) for timer, at in self.timers.items())
        return due_ns, timer

    # --- transitions ---------------------------------------------------------------------------------------------

    def say(self, case: Case, event: Event, at: Stamp, actor: str = "", reason: str = "") -> None:
        """Publishes a transition as things stand now."""
        self.transition += 1
        rule, last = self.rule(case.rules), self.last
        snoozed = self.timers.get(Timer.SNOOZE)
        case.out.append(
            Alert(
                alert_id=self.alert_id,
                transition=self.transition,
                event=event,
                state=self.state,
                condition=self.holds,
                notify=event in NOTIFIES and self.state is not State.SNOOZED,
                tenant=case.tenant,
                patient=case.patient,
                rule=last.rule,
                kind=rule.kind,
                priority=self.priority(case.rules),
                text=rule.text,
                level=self.level,
                responsible=case.responsible,
                actor=actor,
                reason=reason,
                until_ns=None if snoozed is None else snoozed[0],
                device=last.device,
                boot=last.boot,
                signal=last.signal,
                code=last.code,
                onset=last.onset,
                onset_ns=last.onset_ns,
                value=last.value,
                limit=last.limit,
                unit=rule.unit,
                evidence_from_ns=last.evidence_ns[0],
                evidence_to_ns=last.evidence_ns[1],
                sample_ns=last.sample_ns,
                repeats=self.repeats,
                limits_version=self.version,
                rules_version=case.rules.version,
                details=last.details,
                log_seq=at[1],
                log_ns=at[0],
                seq=last.seq,
                about=case.about.about(last.device) or msgspec.UNSET,
            )
        )

    def activate(self, case: Case, at: Stamp, event: Event, silent_until: Stamp | None = None) -> None:
        """People are told: of a new alert, or again of one that was there. During a silence they are not."""
        self.told = self.last.value
        self.disarm(Timer.DELAY, Timer.SNOOZE, Timer.KEEP)
        if event is Event.RAISED:
            self.version = case.limits_version
        if self.state is State.ACKNOWLEDGED:
            self.level = 1
        if silent_until is not None:
            self.state = State.SNOOZED
            self.timers[Timer.SNOOZE] = silent_until
            self.disarm(Timer.ESCALATE, Timer.DELIVER)
        else:
            self.state = State.ESCALATED if self.level > 1 else State.ACTIVE
            self.await_answer(case, at)
        self.say(case, event, at, reason="silenced" if silent_until is not None else "")

    def await_answer(self, case: Case, at: Stamp) -> None:
        """Starts the time within which somebody has to answer; one that runs already may only become shorter.

        Otherwise a condition that worsens or comes back every minute would postpone its own escalation for ever.
        """
        policy = self.policy(case.rules)
        if self.level >= policy.levels:
            return
        for timer, within_s in ((Timer.ESCALATE, policy.ack_s), (Timer.DELIVER, policy.deliver_s)):
            running = self.timers.get(timer)
            if within_s > 0:
                self.arm(timer, within_s, at)
            if running is not None:
                self.timers[timer] = min(running, self.timers[timer])

    def escalate(self, case: Case, at: Stamp, reason: str) -> None:
        """Nobody answered: the next level is told."""
        self.level += 1
        self.state = State.ESCALATED
        self.disarm(Timer.ESCALATE, Timer.DELIVER)
        self.await_answer(case, at)
        self.say(case, Event.ESCALATED, at, reason=reason)

    def acknowledge(self, case: Case, at: Stamp, actor: str) -> None:
        """Somebody takes it: it pages no more. A latched one whose condition is over is cleared."""
        self.disarm(Timer.ESCALATE, Timer.DELIVER, Timer.SNOOZE)
        if self.holds:
            self.state = State.ACKNOWLEDGED
            self.say(case, Event.ACKNOWLEDGED, at, actor)
        else:
            self.clear(case, at, "acknowledged", actor)

    def snooze(self, case: Case, at: Stamp, until: Stamp, actor: str) -> None:
        """Somebody wants to hear of it later."""
        self.disarm(Timer.ESCALATE, Timer.DELIVER)
        self.state = State.SNOOZED
        self.timers[Timer.SNOOZE] = until
        self.say(case, Event.SNOOZED, at, actor)

    def hand_over(self, case: Case, at: Stamp, actor: str) -> None:
        """Somebody else is responsible now, and has to answer. A snooze goes on."""
        if self.state is not State.SNOOZED:
            self.level, self.state = 1, State.ACTIVE
            self.disarm(Timer.ESCALATE, Timer.DELIVER)
            self.await_answer(case, at)
        self.say(case, Event.HANDED_OVER, at, actor)

    def end(self, case: Case, at: Stamp) -> None:
        """The condition is over: the alert clears, or waits for somebody to look when it latches."""
        self.holds = False
        self.disarm(Timer.CLEAR)
        if self.rule(case.rules).latching and self.state is not State.ACKNOWLEDGED:
            self.arm(Timer.KEEP, self.policy(case.rules).keep_s, at)
            self.say(case, Event.ENDED, at)
        else:
            self.clear(case, at, "ended")

    def clear(self, case: Case, at: Stamp, reason: str, actor: str = "") -> None:
        """It is over."""
        self.timers.clear()
        self.state, self.holds = State.CLEARED, False
        self.say(case, Event.CLEARED, at, actor, reason)

    def worse(self, case: Case, found: Finding) -> bool:
        """Whether a finding is so much worse than what people were told that they have to be told again."""
        if found.severe and not self.severe and self.rule(case.rules).severe_priority is not None:
            return True
        rule = self.rule(case.rules)
        if rule.worse_by is None or not math.isfinite(self.told):
            return False
        return (found.value - self.told) * (1 if rule.upwards else -1) >= rule.worse_by


def begin(case: Case, found: Finding) -> Episode:
    """An alert that nobody was told of yet."""
    source = (found.device, found.boot, found.code or found.signal)
    name = alert_id(case.tenant, case.patient, found.rule, *source, found.onset)
    return Episode(name, found, severe=found.severe, timers={}, version=case.limits_version)


def suppressed(case: Case, found: Finding, reason: str, at: Stamp) -> TableRow:
    """The row of a condition of which nobody was told: too short, of poor quality, of a discharged patient."""
    row: tuple[Any, ...] = (
        at[0],
        case.tenant,
        case.patient,
        found.device,
        found.boot,
        found.signal,
        found.seq,
        found.rule,
        reason,
        found.onset_ns,
        found.sample_ns - found.onset_ns,
        found.value,
        found.limit,
        at[1],
    )
    return TableRow("suppressed", row)
