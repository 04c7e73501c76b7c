"""A patient's limits: profile, overrides, SpO2 scale, and which of them were valid when.

Every change is kept with the log time from which it holds, so that what arrives late is compared with the limits of its
own time. The version of limits is the `log_seq` of the last command that changed them; 0 are the adult defaults.
"""

from functools import cached_property

import msgspec

from dataflows.alerts.rules import Bounds, Override, Rule, RuleSet, merged

DEFAULT_PROFILE = "adult"
MAX_CHANGES = 32
"""Changes that are remembered one by one; older ones are folded into what was valid before all of them."""


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One command: other numbers for a rule, another SpO2 scale, or (both empty) another profile."""

    log_ns: int
    log_seq: int
    rule: str
    profile: str
    override: Override = Override()
    spo2_scale: int = 0


class View(msgspec.Struct, array_like=True):
    """What is valid at one moment."""

    profile: str = DEFAULT_PROFILE
    overrides: dict[str, Override] = {}
    version: int = 0
    spo2_scale: int = 0
    """What a command chose; 0 where none did."""

    def apply(self, change: Change) -> None:
        """Goes on to the moment after a change. Another profile leaves alone what somebody chose."""
        if change.rule:
            self.overrides[change.rule] = change.override
        elif change.spo2_scale:
            self.spo2_scale = change.spo2_scale
        else:
            self.profile = change.profile
        self.version = change.log_seq

    def override(self, rules: RuleSet, name: str) -> Override | None:
        """What the profile and the commands say of a rule; None for its own numbers."""
        chosen = self.overrides.get(name)
        profile = rules.profiles.get(self.profile)
        return chosen or (None if profile is None else profile.limits.get(name))

    def score_limits(self, rules: RuleSet) -> dict[str, float]:
        """Limits that the profile and the commands say, by rule: scores know their own."""
        profile = rules.profiles.get(self.profile)
        chosen = self.overrides if profile is None else profile.limits | self.overrides
        return {name: one.limit for name, one in chosen.items() if one.limit is not None}

    def scale(self, rules: RuleSet) -> int:
        """The scale on which SpO2 is scored: chosen by name, else the profile's."""
        profile = rules.profiles.get(self.profile)
        return self.spo2_scale or (1 if profile is None else profile.spo2_scale)

    def bounds(self, rules: RuleSet, rule: Rule) -> Bounds:
        """The numbers of a rule that is judged on readings.

        Raises:
            ValueError: The rule has no condition of its own.
        """
        if rule.bounds is None:
            message = f"rule {rule.name} has no limits here"
            raise ValueError(message)
        override = self.override(rules, rule.name)
        return rule.bounds if override is None else merged(rule.bounds, override)


class Limits(msgspec.Struct, array_like=True, dict=True):
    """The limits of a patient, now and before."""

    before: View = msgspec.field(default_factory=View)
    changes: list[Change] = []

    @cached_property
    def now(self) -> View:
        """What is valid now. It follows from the rest, so no snapshot holds it."""
        return self.at(self.changes[-1].log_ns if self.changes else 0)

    def change(self, change: Change) -> None:
        """Takes a checked command; it holds for everything after it in the log."""
        self.now.apply(change)
        self.changes.append(change)
        if len(self.changes) > MAX_CHANGES:
            self.before.apply(self.changes.pop(0))

    def at(self, ns: int) -> View:
        """What was valid at an event time. Before the first change that is remembered: what was valid before it."""
        before = self.before
        view = View(before.profile, dict(before.overrides), before.version, before.spo2_scale)
        for change in self.changes:
            if change.log_ns > ns:
                break
            view.apply(change)
        return view
