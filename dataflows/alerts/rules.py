"""Rules as data: which conditions may alert, how urgently, and what numeric vitals are compared with.

A rule set is made of TOML files (`dataflows/rules/*.toml`, and those a deployment adds). A rule with a `code` is judged
here, on readings (`conditions.py`); one without is the name of a finding that a detector or score makes. Everything
else about an alert is the same for both: priority, delay, hysteresis in time, latching, gating. docs/alerts.md
describes every field.
"""

import hashlib
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from importlib import resources
from typing import Literal, NoReturn, get_args

import msgspec

from dataflows._native import detector_rules
from dataflows.alerts.alert import Kind, Priority
from dataflows.contracts.frames import MODEL_PREFIX

STATUS_BITS = {"lead_off": 1, "motion": 2, "paced": 4}
"""Bits of `Status` in vitals.proto, by the names that rules use."""
MAX_DELAY_S = 24 * 3600.0
MODEL_SCORE = "model_score"
"""The code of what models say; which model it is, is the device's name."""
_OF_DETECTORS = frozenset(detector_rules())


class RuleError(ValueError):
    """A rule file says something that cannot be kept; the message names file, rule and field."""


PIPELINE_TENANT = "tick"
"""No organisation has this name (`native/src/wire/subject.rs`)."""


class Scope(StrEnum):
    """How many alerts of a rule a patient can have at once."""

    PATIENT = "patient"
    DEVICE = "device"
    CHANNEL = "channel"
    PIPELINE = "pipeline"
    """One for all patients, of each device (the broker, a model): only patients of the tenant `tick` alert."""


class Severe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The level beyond which the alert has another priority."""

    limit: float
    priority: Priority


class RuleSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule as it stands in a file."""

    text: str
    unit: str
    priority: Priority
    kind: Kind = Kind.PHYSIOLOGICAL
    scope: Scope = Scope.DEVICE
    latching: bool = False
    delay_s: float = 0.0
    clear_s: float = 0.0
    worse_by: float | None = None
    worse: Literal["up", "down"] | None = None
    gates: bool = False
    gated_by: tuple[str, ...] = ()
    code: str | None = None
    device: str | None = None
    measure: Literal["value", "rise", "fall"] = "value"
    within_s: float | None = None
    above: float | None = None
    below: float | None = None
    clear: float | None = None
    severe: Severe | None = None
    ignore: tuple[str, ...] = ("lead_off",)
    min_quality_pct: int = 0
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bounds:
    """The numbers of a condition that a profile or a command may change."""

    limit: float
    clear: float
    delay_s: float
    severe: float | None = None


@dataclass(frozen=True)
class Rule:
    """One rule, checked."""

    name: str
    text: str
    unit: str
    priority: Priority
    kind: Kind
    scope: Scope
    latching: bool
    delay_s: float
    clear_s: float
    worse_by: float | None
    upwards: bool
    gates: bool
    gated_by: frozenset[str]
    code: str | None
    device: str | None
    """Readings of this device alone: for scores, the model."""
    measure: str
    within_s: float
    bounds: Bounds | None
    severe_priority: Priority | None
    ignore: int
    min_quality_pct: int
    range: tuple[float, float]
    """Between these a limit may be set."""

    def may_alert(self, tenant: str) -> bool:
        """Whether a finding of this tenant is announced: the pipeline's own are told by one voice."""
        return self.scope is not Scope.PIPELINE or tenant == PIPELINE_TENANT

    def place(self, device: str, signal: str, code: str) -> str:
        """Key of the alert of this rule at a place: patient, device, or channel (code or signal of a device)."""
        if self.scope is Scope.PATIENT:
            return self.name
        if self.scope in (Scope.DEVICE, Scope.PIPELINE):
            return f"{self.name}/{device}"
        return f"{self.name}/{device}/{code or signal}"

    @property
    def is_score(self) -> bool:
        """Whether it announces a score whose limit may be set here."""
        return self.bounds is None and math.isfinite(self.range[0])

    def checked_override(self, override: "Override") -> "Override":
        """Other numbers for this rule, of readings or of a score, if it can keep them.

        Raises:
            RuleError: It cannot; says which number and what it may be.
        """
        if self.bounds is not None:
            self.checked(merged(self.bounds, override))
            return override
        low, high = self.range
        if override.limit is None or (override.clear, override.delay_s, override.severe) != (None, None, None):
            _refuse("a score has a limit alone, neither clear nor delay_s")
        if not low <= override.limit <= high:
            _refuse(f"limit must be between {low:g} and {high:g} {self.unit}, not {override.limit:g}")
        return override

    def checked(self, bounds: Bounds) -> Bounds:
        """The bounds, if this rule can keep them.

        Raises:
            RuleError: It cannot; says which number and what it may be.
        """
        low, high = self.range
        for name, value in (("limit", bounds.limit), ("clear", bounds.clear), ("severe", bounds.severe)):
            if value is not None and not (low <= value <= high):
                _refuse(f"{name} must be between {low:g} and {high:g} {self.unit}, not {value:g}")
        if self.upwards and bounds.clear > bounds.limit:
            _refuse(f"clear must be at or below the limit {bounds.limit:g}, not {bounds.clear:g}")
        if not self.upwards and bounds.clear < bounds.limit:
            _refuse(f"clear must be at or above the limit {bounds.limit:g}, not {bounds.clear:g}")
        if not 0 <= bounds.delay_s <= MAX_DELAY_S:
            _refuse(f"delay_s must be between 0 and {MAX_DELAY_S:g}, not {bounds.delay_s:g}")
        if bounds.severe is not None and (bounds.severe < bounds.limit) == self.upwards:
            _refuse(f"severe must lie beyond the limit {bounds.limit:g}, not at {bounds.severe:g}")
        return bounds


