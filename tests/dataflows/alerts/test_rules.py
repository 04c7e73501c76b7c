"""Rules as data: each rule at, beside and beyond its limit; files that cannot be kept are refused in words."""

import math

import pytest

from dataflows.alerts.rules import BUILTIN, RuleError, RuleSet, builtin_files, merged
from dataflows.scores.scorers import rule_names
from tests.dataflows.alerts.story import Story, command, reading

CONDITIONS = [rule for rule in BUILTIN.rules.values() if rule.bounds is not None]
PROFILED = [(profile, name) for profile in BUILTIN.profiles.values() for name in profile.limits]


def beyond(rule, value):
    """The next number beyond a limit."""
    return math.nextafter(value, math.inf if rule.upwards else -math.inf)


def series(rule, value, delay_s):
    """Readings with this value for as long as the rule asks, and from where a rise or fall is measured."""
    base = [] if rule.measure == "value" else [reading(0, rule.code, 0.0)]
    return [*base, reading(10, rule.code, value), reading(10 + delay_s, rule.code, value)]


@pytest.mark.parametrize("rule", CONDITIONS, ids=lambda rule: rule.name)
def test_a_limit_that_is_met_is_not_passed(rule):
    story = Story()
    story.tell(*series(rule, rule.bounds.limit, rule.delay_s), until_s=100_000)
    assert [alert for alert in story.alerts if alert.rule == rule.name] == []


@pytest.mark.parametrize("rule", CONDITIONS, ids=lambda rule: rule.name)
def test_a_limit_that_is_passed_for_the_delay_fires_then_and_not_before(rule):
    story = Story()
    begin, *rest = series(rule, beyond(rule, rule.bounds.limit), rule.delay_s)
    story.tell(begin, *rest[:-1])
    before_s = 10 + rule.delay_s - 0.001
    if rule.delay_s:
        assert story.tell(until_s=before_s) == []
    story.tell(rest[-1])
    (alert,) = [alert for alert in story.alerts if alert.rule == rule.name]
    assert (alert.event, alert.onset_ns - story.alerts[0].onset_ns) == ("raised", 0)
    assert alert.log_ns == reading(10 + rule.delay_s, rule.code, 0).log_ns


@pytest.mark.parametrize("rule", [rule for rule in CONDITIONS if rule.measure == "value"], ids=lambda rule: rule.name)
def test_the_condition_goes_on_until_a_value_is_at_the_clear_limit(rule):
    story = Story()
    story.tell(*series(rule, beyond(rule, rule.bounds.limit), rule.delay_s))
    at_s = 10 + rule.delay_s
    story.tell(reading(at_s + 1, rule.code, beyond(rule, rule.bounds.clear)), until_s=at_s + 2 + rule.clear_s)
    assert [alert.event for alert in story.alerts if alert.rule == rule.name] == ["raised"]
    at_s += 3 + rule.clear_s
    story.tell(reading(at_s, rule.code, rule.bounds.clear), until_s=at_s + rule.clear_s)
    said = [alert for alert in story.alerts if alert.rule == rule.name and alert.event == "cleared"]
    assert [alert.log_ns for alert in said] == [reading(at_s + rule.clear_s, rule.code, 0).log_ns]


@pytest.mark.parametrize("rule", [rule for rule in CONDITIONS if rule.bounds.severe], ids=lambda rule: rule.name)
def test_the_severe_level_is_a_limit_too(rule):
    for value, priority in (
        (rule.bounds.severe, rule.priority),
        (beyond(rule, rule.bounds.severe), rule.severe_priority),
    ):
        story = Story()
        story.tell(*series(rule, value, rule.delay_s))
        assert [alert.priority for alert in story.alerts if alert.rule == rule.name] == [priority]


@pytest.mark.parametrize(("profile", "name"), PROFILED, ids=lambda one: getattr(one, "name", one))
def test_each_profile_moves_the_limit_it_names(profile, name):
    rule = BUILTIN.rules[name]
    bounds = merged(rule.bounds, profile.limits[name])
    for value, fires in ((bounds.limit, False), (beyond(rule, bounds.limit), True)):
        story = Story()
        story.tell(command(0, "profile", profile=profile.name), *series(rule, value, bounds.delay_s))
        assert any(alert.rule == name for alert in story.alerts) is fires


def test_a_device_that_buffers_fires_by_the_time_of_its_readings():
    story = Story()
    said = story.events(*(reading(at_s, "hr", 140, log_ns=reading(90, "hr", 0).log_ns) for at_s in range(0, 61, 5)))
    assert said == [(90, "hr_high", "raised", "active")]


def test_an_interruption_of_the_condition_starts_the_delay_anew():
    story = Story()
    story.tell(reading(0, "hr", 140), reading(50, "hr", 130), reading(55, "hr", 140), until_s=114)
    assert story.alerts == []
    assert [row[8] for row in story.rows("suppressed")] == ["delay"]
    assert story.events(until_s=115) == [(115, "hr_high", "raised", "active")]


