"""The alerts of one patient: findings, deadlines and people's answers in log order in, transitions out.

The state is a function of the log alone. `dataflows.monitor.judge` calls it, with every deadline that is due
before each event. What can happen to one alert is in `episode.py`; here is which alert it happens to, and when.
"""

import math
from collections.abc import Callable, Iterator

import msgspec

from dataflows.alerts.about import UNKNOWN, PatientContext
from dataflows.alerts.alert import Event, Kind, State
from dataflows.alerts.episode import SECOND_NS, Case, Episode, Stamp, Timer, begin, suppressed
from dataflows.alerts.finding import Finding
from dataflows.alerts.rules import Rule, Scope
from dataflows.alerts.waveforms import Waveforms

MAX_PLACES = 32
"""Alerts that a patient can have, cleared ones included; beyond it the one that is over for longest is forgotten."""


class Silence(msgspec.Struct, frozen=True, array_like=True):
    """New alerts page nobody until it ends."""

    until: Stamp
    kind: Kind | None
    """Only alerts of this kind; None: all."""


class Lifecycle(msgspec.Struct, array_like=True):
    """Every alert of a patient, and what was said about all of them."""

    episodes: dict[str, Episode] = {}
    silence: Silence | None = None
    discharged: bool = False
    responsible: str = ""
    about: PatientContext = UNKNOWN
    waveforms: Waveforms = msgspec.field(default_factory=Waveforms)

    # --- findings ------------------------------------------------------------------------------------------------

    def on_found(self, case: Case, found: Finding, delay_s: float) -> bool:
        """Takes a finding whose rule is in the rule set; `delay_s` is how long it must hold before people are told.

        Returns:
            Whether a deadline or what stands may have changed: most readings only say once more what is known.
        """
        rule = case.rules.rules[found.rule]
        place = rule.place(found.device, found.signal, found.code)
        episode = self.episodes.get(place)
        at = (found.log_ns, found.log_seq)
        if episode is not None and episode.state is State.CLEARED and not found.raised:
            return False
        if self._other_lead(rule, episode, found):
            # The leads of a device speak of one heart: the one that raised an alert clears it. Nobody was told of a
            # pending one yet, so a lead that is better placed may take over.
            if episode is None or episode.standing or not found.raised:
                return False
            episode = None
        if not found.raised:
            self._ended(case, place, episode, found, at)
            return episode is not None
        if episode is None or episode.state is State.CLEARED:
            self._began(case, place, episode, found, delay_s)
            return True
        if episode.state is State.PENDING:
            episode.last = _carried(episode, found, (episode.last.evidence_ns[0], found.evidence_ns[1]))
            episode.severe = found.severe
            over = Timer.DELAY in episode.timers and found.sample_ns - episode.last.onset_ns >= delay_s * SECOND_NS
            if over:
                self._due(case, episode, at)
            return over
        return self._goes_on(case, episode, found, at)

    def _other_lead(self, rule: Rule, episode: Episode | None, found: Finding) -> bool:
        if episode is None or rule.scope is not Scope.DEVICE or episode.state is State.CLEARED:
            return False
        return episode.last.signal != found.signal

    def _began(self, case: Case, place: str, before: Episode | None, found: Finding, delay_s: float) -> None:
        at = (found.log_ns, found.log_seq)
        if self.discharged:
            case.out.append(suppressed(case, found, "discharged", at))
            return
        episode = begin(case, found)
        if before is not None and before.alert_id == episode.alert_id:
            # A condition that flickers at one onset: two messages must never share an identity.
            episode.transition = before.transition
        self._make_room(case, place, at)
        self.episodes[place] = episode
        if delay_s > 0 and found.sample_ns - found.onset_ns < delay_s * SECOND_NS:
            episode.arm(Timer.DELAY, delay_s, at)
        else:
            self._due(case, episode, at)

    def _due(self, case: Case, episode: Episode, at: Stamp) -> None:
        """The condition has held long enough; people are told unless its source cannot be believed at the moment."""
        episode.disarm(Timer.DELAY)
        if not self._gated(case, episode.rule(case.rules), episode.last):
            episode.activate(case, at, Event.RAISED, self._silent(episode.rule(case.rules), at))

    def _goes_on(self, case: Case, episode: Episode, found: Finding, at: Stamp) -> bool:
        again, worse, better = not episode.holds, episode.worse(case, found), episode.severe and not found.severe
        clearing = Timer.CLEAR in episode.timers
        episode.disarm(Timer.CLEAR)
        episode.repeats += 1
        episode.last, episode.severe, episode.holds = _carried(episode, found), found.severe, True
        if worse:
            episode.activate(case, at, Event.WORSENED, self._silent(episode.rule(case.rules), at))
        elif again:
            # Nobody has answered yet, so nobody is told again, and the time to escalation runs on.
            episode.disarm(Timer.KEEP)
            episode.say(case, Event.RECURRED, at)
        elif better:
            episode.say(case, Event.DOWNGRADED, at)
        return worse or again or better or clearing

    def _ended(self, case: Case, place: str, episode: Episode | None, found: Finding, at: Stamp) -> None:
        if episode is None:
            return
        if episode.state is State.PENDING:
            reason = "delay" if Timer.DELAY in episode.timers else "quality"
            self._lapse(case, place, episode, reason, at)
        elif episode.holds:
            episode.last = _carried(episode, found)
            clear_s = episode.rule(case.rules).clear_s
            if clear_s > 0:
                if Timer.CLEAR not in episode.timers:
                    episode.arm(Timer.CLEAR, clear_s, at)
            else:
                self._over(case, episode, at)

    def _lapse(self, case: Case, place: str, episode: Episode, reason: str, at: Stamp) -> None:
        """Nobody was told and nobody has to be: kept only where its identity was used before."""
        case.out.append(suppressed(case, episode.last, reason, at))
        episode.timers.clear()
        if episode.transition < 0:
            del self.episodes[place]
        else:
            episode.state, episode.holds = State.CLEARED, False

    def _over(self, case: Case, episode: Episode, at: Stamp) -> None:
        episode.end(case, at)
        if episode.rule(case.rules).gates:
            self._release(case, at)

    def standing(self, rule: Rule, device: str, signal: str, code: str) -> Episode | None:
        """The alert or pending condition of a rule at a place, if there is one."""
        episode = self.episodes.get(rule.place(device, signal, code))
        return None if episode is None or episode.state is State.CLEARED else episode

    def rules_in_alarm(self) -> frozenset[str]:
        """Rules whose condition people know of and that still holds."""
        return frozenset(one.last.rule for one in self.episodes.values() if one.standing and one.holds)

    # --- gating and silence --------------------------------------------------------------------------------------

    def _gated(self, case: Case, rule: Rule, found: Finding) -> bool:
        """Whether a technical alarm says that this source cannot be believed."""
        if not rule.gated_by:
            return False
        return any(
            one.last.rule in rule.gated_by
            and one.holds
            and one.state is not State.CLEARED
            and one.last.device == found.device
            and (one.rule(case.rules).scope is not Scope.CHANNEL or one.last.signal == found.signal)
            and one.last.code in ("", found.code)
            for one in self.episodes.values()
        )

    def _release(self, case: Case, at: Stamp) -> None:
        """A gate has opened: what still holds behind it is told."""
        for _, episode in sorted(self.episodes.items()):
            if episode.state is State.PENDING and Timer.DELAY not in episode.timers:
                self._due(case, episode, at)

    def _silent(self, rule: Rule, at: Stamp) -> Stamp | None:
        if self.silence is None or self.silence.until[0] <= at[0]:
            self.silence = None
            return None
        return self.silence.until if self.silence.kind in (None, rule.kind) else None

    def _make_room(self, case: Case, place: str, at: Stamp) -> None:
        if place in self.episodes or len(self.episodes) < MAX_PLACES:
            return

        # Those that are over first, then the least urgent, then the oldest.
        def value(item: tuple[str, Episode]) -> tuple[bool, int, int, str]:
            name, one = item
            return (one.state is not State.CLEARED, -one.priority(case.rules).rank, one.last.log_ns, name)

        name, victim = min(self.episodes.items(), key=value)
        if victim.standing:
            victim.clear(case, at, "too_many")
        elif victim.state is State.PENDING:
            case.out.append(suppressed(case, victim.last, "too_many", at))
        del self.episodes[name]

    # --- deadlines -----------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        """Log time of the next deadline."""
        due = [deadline[0] for one in self.episodes.values() if (deadline := one.deadline()) is not None]
        return min(due, default=None)

    def fire(self, case: Case, log_ns: int) -> None:
        """Fires what is due at exactly `log_ns`, in the order of places."""
        for place in sorted(self.episodes):
            episode = self.episodes.get(place)
            while episode is not None and (due := episode.deadline()) is not None and due[0] <= log_ns:
                self._fire(case, episode, due[1])

    def _fire(self, case: Case, episode: Episode, timer: Timer) -> None:
        at = episode.timers.pop(timer)
        match timer:
            case Timer.DELAY:
                self._due(case, episode, at)
            case Timer.CLEAR:
                self._over(case, episode, at)
            case Timer.ESCALATE:
                episode.escalate(case, at, "unacknowledged")
            case Timer.DELIVER:
                episode.escalate(case, at, "undelivered")
            case Timer.SNOOZE:
                episode.activate(case, at, Event.SNOOZE_ENDED)
            case Timer.KEEP:
                episode.clear(case, at, "timeout")

    def retire(self, case: Case, at: Stamp) -> None:
        """Clears what stands by rules that the rule set no longer has."""
        for place, episode in list(self._sorted()):
            if episode.last.rule not in case.rules.rules:
                if episode.standing:
                    episode.clear(case, at, "rule_removed")
                del self.episodes[place]

    # --- what people say -----------------------------------------------------------------------------------------

    def pick(self, alert: str | None, rule: str | None) -> list[Episode]:
        """Standing alerts: one by its id, those of a rule, or all."""
        return [
            one
            for _, one in sorted(self.episodes.items())
            if one.standing and alert in (None, one.alert_id) and rule in (None, one.last.rule)
        ]

    def discharge(self, case: Case, at: Stamp, actor: str) -> None:
        """The patient has left: everything clears, and nothing is raised until somebody admits the patient again."""
        self.discharged, self.silence, self.responsible = True, None, ""
        self.about = case.about = UNKNOWN
        self._close(case, at, lambda _: True, "discharged", actor)

    def take_off(self, case: Case, at: Stamp, device: str, actor: str) -> None:
        """A device is worn no more: what it alone can end clears. Scores of the patient go on without it."""
        self._close(case, at, lambda one: self._is_of(case, one, device), "removed", actor)

    def _is_of(self, case: Case, one: Episode, device: str, signal: str | None = None) -> bool:
        rule = one.rule(case.rules)
        return rule.scope is not Scope.PATIENT and one.last.device == device and signal in (None, one.last.signal)

    def _close(self, case: Case, at: Stamp, which: Callable[[Episode], bool], reason: str, actor: str = "") -> None:
        for place, one in list(self._sorted()):
            if one.standing and which(one):
                one.clear(case, at, reason, actor)
            elif one.state is State.PENDING and which(one):
                self._lapse(case, place, one, reason, at)

    def _sorted(self) -> Iterator[tuple[str, Episode]]:
        return iter(sorted(self.episodes.items()))


def _carried(episode: Episode, found: Finding, evidence_ns: tuple[int, int] | None = None) -> Finding:
    """The finding with the onset of its alert: the identity stays. What ends without a number keeps the last one."""
    last, evidence_ns = episode.last, evidence_ns or found.evidence_ns
    value = last.value if math.isnan(found.value) else found.value
    limit = last.limit if math.isnan(found.limit) else found.limit
    return msgspec.structs.replace(
        found, onset=last.onset, onset_ns=last.onset_ns, value=value, limit=limit, evidence_ns=evidence_ns
    )
