"""`vitals rules`: files are checked in words, and tried on a series."""

import json

from connectors.devices import samples

MINE = """
[rules.spo2_quick]
text = "SpO2 below 90 % for 5 s"
unit = "%"
priority = "low"
scope = "channel"
code = "spo2"
below = 90
clear = 92
delay_s = 5
range = [50, 100]
"""


def test_the_built_in_rules_are_in_order(vitals):
    code, out, _ = vitals("rules", "check")
    assert code == 0
    assert "hr_high" in out
    assert "profiles: adult, copd, home, post_op" in out


def test_a_file_that_cannot_be_kept_is_named_with_its_rule(vitals, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace("clear = 92", "clear = 88"))
    code, _, err = vitals("rules", "check", path)
    assert code == 1
    assert "mine.toml: rule spo2_quick: clear must be at or above the limit 90, not 88" in err
    code, _, err = vitals("rules", "check", tmp_path / "absent.toml")
    assert code == 1
    assert "absent.toml: not readable" in err


def test_a_rule_is_tried_on_a_recorded_series(vitals, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    code, out, _ = vitals("rules", "test", path, samples.HYPOXEMIA, "--json")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["at_s"], line["event"], line["value"]) for line in lines] == [
        (133.0, "raised", 89.0),
        (684.0, "cleared", 93.0),
    ]


def test_a_rule_is_tried_on_a_synthetic_series_and_says_what_was_too_short(vitals, tmp_path):
    path, series = tmp_path / "mine.toml", tmp_path / "series.csv"
    path.write_text(MINE)
    values = [95, 89, 89, 89, 95, 89, 89, 89, 89, 89, 89, 91, 92]
    series.write_text("time_s,spo2\n" + "".join(f"{second},{value}\n" for second, value in enumerate(values)))
    code, out, _ = vitals("rules", "test", path, series)
    assert code == 0
    told = [line.split()[:4] for line in out.splitlines()[:3]]
    assert told == [["4.0", "s", "spo2_quick", "not"], ["10.0", "s", "spo2_quick", "raised"],
                    ["12.0", "s", "spo2_quick", "cleared"]]  # fmt: skip
    assert "over after 2 s (delay)" in out.splitlines()[0]
    assert out.splitlines()[-1] == "1 alerts"


def test_what_the_flow_would_not_take_as_a_reading_is_none_here(vitals, tmp_path):
    path, series = tmp_path / "mine.toml", tmp_path / "series.csv"
    path.write_text(MINE)
    series.write_text("time_s,spo2\n" + "".join(f"{second},{(0, 127)[second % 2]}\n" for second in range(20)))
    code, out, _ = vitals("rules", "test", path, series)
    assert (code, out.strip()) == (0, "no rule of this file fires")  # an oximeter without a finger
    series.write_text("time_s,spo2\n0,95\n2.5,-5\n")
    code, out, err = vitals("rules", "test", path, series)
    assert (code, out) == (1, "")
    assert "series.csv: at 2.5 s: the flow would reject this as impossible_value" in err


def test_a_profile_that_is_not_there_is_named(vitals, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    code, _, err = vitals("rules", "test", path, samples.HYPOXEMIA, "--profile", "child")
    assert code == 1
    assert "there is no profile child; there are adult" in err
