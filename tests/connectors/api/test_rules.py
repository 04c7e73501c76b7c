"""The rules that the API tells: with each profile's own numbers, and every limit that it says may be set is one."""

import json

import pytest

from connectors.api.rules import rules_of
from connectors.rules import read_rules
from dataflows._native import check_threshold
from dataflows.alerts.rules import BUILTIN, Override, RuleError


def by_name(profile, rules=BUILTIN):
    return {one["rule"]: one for one in rules_of(rules, profile)}


def test_every_rule_is_told_with_what_may_be_set():
    found = by_name("adult")
    assert found.keys() == BUILTIN.rules.keys()
    assert (found["hr_high"]["limit"], found["hr_high"]["clear"], found["hr_high"]["severe"]) == (130, 125, 150)
    assert (found["hr_high"]["least"], found["hr_high"]["greatest"], found["hr_high"]["delay_s"]) == (60, 250, 60)
    assert (found["asystole"]["limit"], found["asystole"]["delay_s"]) == (4, None)
    assert (found["news2_high"]["limit"], found["news2_high"]["greatest"] > 0) == (None, True)
    assert (found["spo2_above_target"]["limit"], found["spo2_above_target"]["greatest"]) == (None, 100)  # it is off
    assert found["silence"]["least"] is None


@pytest.mark.parametrize("profile", sorted(BUILTIN.profiles))
def test_what_may_be_set_is_kept_and_what_is_beyond_refused(profile):
    for name, one in by_name(profile).items():
        if one["least"] is None:
            continue
        assert one["limit"] is None or one["least"] <= one["limit"] <= one["greatest"]
        for limit, kept in ((one["least"], True), (one["greatest"], True), (one["greatest"] + 0.5, False)):
            rule = BUILTIN.rules[name]
            if rule.bounds is None and not rule.is_score:
                assert (check_threshold(json.dumps({"rule": name, "limit": limit})) is None) == kept, (name, limit)
            elif not kept:
                with pytest.raises(RuleError, match="must be between"):
                    rule.checked_override(Override(limit))
            elif rule.is_score:
                rule.checked_override(Override(limit))


def test_profiles_differ_and_a_file_adds_its_own(tmp_path):
    assert by_name("copd")["spo2_below_90"]["limit"] == 88
    assert by_name("home")["tachycardia"]["limit"] == 130
    file = tmp_path / "ward.toml"
    limits = "[profiles.athlete.limits]\nhr_low = { limit = 35 }\n"
    file.write_text(f'[profiles.athlete]\ntext = "Slow by training"\ndetectors = "home"\n{limits}')
    rules = read_rules([file])
    found = by_name("athlete", rules)
    assert (found["hr_low"]["limit"], found["hr_low"]["clear"]) == (35, 39)
    assert found["spo2_below_90"]["limit"] == by_name("home")["spo2_below_90"]["limit"] == 88
