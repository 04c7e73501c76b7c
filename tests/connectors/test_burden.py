"""The figures of the alarm burden, by hand and from QuestDB."""

import json
from datetime import UTC, datetime

import polars as pl
import pytest

from connectors.burden import burden
from connectors.cli.report import drawn, read_burden
from connectors.questdb.sink import QuestDBSink
from tests.connectors.questdb.rows import Output, Recorder
from tests.dataflows.alerts.story import START_NS, Story, command, finding, ns, reading


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
    found = burden(pl.DataFrame(rows, infer_schema_length=None), suppressed, patients=4, from_ns=ns(0), to_ns=ns(1000))
    assert len(first.alerts) == 4
    assert (found.alerts, found.technical_share, found.escalations) == (2, 0.5, 1)
    assert found.per_patient_day == pytest.approx(2 / (4 * 1000 / 86400), rel=1e-3)
    assert (found.acknowledged_share, found.ack_median_s, found.escalated_share) == (1.0, 70.0, 0.5)
    assert (found.pages, found.repeats, found.suppressed) == (3, 1, {"delay": 1})
    assert found.in_alarm_share == pytest.approx((100 + 50) / 4000)
    assert [row["rule"] for row in found.by_rule] == ["asystole", "silence"]
    assert "asystole" in drawn(found)


def test_a_quiet_ward_has_no_burden():
    names = ["log_ns", "transition", "repeats"]
    texts = ["tenant", "patient", "alert_id", "rule", "priority", "kind", "event", "state", "reason"]
    schema = {**dict.fromkeys(names, pl.Int64), **dict.fromkeys(texts, pl.String), "notify": pl.Boolean}
    empty = pl.DataFrame(schema={"rule": pl.String, "reason": pl.String})
    found = burden(pl.DataFrame(schema=schema), empty, patients=10, from_ns=0, to_ns=86_400_000_000_000)
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
    view = questdb.reader.query("SELECT rule, alerts, patients FROM alarm_burden WHERE tenant = 'burden' ORDER BY rule")
    assert view.rows() == [("asystole", 1, 1), ("silence", 1, 1)]
