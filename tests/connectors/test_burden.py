"""The figures of the alarm burden, by hand and from QuestDB."""

import json
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import polars as pl
import pytest

from connectors.burden import burden
from connectors.cli.report import drawn, read_burden
from connectors.questdb.sink import QuestDBSink
from tests.connectors.questdb.rows import Output, Recorder
from tests.dataflows.alerts.story import START_NS, Story, command, finding, ns, reading

STOOD = pl.DataFrame(schema={"tenant": pl.String, "patient": pl.String, "alert_id": pl.String})


def ward():
    """Two patients: one with a latched asystole that was answered late, one with a loose sensor and a short fall."""
    first, second = Story(), Story()
    first.tell(
        finding(0, "asystole"), finding(10, "asystole"), finding(20, "asystole", raised=False), command(100, "ack")
    )
    second.tell(finding(0, "silence"), command(40, "ack"), finding(50, "silence", raised=False))
    second.tell(reading(60, "hr", 140), reading(80, "hr", 100), until_s=400)
    return first, second


def test_the_figures_are_those_of_the_story():
    first, second = ward()
    rows = [
        json.loads(one.body()) | {"patient": name}
        for name, story in zip("ab", ward(), strict=True)
        for one in story.alerts
    ]
    suppressed = pl.DataFrame([{"rule": row[7], "reason": row[8]} for row in second.rows("suppressed")])
    transitions = pl.DataFrame(rows, infer_schema_length=None)
    found = burden(transitions, suppressed, STOOD, patients=4, from_ns=ns(0), to_ns=ns(1000))
    assert len(first.alerts) == 4
    assert (found.alerts, found.technical_share, found.escalations) == (2, 0.5, 1)
    assert found.per_patient_day == pytest.approx(2 / (4 * 1000 / 86400), rel=1e-3)
    assert (found.acknowledged_share, found.ack_median_s, found.escalated_share) == (1.0, 70.0, 0.5)
    assert (found.pages, found.repeats, found.suppressed) == (3, 1, {"delay": 1})
    assert found.suppressed_by_rule == {"hr_high": 1}
    assert found.by_priority == {"high": 1, "medium": 1, "low": 0}
    assert found.in_alarm_share == pytest.approx((100 + 50) / 4000)
    counts = [(row["rule"], row["alerts"], row["pages"], row["escalations"]) for row in found.by_rule]
    assert counts == [("asystole", 1, 2, 1), ("silence", 1, 1, 0)]
    # The second half of the asystole: it stood when the period began, and clears within it.
    later = transitions.filter(pl.col("log_ns") >= ns(50))
    stood = pl.DataFrame(
        {"tenant": ["main", "main"], "patient": ["a", "c"], "alert_id": [rows[0]["alert_id"], "other"]}
    )
    found = burden(later, suppressed, stood, patients=4, from_ns=ns(50), to_ns=ns(1000))
    assert found.in_alarm_share == pytest.approx((50 + 950) / (4 * 950), abs=1e-4)


def test_the_plot_has_a_bar_for_each_rule_and_says_what_it_leaves_out():
    rows = [
        {"tenant": "main", "patient": "a", "alert_id": f"{rule}{n}", "transition": 0, "log_ns": ns(rule),
         "rule": f"r{rule}<", "priority": "low" if rule % 2 else "high",
         "kind": "technical" if rule % 2 else "physiological",
         "event": "raised", "state": "active", "notify": True, "reason": "", "repeats": 0}
        for rule in range(30) for n in range(30 - rule)
    ]  # fmt: skip
    nothing = pl.DataFrame(schema={"rule": pl.String, "reason": pl.String})
    found = burden(pl.DataFrame(rows), nothing, STOOD, patients=1, from_ns=ns(0), to_ns=ns(86_400))
    image = ElementTree.fromstring(drawn(found))  # noqa: S314  (our own)
    texts = [one.text for one in image.iter("{http://www.w3.org/2000/svg}text")]
    assert "465 alerts per patient-day over 1 patient-days" in texts
    assert {"r0<", "30 (30 a patient-day)", "high priority", "technical", "and 5 more with 15 alerts"} <= set(texts)
    assert "r25<" not in texts
    widths = [
        float(one.get("width")) for one in image.iter("{http://www.w3.org/2000/svg}rect") if one.get("x") == "246"
    ]
    assert widths[1:] == [pytest.approx(380 * (30 - rule) / 30, abs=0.1) for rule in range(25)]


def test_a_quiet_ward_has_no_burden():
    names = ["log_ns", "transition", "repeats"]
    texts = ["tenant", "patient", "alert_id", "rule", "priority", "kind", "event", "state", "reason"]
    schema = {**dict.fromkeys(names, pl.Int64), **dict.fromkeys(texts, pl.String), "notify": pl.Boolean}
    empty = pl.DataFrame(schema={"rule": pl.String, "reason": pl.String})
    found = burden(pl.DataFrame(schema=schema), empty, STOOD, patients=10, from_ns=0, to_ns=86_400_000_000_000)
    assert "0 alerts per patient-day" in drawn(found)
    assert (found.patient_days, found.alerts, found.in_alarm_share, found.ack_median_s) == (10.0, 0, 0.0, None)


@pytest.mark.services
def test_the_report_reads_questdb(questdb):
    sink = QuestDBSink(questdb.settings.model_copy(update={"ack_timeout_ms": 20_000}), Recorder)
    part = sink.build_part("burden", sink.list_parts()[0], None)
    for name, story in zip(("b1", "b2"), ward(), strict=True):
        rows = [(table, (row[0], "burden", name, *row[3:])) for table, row in story.all_rows()]
        part.write_batch([Output(rows)])
    part.snapshot()
    part.close()
    questdb.reader.wait_applied()
    begin, end = (datetime.fromtimestamp(START_NS / 1e9 + at_s, UTC) for at_s in (0, 1000))
    found = read_burden(questdb.reader, begin, end, "burden")
    assert (found.patients, found.alerts, found.escalations, found.suppressed) == (2, 2, 1, {"delay": 1})
    later = read_burden(questdb.reader, begin + timedelta(seconds=30), end, "burden")
    assert (later.patients, later.in_alarm_share) == (2, pytest.approx((70 + 20) / (2 * 970), abs=1e-4))
    view = questdb.reader.query("SELECT rule, alerts, patients FROM alarm_burden WHERE tenant = 'burden' ORDER BY rule")
    assert view.rows() == [("asystole", 1, 1), ("silence", 1, 1)]
