"""Views for readers: what stands now, and which limits are valid now."""

import pytest

from connectors.questdb.sink import QuestDBSink
from tests.connectors.questdb.rows import Output, Recorder
from tests.dataflows.alerts.story import Story, command, finding, reading

pytestmark = pytest.mark.services


def test_the_views_show_what_stands_and_which_limits_are_valid(questdb):
    story = Story()
    story.tell(
        finding(0, "asystole"), finding(0, "asystole", raised=False), reading(1, "sbp", 80), finding(2, "pause"),
        command(3, "ack", rule="pause"), finding(3, "pause", raised=False),
        command(4, "threshold", rule="hr_high", limit=140), command(5, "threshold", rule="hr_high", limit=145),
    )  # fmt: skip
    sink = QuestDBSink(questdb.settings.model_copy(update={"ack_timeout_ms": 20_000}), Recorder)
    part = sink.build_part("views", sink.list_parts()[0], None)
    part.write_batch([Output([(name, (row[0], "ward", *row[2:])) for name, row in story.all_rows()])])
    part.snapshot()
    part.close()
    questdb.reader.wait_applied()
    standing = questdb.reader.query("SELECT rule, event, state FROM alerts_now WHERE tenant = 'ward' ORDER BY rule")
    assert standing.rows() == [("asystole", "ended", "active"), ("sbp_low", "raised", "active")]
    limits = questdb.reader.query(
        "SELECT limit_value, source, actor, limits_version FROM thresholds_now "
        "WHERE tenant = 'ward' AND rule = 'hr_high'"
    )
    assert limits.rows() == [(145.0, "command", "nurse", 50)]
    asked = questdb.reader.query("SELECT name, actor, result, reason FROM commands WHERE tenant = 'ward' ORDER BY ts")
    assert asked.rows() == [(name, "nurse", "done", None) for name in ("ack", "threshold", "threshold")]
    rules = questdb.reader.query("SELECT count() n FROM thresholds_now WHERE tenant = 'ward'")
    assert rules.rows() == [(17,)]