@pytest.mark.parametrize("changes", [{"value": math.nan}, {"status": 1}, {"status": 2}])
def test_what_the_device_does_not_stand_by_says_nothing(changes):
    story = Story()
    story.tell(reading(0, "hr", 140))
    story.tell(reading(30, "hr", **{"value": 80, **changes}), until_s=60)
    assert [alert.rule for alert in story.alerts] == ["hr_high"]
    other = Story()
    other.tell(*(reading(at_s, "hr", **{"value": 140, **changes}) for at_s in range(100)))
    assert other.alerts == []


def test_weight_is_measured_from_the_lowest_of_the_window():
    story, day = Story(), 86_400
    weights = [(0, 80.0), (0.5, 79.0), (0.9, 81.0), (1.4, 81.0), (1.6, 81.2)]
    story.tell(*(reading(at * day, "weight", kg) for at, kg in weights))
    assert [alert for alert in story.alerts if alert.rule == "weight_gain_day"] == []
    story.tell(reading(1.7 * day, "weight", 83.1))
    assert [round(alert.value, 3) for alert in story.alerts if alert.rule == "weight_gain_day"] == [2.1]
    assert [round(alert.value, 3) for alert in story.alerts if alert.rule == "weight_gain_week"] == [4.1]


RULE = """
[rules.x]
text = "t"
unit = "/min"
priority = "low"
code = "hr"
above = 100
range = [50, 200]
"""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("above = 100", "above = 300"), "limit must be between 50 and 200"),
        (("above = 100", ""), "exactly one of `above` and `below`"),
        (("above = 100", "above = 100\nbelow = 90"), "exactly one of `above` and `below`"),
        (("above = 100", "above = 100\nclear = 110"), "clear must be at or below the limit 100"),
        (("above = 100", "above = 100\ndelay_s = 90000"), "between 0 and 86400"),
        (("above = 100", 'above = 100\nsevere = { limit = 90, priority = "high" }'), "severe must lie beyond"),
        (("range = [50, 200]", ""), "`range` is needed"),
        (('code = "hr"\n', ""), "limits need a code"),
        (('priority = "low"', 'priority = "urgent"'), "Invalid enum value 'urgent'"),
        (("above = 100", "abowe = 100"), "unknown field `abowe`"),
        (("above = 100", 'above = 100\nignore = ["rain"]'), "not ['rain']"),
        (("above = 100", 'above = 100\nmeasure = "rise"'), "`within_s` belongs to"),
        (("above = 100", 'above = 100\ngated_by = ["asystole"]'), "which gate nothing"),
        (("[rules.x]", '[rules."a b"]'), "letters, digits and underscores"),
        (("[rules.x]", "[rules.x"), "Expected ']'"),
        (("[rules.x]", "[profiles.y]\ntext = 't'\nspo2_scale = 3\n[rules.x]"), "Invalid enum value 3"),
        (
            ("[rules.x]", "[profiles.y]\ntext = 't'\nlimits.asystole.limit = 5\n[rules.x]"),
            "no rule asystole with a limit",
        ),
        (("[rules.x]", "[profiles.y]\ntext = 't'\nlimits.news2_high.limit = 3\n[rules.x]"), "between 5 and 20"),
        (
            ("[rules.x]", "[profiles.y]\ntext = 't'\nlimits.news2_high.clear = 6\n[rules.x]"),
            "a score has a limit alone",
        ),
        (
            ("[rules.x]", "[profiles.y]\ntext = 't'\nlimits.news2_single_3.limit = 2\n[rules.x]"),
            "no rule news2_single_3",
        ),
    ],
)
def test_a_rule_file_that_cannot_be_kept_is_refused_in_words(change, reason):
    assert RuleSet.load([*builtin_files(), ("mine.toml", RULE)]).rules["x"].bounds.limit == 100
    with pytest.raises(RuleError) as error:
        RuleSet.load([*builtin_files(), ("mine.toml", RULE.replace(*change))])
    assert reason in str(error.value)


def test_a_rule_that_was_removed_clears_what_it_had_raised():
    with_x = RuleSet.load([*builtin_files(), ("mine.toml", RULE)])
    from dataflows.monitor.judge import Judge

    story = Story(Judge(with_x, {}))
    story.tell(reading(0, "hr", 110))
    later = Story(Judge.restore(story.judge.snapshot(), scorers={}))
    assert later.events(reading(1, "hr", 110)) == [(1, "x", "cleared", "cleared")]
    assert later.alerts[0].reason == "rule_removed"


def test_every_alert_names_the_digest_of_its_rules():
    story = Story()
    story.tell(reading(0, "sbp", 60))
    assert story.alerts[0].rules_version == BUILTIN.version
    assert RuleSet.load([*builtin_files(), ("mine.toml", RULE)]).version != BUILTIN.version


def test_every_finding_of_a_score_is_announced():
    assert rule_names() <= BUILTIN.rules.keys()
