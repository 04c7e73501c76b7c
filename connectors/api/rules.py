"""The rules of this deployment with the limits of a profile: what somebody who sets limits starts from."""

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from connectors.api.context import place
from connectors.api.problems import JsonResponse, ProblemError
from dataflows._native import detector_limits
from dataflows.alerts.limits import DEFAULT_PROFILE, View
from dataflows.alerts.rules import Rule, RuleSet

_Numbers = dict[str, float | None]
_UNKNOWN: _Numbers = dict.fromkeys(("limit", "clear", "delay_s", "severe", "least", "greatest"))


def rules_of(rules: RuleSet, profile: str) -> list[dict[str, Any]]:
    """Every rule under a profile.

    Returns:
        For each its name, text, unit, priority, kind; `limit`, `clear` and `severe` in its unit, `delay_s`; `least` and
        `greatest` limit that may be set, None where none may. A number that is the score's own business is None, and
        the limit of a rule that is off.
    """
    view = View(profile)
    detectors = {name: numbers for name, *numbers in detector_limits(rules.profiles[profile].detectors)}

    def numbers(rule: Rule) -> _Numbers:
        if rule.bounds is None and rule.name in detectors:
            limit, delay_s, least, greatest = detectors[rule.name]
            return {"limit": limit, "delay_s": delay_s, "least": least, "greatest": greatest}
        if not math.isfinite(rule.range[0]):
            return {}
        may = {"least": rule.range[0], "greatest": rule.range[1]}
        if rule.bounds is None:
            return {"limit": view.score_limits(rules).get(rule.name), **may}
        bounds = view.bounds(rules, rule)
        fields = {"limit": bounds.limit, "clear": bounds.clear, "delay_s": bounds.delay_s, "severe": bounds.severe}
        return {**fields, **may}

    return [
        {"rule": rule.name, "text": rule.text, "unit": rule.unit, "priority": rule.priority, "kind": rule.kind}
        | _UNKNOWN
        | numbers(rule)
        for rule in rules.rules.values()
    ]


async def rules(request: Request) -> Response:
    """The rules under `profile`, and which profiles there are."""
    here, _ = place(request)
    profile = request.query_params.get("profile", DEFAULT_PROFILE)
    if profile not in here.rules.profiles:
        raise ProblemError(404, f"there is no profile {profile}; there are {', '.join(sorted(here.rules.profiles))}")
    profiles = [{"profile": one.name, "text": one.text} for one in here.rules.profiles.values()]
    found = {"version": here.rules.version, "profile": profile, "profiles": profiles}
    return JsonResponse(found | {"rules": rules_of(here.rules, profile)})
