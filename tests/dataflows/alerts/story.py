"""A patient's story told to a judge in seconds, and what the judge says of it."""

import json

from dataflows.alerts.alert import Alert
from dataflows.alerts.commands import RecordedCommand
from dataflows.alerts.finding import Finding, RecordedReading
from dataflows.monitor.judge import Judge

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000


def ns(at_s):
    return START_NS + round(at_s * SECOND_NS)


def finding(at_s, rule="pause", raised=True, log_seq=None, **changes):
    """A finding whose condition began now, by an ECG lead."""
    values = {
        "rule": rule, "raised": raised, "device": "patch", "boot": 1, "signal": "ecg_ii",
        "seq": round(at_s), "code": "",
        "onset": round(at_s * 250), "onset_ns": ns(at_s), "value": 4.0, "limit": 3.0,
        "evidence_ns": (ns(at_s), ns(at_s)),
        "sample_ns": ns(at_s), "log_seq": round(at_s * 10) if log_seq is None else log_seq, "log_ns": ns(at_s),
    }  # fmt: skip
    return Finding(**values | changes)


def reading(at_s, code, value, **changes):
    """A reading that came the moment it was taken."""
    values = {"code": code, "value": value, "ts_ns": ns(at_s), "log_ns": ns(at_s), "log_seq": round(at_s * 10)}
    return RecordedReading(**values | changes)


def command(at_s, name, key=None, actor="nurse", **argument):
    """A command; its key is its time unless told."""
    key = key or f"{name}@{at_s}"
    return RecordedCommand(
        name=name, actor=actor, idempotency_key=key, log_ns=ns(at_s), log_seq=round(at_s * 10),
        argument_json=json.dumps(argument),
    )  # fmt: skip


class Story:
    """A judge and everything it said."""

    def __init__(self, judge=None):
        self.judge = judge or Judge(scorers={})
        self.said = []

    def tell(self, *events, until_s=None):
        """Events in order, then log time up to `until_s`; returns what was said of them."""
        last = max((event.log_ns for event in events), default=START_NS)
        said = self.judge.on_events("main", "p1", events, last if until_s is None else max(last, ns(until_s)))
        self.said += said
        return said

    def events(self, *events, until_s=None):
        """As `tell`, and returns (second, rule, event, state) of each transition."""
        return [short(one) for one in self.tell(*events, until_s=until_s) if isinstance(one, Alert)]

    @property
    def alerts(self):
        return [one for one in self.said if isinstance(one, Alert)]

    def all_rows(self):
        """(table, row) of everything."""
        return [(name, row) for one in self.said for name, many in one.rows() for row in many]

    def rows(self, table):
        """Rows of a table, without what the patient was introduced with."""
        rows = [row for name, row in self.all_rows() if name == table]
        return [row for row in rows if table != "thresholds" or row[13]]


def short(alert):
    at_s = (alert.log_ns - START_NS) / SECOND_NS
    return (int(at_s) if at_s == int(at_s) else at_s, alert.rule, alert.event.value, alert.state.value)
