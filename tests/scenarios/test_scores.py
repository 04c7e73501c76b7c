"""Scores through the whole pipeline on real servers: rows in QuestDB and alerts, as without engine and servers."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from dataflows._native import Validator
from dataflows.contracts.frames import LOG_TIME_HEADER
from dataflows.contracts.tables import TABLES
from dataflows.monitor.patient import run
from tests.dataflows.scores.test_judged import day
from tests.faults.whole import Whole
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
DAY_NS = 86_400_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def alerts_of(bodies):
    """What alerts say, without the places in the log: there are ticks in the stream that the file does not have."""
    fields = ("alert_id", "transition", "rule", "event", "state", "value", "limit", "log_ns", "details")
    return [tuple(repr(body[field]) for field in fields) for body in map(json.loads, bodies)]


def test_scores_come_through_the_flow_and_a_kill_as_from_a_file(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path, log_time="header")
    # Days ago, not years: rows that are older than tables keep would be dropped.
    start_ns = time.time_ns() // DAY_NS * DAY_NS
    entries = [entry for entry in day(start_ns - 3 * DAY_NS) if entry[0]]
    steps = list(run(entries, Validator()))
    messages = [
        (subject.decode().replace("vp.0.", "vitals.v1."), {LOG_TIME_HEADER: str(log_ns)}, payload)
        for subject, _, log_ns, payload in entries
    ]
    flow, publisher = whole.flow(), whole.publisher()
    half = len(messages) // 2
    publisher.publish_all(messages[:half])
    caught_up(whole, flow, publisher)
    flow.kill()
    publisher.publish_all(messages[half:])
    caught_up(whole, flow, publisher)
    flow.stop()
    whole.close()

    expected = alerts_of(alert.body() for step in steps for alert in step.alerts)
    stored = [body.split(b" ", 1)[1] for _, body in whole.messages("ALERTS")]
    assert alerts_of(stored) == expected
    assert len(expected) > 20
    found = whole.questdb.reader
    found.wait_applied()
    for table, key in (("scores", ("device", "score")), ("trends", ("code",))):
        columns = [name for name, _ in TABLES[table].columns if name not in ("log_seq", "limits_version")]
        stored_rows = {identity(row, key): row for row in found.query(f"SELECT * FROM {table}").to_dicts()}
        expected_rows = {identity(row, key): row for row in recorded(steps, table)}
        assert stored_rows.keys() == expected_rows.keys()
        for name, row in expected_rows.items():
            assert all(same(row[column], stored_rows[name][column]) for column in columns[1:]), (table, name)
    assert {name[-1] for name in expected_rows} >= {"hr", "spo2"}
    assert whole.messages("REJECTED") == []


def recorded(steps, table):
    """Rows of a table as the file runner has them, by column."""
    names = [name for name, _ in TABLES[table].columns]
    return [
        dict(zip(names, record.row, strict=True)) for step in steps for record in step.records if record.table == table
    ]


def identity(row, key):
    """What DEDUP goes by, with the time in microseconds: the reader's resolution."""
    at = row["ts"]
    at_us = at // 1000 if isinstance(at, int) else round((at.replace(tzinfo=UTC) - EPOCH) / timedelta(microseconds=1))
    return (at_us, *(row[column] or "" for column in key))


def same(expected, found):
    """Values are equal; a null is an absent value or an empty name."""
    return (expected or None) == (found or None)


def caught_up(whole, flow, publisher):
    """Waits until an epoch holds everything that was published."""
    last = publisher.stream_state("VITALS")[2]

    def done():
        flow.check()
        return min(flow.metrics().get("nats_snapshot_seq", [0])) >= last

    until(done, 90, poll_s=0.2)