class Override(msgspec.Struct, frozen=True, array_like=True):
    """Numbers of a rule that differ from its own; None leaves one as it is."""

    limit: float | None = None
    clear: float | None = None
    delay_s: float | None = None
    severe: float | None = None


DetectorProfile = Literal["adult", "copd", "home", "post_op"]
"""Profiles that the detectors have limits for."""


class ProfileSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile as it stands in a file."""

    text: str
    spo2_scale: Literal[1, 2] = 1
    detectors: DetectorProfile | None = None
    limits: dict[str, dict[str, float]] = {}


@dataclass(frozen=True)
class Profile:
    """Default limits of a kind of patient: what differs from the rules."""

    name: str
    text: str
    spo2_scale: int
    """On which NEWS2 scores SpO2, unless a command chose."""
    detectors: str
    """The shipped profile whose limits the detectors take."""
    limits: dict[str, Override]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to alerts of a priority when nobody answers.

    Attributes:
        ack_s: Without an acknowledgement for so long an alert goes to the next level.
        levels: How many levels there are.
        max_snooze_s: Longest snooze.
        deliver_s: Without a confirmed delivery for so long an alert goes to the next level; 0 waits for none.
        keep_s: A latched alert whose condition is over clears by itself after so long.
    """

    ack_s: float
    levels: int
    max_snooze_s: float
    deliver_s: float
    keep_s: float


class FileSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rule file."""

    rules: dict[str, RuleSpec] = {}
    profiles: dict[str, ProfileSpec] = {}
    policy: dict[Priority, Policy] = {}


@dataclass(frozen=True)
class RuleSet:
    """Rules, profiles and policies that belong together."""

    rules: dict[str, Rule]
    profiles: dict[str, Profile]
    policy: dict[Priority, Policy]
    version: str
    """Digest of the files; every alert carries it."""

    @classmethod
    def load(cls, files: Iterable[tuple[str, str]]) -> "RuleSet":
        """The rule set of files (name, text). A later file may replace whole rules, profiles and policies.

        Raises:
            RuleError: A file is no TOML, or says something that cannot be kept.
        """
        rules: dict[str, Rule] = {}
        specs: dict[str, ProfileSpec] = {}
        policy: dict[Priority, Policy] = {}
        digest = hashlib.sha256()
        for name, text in files:
            spec = _decode(name, text)
            rules |= {rule: _rule(name, rule, one) for rule, one in spec.rules.items()}
            specs |= spec.profiles
            policy |= spec.policy
            digest.update(text.encode())
        gates = {rule.name for rule in rules.values() if rule.gates}
        for rule in rules.values():
            if not rule.gated_by <= gates:
                _refuse(f"rule {rule.name}: gated_by names {sorted(rule.gated_by - gates)}, which gate nothing")
        profiles = {name: _profile(name, spec, rules) for name, spec in specs.items()}
        for priority in Priority:
            if rules and priority not in policy:
                _refuse(f"there is no [policy.{priority.value}]")
        return cls(rules, profiles, policy, digest.hexdigest()[:12])

    def rule(self, name: str) -> Rule:
        """The rule of that name; for one that was removed while an alert of it stood, a stand-in to clear it with."""
        return self.rules.get(name) or _rule(
            "removed", name, RuleSpec(text="Removed rule", unit="1", priority=Priority.LOW)
        )

    @cached_property
    def by_code(self) -> dict[str, tuple[Rule, ...]]:
        """Rules that are judged on readings, by the code they read."""
        found: dict[str, tuple[Rule, ...]] = {}
        for rule in self.rules.values():
            if rule.code is not None:
                found[rule.code] = (*found.get(rule.code, ()), rule)
        return found


def builtin_files() -> list[tuple[str, str]]:
    """Name and text of the files that come with the program."""
    folder = resources.files("dataflows.rules")
    return [(one.name, one.read_text()) for one in sorted(folder.iterdir(), key=str) if one.name.endswith(".toml")]


def _refuse(message: str) -> NoReturn:
    raise RuleError(message)


def _decode(name: str, text: str) -> FileSpec:
    try:
        return msgspec.convert(tomllib.loads(text), FileSpec)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        message = f"{name}: {error}"
        raise RuleError(message) from error


def _rule(file: str, name: str, spec: RuleSpec) -> Rule:
    try:
        return _checked_rule(name, spec)
    except RuleError as error:
        message = f"{file}: rule {name}: {error}"
        raise RuleError(message) from error


def _checked_rule(name: str, spec: RuleSpec) -> Rule:
    if not name.replace("_", "").isalnum() or len(name) > 64 or not name.isascii():
        _refuse("a name has up to 64 letters, digits and underscores")
    if name in _OF_DETECTORS and (spec.code is not None or spec.range is not None):
        _refuse("its limit is its detector's: it takes neither `code` nor `range`")
    unknown = set(spec.ignore) - STATUS_BITS.keys()
    if unknown:
        _refuse(f"ignore knows {sorted(STATUS_BITS)}, not {sorted(unknown)}")
    if not 0 <= spec.delay_s <= MAX_DELAY_S or not 0 <= spec.clear_s <= MAX_DELAY_S:
        _refuse(f"delay_s and clear_s must be between 0 and {MAX_DELAY_S:g}")
    if (spec.code == MODEL_SCORE) != (spec.device or "").startswith(MODEL_PREFIX):
        _refuse(f"the code {MODEL_SCORE} and a `device` called {MODEL_PREFIX}<name> belong together")
    bounds = _bounds(spec)
    upwards = spec.worse == "up" if bounds is None else spec.above is not None
    if spec.worse_by is not None and (not spec.worse_by > 0 or (bounds is None and spec.worse is None)):
        _refuse("worse_by must be positive, and a rule without a code must say whether `worse` is up or down")
    rule = Rule(
        name=name,
        text=spec.text,
        unit=spec.unit,
        priority=spec.priority,
        kind=spec.kind,
        scope=spec.scope,
        latching=spec.latching,
        delay_s=spec.delay_s,
        clear_s=spec.clear_s,
        worse_by=spec.worse_by,
        upwards=upwards,
        gates=spec.gates,
        gated_by=frozenset(spec.gated_by),
        code=spec.code,
        device=spec.device,
        measure=spec.measure,
        within_s=spec.within_s or 0.0,
        bounds=bounds,
        severe_priority=None if spec.severe is None else spec.severe.priority,
        ignore=sum(STATUS_BITS[one] for one in set(spec.ignore)),
        min_quality_pct=spec.min_quality_pct,
        range=spec.range or (-math.inf, math.inf),
    )
    if bounds is not None:
        rule.checked(bounds)
    return rule


def _bounds(spec: RuleSpec) -> Bounds | None:
    limits = [limit for limit in (spec.above, spec.below) if limit is not None]
    if spec.code is None:
        given = (limits, spec.clear is not None, spec.within_s is not None, spec.measure != "value", spec.device)
        if any(given):
            _refuse("limits need a code; a rule without one announces what a detector or score finds")
        return None
    if len(limits) != 1:
        _refuse("exactly one of `above` and `below` is needed")
    if spec.range is None:
        _refuse("`range` is needed: between which values a limit may be set")
    if (spec.measure == "value") != (spec.within_s is None):
        _refuse("`within_s` belongs to the measures rise and fall, which need it")
    if spec.measure != "value" and spec.above is None:
        _refuse("a rise or fall is limited by `above`")
    limit = limits[0]
    return Bounds(
        limit,
        limit if spec.clear is None else spec.clear,
        spec.delay_s,
        None if spec.severe is None else spec.severe.limit,
    )


def _profile(name: str, spec: ProfileSpec, rules: dict[str, Rule]) -> Profile:
    overrides = {}
    for rule_name, values in spec.limits.items():
        rule = rules.get(rule_name)
        if rule is None or not (rule.bounds or rule.is_score):
            _refuse(f"profile {name}: there is no rule {rule_name} with a limit of its own")
        try:
            override = msgspec.convert(values, dict[Literal["limit", "clear", "delay_s", "severe"], float])
            overrides[rule_name] = rule.checked_override(Override(**override))
        except (RuleError, msgspec.ValidationError) as error:
            message = f"profile {name}: rule {rule_name}: {error}"
            raise RuleError(message) from error
    detectors = spec.detectors or (name if name in get_args(DetectorProfile) else "adult")
    return Profile(name, spec.text, spec.spo2_scale, detectors, overrides)


def merged(bounds: Bounds, override: Override) -> Bounds:
    """The bounds with an override in place. A limit that is moved alone takes its hysteresis and severe level along."""
    limit = bounds.limit if override.limit is None else override.limit
    moved = limit - bounds.limit
    clear = bounds.clear + moved if override.clear is None else override.clear
    severe = override.severe
    if severe is None and bounds.severe is not None:
        severe = bounds.severe + moved
    return Bounds(limit, clear, bounds.delay_s if override.delay_s is None else override.delay_s, severe)


BUILTIN = RuleSet.load(builtin_files())
"""The rule set that comes with the program."""
RULES = BUILTIN.rules
"""Its rules by their stable names."""
