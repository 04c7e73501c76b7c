"""What is known of a patient reaches alerts, rows and scores, and ends at discharge."""

import json

from dataflows._native import Validator
from dataflows.contracts.tables import TABLES
from dataflows.monitor.judge import Judge
from dataflows.monitor.patient import run
from tests.dataflows.alerts.story import Story, command, finding
from tests.dataflows.scores.test_judged import MINUTE_NS, START_NS, Log, told


def bodies(said):
    return [json.loads(one.body()) for one in said if hasattr(one, "body")]


def rows(said, table):
    return [one.row for one in said if getattr(one, "table", "") == table]


def test_alerts_carry_what_was_said_and_rows_keep_each_change():
    story = Story()
    (first,) = bodies(story.tell(finding(1)))
    assert "about" not in first
    said = story.tell(
        command(2, "context", ward="4b", age_band="older", placement={"patch": "left chest", "oxi": "finger"}),
        command(3, "context", oxygen="supplemental", placement={"oxi": ""}),
        finding(4, "extreme_bradycardia"),
    )
    about = {"ward": "4b", "age_band": "older", "oxygen": "supplemental", "placement": "left chest"}
    assert [body["about"] for body in bodies(said)] == [about]
    kept = rows(said, "contexts")
    assert [row[3:7] for row in kept] == [
        ("4b", "older", "", '{"oxi":"finger","patch":"left chest"}'),
        ("4b", "older", "supplemental", '{"patch":"left chest"}'),
    ]
    assert all(len(row) == len(TABLES["contexts"].columns) for row in kept)


def test_it_survives_a_snapshot_and_ends_with_discharge():
    story = Story()
    story.tell(command(1, "context", ward="4b"))
    story.judge = Judge.restore(story.judge.snapshot(), scorers={})
    (alert,) = bodies(story.tell(finding(2)))
    assert alert["about"] == {"ward": "4b"}
    story.tell(command(3, "discharge"), command(4, "admit"))
    (alert,) = bodies(story.tell(finding(5)))
    assert "about" not in alert


def test_what_cannot_be_is_refused_in_words():
    story = Story()
    wrong = [
        {"oxygen": "lots"},
        {"age_band": "old"},
        {"ward": "x" * 65},
        {"placement": {f"d{n}": "arm" for n in range(17)}},
        {"family": "Doe"},
    ]
    said = story.tell(*(command(n + 1, "context", **argument) for n, argument in enumerate(wrong)))
    results = [(row[7], bool(row[8])) for row in rows(said, "commands")]
    assert results == [("refused", True)] * len(wrong)
    assert rows(said, "contexts") == []


def scored(*commands, **values):
    """Totals of NEWS2 after a round without oxygen, told of commands before."""
    log = Log()
    for argument in commands:
        log.command(START_NS, "context", **argument)
    log.round(START_NS + MINUTE_NS, **values)
    log.tick(START_NS + 2 * MINUTE_NS)
    alerts, _, records = told(run(log.entries, Validator()))
    totals = [record.row for record in records if record.table == "scores" and "news2" in record.row]
    return totals, {alert["rule"] for alert in alerts}


def test_stated_oxygen_gives_news2_its_points_where_no_device_says(monkeypatch):
    from tests.dataflows.scores import test_judged

    without = {code: one for code, one in test_judged.WELL.items() if code != test_judged.pb.CODE_O2_FLOW}
    monkeypatch.setattr(test_judged, "WELL", without)
    ill = {"hr": 115.0, "resp_rate": 22.0}  # 2 + 2
    silent, _ = scored(**ill)
    air, _ = scored({"oxygen": "air"}, **ill)
    oxygen, raised = scored({"oxygen": "supplemental"}, **ill)
    value = [name for name, _ in TABLES["scores"].columns].index("value")
    state = [name for name, _ in TABLES["scores"].columns].index("state")
    assert [(row[0][value], row[0][state]) for row in (silent, air, oxygen)] == [
        (4.0, "partial"),
        (4.0, "complete"),
        (6.0, "complete"),
    ]
    assert "news2_medium" in raised


def test_a_device_that_measures_oxygen_knows_better():
    said, _ = scored({"oxygen": "supplemental"}, hr=115.0)
    value = [name for name, _ in TABLES["scores"].columns].index("value")
    assert said[0][value] == 2.0


def test_early_warning_scores_are_silent_for_children():
    ill = {"hr": 140.0, "resp_rate": 30.0, "spo2": 85.0}
    assert "news2_high" in scored(**ill)[1]
    said, raised = scored({"age_band": "child"}, **ill)
    assert said == []
    assert not {rule for rule in raised if rule.startswith(("news2", "mews"))}
