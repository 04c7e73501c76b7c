"""What people and programs ask for: arguments checked, repeated keys without effect, every command on record.

A command holds for everything after it in the log. One that cannot be kept is refused in words, changes nothing, and is
in the table `commands` like any other. docs/alerts.md lists the commands with their arguments.
"""

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeAlias

import msgspec

from dataflows._native import check_threshold
from dataflows.alerts.about import MAX_CHARS, MAX_DEVICES, AgeBand, Oxygen
from dataflows.alerts.alert import Event, Kind, State
from dataflows.alerts.episode import SECOND_NS, Case, Episode, Stamp, Timer
from dataflows.alerts.finding import TableRow
from dataflows.alerts.lifecycle import Lifecycle, Silence
from dataflows.alerts.limits import Change, Limits
from dataflows.alerts.rules import Override, Rule, RuleError
from dataflows.alerts.waveforms import KeepWaveforms

if TYPE_CHECKING:
    from dataflows._native import Command

MAX_HEARD = 64
"""Commands of a kind that are remembered for each patient. One that comes again after 64 others acts again."""
_OF_SIGNALS = frozenset({"threshold", "profile", "admit", "discharge", "remove"})
"""Commands that the step `signals` obeys, too."""
MAX_SILENCE_S = 120.0
"""Longest silence of everything: the audio pause of IEC 60601-1-8 as common monitors keep it."""
MAX_TECHNICAL_SILENCE_S = 4 * 3600.0
MAX_REASON = 500
"""Characters of a reason."""


class RecordedCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command with the fields of `dataflows._native.Command`: from a file or a test."""

    name: str
    actor: str
    idempotency_key: str
    log_ns: int
    log_seq: int
    argument_json: str = ""


AnyCommand: TypeAlias = "Command | RecordedCommand"


class _Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """JSON of a command."""


class Target(_Argument, frozen=True):
    """Which alerts: one by its id, those of a rule, or all that stand."""

    alert: str | None = None
    rule: str | None = None


class Snooze(Target, frozen=True, kw_only=True):
    """Which alerts, and for how long."""

    for_s: float


class SilenceFor(_Argument, frozen=True, kw_only=True):
    """For how long; 0 ends a silence."""

    for_s: float
    kind: Kind | None = None


class HandOver(_Argument, frozen=True, kw_only=True):
    """Who is responsible from now on."""

    to: str


class Threshold(_Argument, frozen=True, kw_only=True):
    """Other numbers for a rule."""

    rule: str
    limit: float
    clear: float | None = None
    delay_s: float | None = None


class UseProfile(_Argument, frozen=True, kw_only=True):
    """Other default limits."""

    profile: str


class UseSpO2Scale(_Argument, frozen=True, kw_only=True):
    """On which scale NEWS2 scores SpO2, and why."""

    scale: Literal[1, 2]
    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class Note(_Argument, frozen=True, kw_only=True):
    """A remark on an alert or on the patient."""

    text: str
    alert: str | None = None


class Remove(_Argument, frozen=True, kw_only=True):
    """Which device is worn no more."""

    device: str


class Delivered(_Argument, frozen=True, kw_only=True):
    """A notification has arrived."""

    alert: str
    transition: int
    target: str


class UseContext(_Argument, frozen=True, kw_only=True):
    """What is known of the patient; what is left out stays as it is."""

    ward: Annotated[str, msgspec.Meta(max_length=MAX_CHARS)] | None = None
    age_band: AgeBand | None = None
    oxygen: Oxygen | None = None
    placement: dict[str, Annotated[str, msgspec.Meta(max_length=MAX_CHARS)]] = {}


class Nothing(_Argument, frozen=True):
    """No argument."""


class _RefusedError(Exception):
    """The command cannot be kept; says why."""


def _refuse(message: str) -> NoReturn:
    raise _RefusedError(message)


class Commands(msgspec.Struct, array_like=True):
    """What a patient's commands have to remember, by digests of name and key, oldest first.

    Three lists, so that no kind makes the others forget: a patient with many alerts has many deliveries.

    Attributes:
        answers: What people said and did about alerts; a refused one may come again.
        limits: Those that the step `signals` obeys, kept or refused. `native/src/signals/heard.rs` remembers the same
            ones in the same way, so that the two steps always agree on what is a repetition.
        deliveries: What notification services said.
    """

    answers: list[bytes] = []
    limits: list[bytes] = []
    deliveries: list[bytes] = []

    def on_command(self, case: Case, lifecycle: Lifecycle, limits: Limits, command: AnyCommand) -> None:
        """Does what is asked, or not, and puts it on record."""
        result, reason, at = "done", "", len(case.out)
        handler = _HANDLERS.get(command.name)
        if self._repeats(command):
            result = "repeated"
        elif handler is None:
            result, reason = "refused", f"there is no command {command.name}"
        else:
            try:
                handler(case, lifecycle, limits, command)
            except (_RefusedError, RuleError, msgspec.MsgspecError) as error:
                result, reason = "refused", str(error)
        self._remember(command, done=result == "done")
        case.out.insert(at, _record(case, command, result, reason))

    def _list(self, command: AnyCommand) -> list[bytes]:
        if command.name in _OF_SIGNALS:
            return self.limits
        return self.deliveries if command.name == "delivered" else self.answers

    def _repeats(self, command: AnyCommand) -> bool:
        return _digest(command) in self._list(command)

    def _remember(self, command: AnyCommand, *, done: bool) -> None:
        heard, digest = self._list(command), _digest(command)
        if (done or heard is self.limits) and digest not in heard:
            heard.append(digest)
            del heard[:-MAX_HEARD]


def _digest(command: AnyCommand) -> bytes:
    return hashlib.blake2b(f"{command.name}/{command.idempotency_key}".encode(), digest_size=8).digest()


def _record(case: Case, command: AnyCommand, result: str, reason: str) -> TableRow:
    row = (
        command.log_ns,
        case.tenant,
        case.patient,
        command.name,
        command.actor,
        command.idempotency_key,
        command.argument_json,
        result,
        reason,
        command.log_seq,
    )
    return TableRow("commands", row)


def _argument(command: AnyCommand, kind: type[Any]) -> Any:
    return msgspec.json.decode(command.argument_json or "{}", type=kind)


def _at(command: AnyCommand) -> Stamp:
    return (command.log_ns, command.log_seq)


def _picked(lifecycle: Lifecycle, target: Target) -> list[Episode]:
    found = lifecycle.pick(target.alert, target.rule)
    if not found:
        _refuse("no such alert stands")
    return found


def _ack(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    found = [one for one in _picked(lifecycle, _argument(command, Target)) if one.state is not one.state.ACKNOWLEDGED]
    if not found:
        _refuse("it is acknowledged already")
    for episode in found:
        episode.acknowledge(case, _at(command), command.actor)


def _snooze(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, Snooze)
    found = _picked(lifecycle, wanted)
    longest_s = min(episode.policy(case.rules).max_snooze_s for episode in found)
    if not 0 < wanted.for_s <= longest_s:
        _refuse(f"for_s must be above 0 and at most {longest_s:g} for these alerts, not {wanted.for_s:g}")
    for episode in found:
        episode.snooze(case, _at(command), _later(command, wanted.for_s), command.actor)


def _silence(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, SilenceFor)
    longest_s = MAX_TECHNICAL_SILENCE_S if wanted.kind is Kind.TECHNICAL else MAX_SILENCE_S
    if not 0 <= wanted.for_s <= longest_s:
        _refuse(f"for_s must be between 0 and {longest_s:g}, not {wanted.for_s:g}")
    until, before = _later(command, wanted.for_s), lifecycle.silence
    lifecycle.silence = Silence(until, wanted.kind) if wanted.for_s > 0 else None
    for episode in lifecycle.pick(None, None):
        pages = episode.state in (State.ACTIVE, State.ESCALATED)
        if wanted.for_s > 0 and pages and wanted.kind in (None, episode.rule(case.rules).kind):
            episode.snooze(case, _at(command), until, command.actor)
        elif wanted.for_s == 0 and before is not None and episode.timers.get(Timer.SNOOZE) == before.until:
            episode.activate(case, _at(command), Event.SNOOZE_ENDED)


def _handover(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, HandOver)
    if not 0 < len(wanted.to) <= 128:
        _refuse("`to` must have 1 to 128 characters")
    lifecycle.responsible = case.responsible = wanted.to
    for episode in lifecycle.pick(None, None):
        episode.hand_over(case, _at(command), command.actor)


def _threshold(case: Case, _: Lifecycle, limits: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, Threshold)
    rule = case.rules.rules.get(wanted.rule)
    if rule is None:
        _refuse(f"there is no rule {wanted.rule}")
    override = Override(wanted.limit, wanted.clear, wanted.delay_s)
    if not all(math.isfinite(one) for one in (wanted.limit, wanted.clear or 0.0, wanted.delay_s or 0.0)):
        _refuse("limits must be finite numbers")
    if rule.bounds is not None or rule.is_score:
        rule.checked_override(override)
    elif (reason := check_threshold(command.argument_json)) is not None:
        _refuse(reason)
    limits.change(Change(command.log_ns, command.log_seq, wanted.rule, "", override))
    case.limits_version = limits.now.version
    case.out.append(threshold_row(case, limits, rule, _at(command), command.actor))


def _profile(case: Case, _: Lifecycle, limits: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, UseProfile)
    if wanted.profile not in case.rules.profiles:
        _refuse(f"there is no profile {wanted.profile}; there are {', '.join(sorted(case.rules.profiles))}")
    limits.change(Change(command.log_ns, command.log_seq, "", wanted.profile))
    case.limits_version = limits.now.version
    case.out += current_limits(case, limits, _at(command), command.actor)


def _spo2_scale(case: Case, _: Lifecycle, limits: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, UseSpO2Scale)
    if wanted.scale == 2 and not wanted.reason.strip():
        _refuse("scale 2 needs a `reason`: who confirmed hypercapnic respiratory failure, and how")
    limits.change(Change(command.log_ns, command.log_seq, "", "", spo2_scale=wanted.scale))
    case.limits_version = limits.now.version
    case.out.append(scale_row(case, limits, _at(command), command.actor))


def _context(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted, before = _argument(command, UseContext), lifecycle.about
    # An empty place is taken off: the device is worn no more.
    placement = {device: site for device, site in (before.placement | wanted.placement).items() if site}
    if len(placement) > MAX_DEVICES or any(len(device) > MAX_CHARS for device in placement):
        _refuse(f"at most {MAX_DEVICES} devices with names of {MAX_CHARS} characters")
    said = {name: value for name in ("ward", "age_band", "oxygen") if (value := getattr(wanted, name)) is not None}
    lifecycle.about = case.about = msgspec.structs.replace(before, **said, placement=placement)
    case.out.append(context_row(case, _at(command), command.actor))


def _waveforms(_: Case, lifecycle: Lifecycle, __: Limits, command: AnyCommand) -> None:
    lifecycle.waveforms.choose(_argument(command, KeepWaveforms), command.log_ns)


def _admit(_: Case, lifecycle: Lifecycle, __: Limits, command: AnyCommand) -> None:
    _argument(command, Nothing)
    lifecycle.discharged = False


def _discharge(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    _argument(command, Nothing)
    lifecycle.discharge(case, _at(command), command.actor)


def _remove(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    device, about = _argument(command, Remove).device, lifecycle.about
    if not 0 < len(device) <= MAX_CHARS:
        _refuse(f"`device` must have 1 to {MAX_CHARS} characters")
    lifecycle.take_off(case, _at(command), device, command.actor)
    if device in about.placement:
        placement = {name: site for name, site in about.placement.items() if name != device}
        lifecycle.about = case.about = msgspec.structs.replace(about, placement=placement)
        case.out.append(context_row(case, _at(command), command.actor))


def _note(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, Note)
    if not 0 < len(wanted.text) <= 2000:
        _refuse("text must have 1 to 2000 characters")
    if wanted.alert is not None:
        for episode in _picked(lifecycle, Target(wanted.alert)):
            episode.say(case, Event.NOTED, _at(command), command.actor, wanted.text)


def _delivered(case: Case, lifecycle: Lifecycle, _: Limits, command: AnyCommand) -> None:
    wanted = _argument(command, Delivered)
    for episode in _picked(lifecycle, Target(wanted.alert)):
        episode.disarm(Timer.DELIVER)
        episode.say(case, Event.DELIVERED, _at(command), command.actor, f"{wanted.transition} to {wanted.target}")


def _later(command: AnyCommand, for_s: float) -> Stamp:
    return (command.log_ns + round(for_s * SECOND_NS), command.log_seq)


_Handler = Callable[[Case, Lifecycle, Limits, AnyCommand], None]
_HANDLERS: dict[str, _Handler] = {
    "ack": _ack,
    "snooze": _snooze,
    "silence": _silence,
    "handover": _handover,
    "threshold": _threshold,
    "profile": _profile,
    "spo2_scale": _spo2_scale,
    "context": _context,
    "waveforms": _waveforms,
    "admit": _admit,
    "discharge": _discharge,
    "remove": _remove,
    "note": _note,
    "delivered": _delivered,
}
COMMANDS: tuple[str, ...] = tuple(_HANDLERS)
"""Names of the commands."""


def current_limits(case: Case, limits: Limits, at: Stamp, actor: str) -> list[TableRow]:
    """Rows of table `thresholds`: limits judged on readings, those that command or profile may have set, the scale."""
    moved = limits.now.overrides.keys() | {name for one in case.rules.profiles.values() for name in one.limits}
    shown = [rule for rule in case.rules.rules.values() if rule.bounds is not None or rule.name in moved]
    rows = [threshold_row(case, limits, rule, at, actor) for rule in shown]
    return [*rows, scale_row(case, limits, at, actor)]


def context_row(case: Case, at: Stamp, actor: str) -> TableRow:
    """The row of table `contexts`: all that is known of the patient now."""
    about = case.about
    placement = msgspec.json.encode(about.placement, order="sorted").decode()
    row = (at[0], case.tenant, case.patient, about.ward, about.age_band, about.oxygen, placement, actor, at[1])
    return TableRow("contexts", row)


def threshold_row(case: Case, limits: Limits, rule: Rule, at: Stamp, actor: str) -> TableRow:
    """The row of table `thresholds` of a rule as it is now."""
    now = limits.now
    override = now.override(case.rules, rule.name)
    source = "command" if rule.name in now.overrides else "rule" if override is None else "profile"
    numbers: tuple[float | None, ...]
    if rule.bounds is not None:
        bounds = now.bounds(case.rules, rule)
        numbers = (bounds.limit, bounds.clear, bounds.delay_s, bounds.severe)
    else:
        numbers = (None,) * 4 if override is None else (override.limit, override.clear, override.delay_s, None)
    return _limit_row(case, limits, at, actor, (rule.name, *numbers, rule.unit, rule.priority.value, source))


def scale_row(case: Case, limits: Limits, at: Stamp, actor: str) -> TableRow:
    """The row of table `thresholds` that says on which scale SpO2 is scored now."""
    scale = float(limits.now.scale(case.rules))
    source = "command" if limits.now.spo2_scale else "profile"
    return _limit_row(case, limits, at, actor, ("spo2_scale", scale, None, None, None, "1", "", source))


def _limit_row(case: Case, limits: Limits, at: Stamp, actor: str, said: tuple[str | float | None, ...]) -> TableRow:
    now = limits.now
    row = (at[0], case.tenant, case.patient, *said[:-1], now.profile, said[-1], now.version, actor, at[1])
    return TableRow("thresholds", row)
