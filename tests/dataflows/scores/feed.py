"""Readings and answers as the judge hands them on, and what a scorer says of them."""

import copy
import dataclasses

import msgspec

from dataflows.alerts.finding import Context, Finding, RecordedAnswers, RecordedReading, TableRow

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS

CONTEXT = Context("main", "p1", 1, frozenset(), {}, 0)


def Reading(code, value, ts_ns=START_NS, log_ns=0, **rest):  # noqa: N802  (reads as what it makes)
    return RecordedReading(code=code, value=value, ts_ns=ts_ns, log_ns=log_ns, log_seq=0, **rest)


def Answers(instrument, answers, ts_ns=START_NS, log_ns=0, **rest):  # noqa: N802
    return RecordedAnswers(instrument=instrument, answers=list(answers), ts_ns=ts_ns, log_ns=log_ns, log_seq=0, **rest)


def replace(event, **changes):
    if isinstance(event, Context):
        return dataclasses.replace(event, **changes)
    return msgspec.structs.replace(event, **changes)


def in_log(events):
    """Numbers the events and gives those without a log time the running maximum of their event times."""
    log_ns, numbered = 0, []
    for number, event in enumerate(events):
        log_ns = max(log_ns, event.log_ns or event.ts_ns)
        numbered.append(replace(event, log_ns=log_ns, log_seq=number, seq=number))
    return numbered


def feed(scorer, events, context=CONTEXT, until_ns=None):
    """Runs events through a scorer as the judge does: deadlines that are due come first, those just after last."""
    outcomes = []
    for event in in_log(events):
        outcomes += fire(scorer, event.log_ns, context)
        take = scorer.on_answers if hasattr(event, "instrument") else scorer.on_reading
        outcomes += take(event, context)
    last_ns = in_log(events)[-1].log_ns + 1 if events else 0
    outcomes += fire(scorer, max(last_ns, until_ns or 0), context)
    return outcomes


def fire(scorer, log_ns, context=CONTEXT):
    outcomes, last = [], 0
    while (due := scorer.deadline()) is not None and due[0] <= log_ns:
        assert due[0] >= last, "deadlines go forward"
        last = due[0]
        outcomes += scorer.on_deadline(due[0], context)
        assert scorer.deadline() != due, "a fired deadline is done"
    return outcomes


def said(outcomes):
    """Rule and whether it was raised, of the findings."""
    return [(one.rule, one.raised) for one in outcomes if isinstance(one, Finding)]


def findings(outcomes, rule):
    return [one for one in outcomes if isinstance(one, Finding) and one.rule == rule]


def rows(outcomes, table="scores"):
    return [one.row for one in outcomes if isinstance(one, TableRow) and one.table == table]


def reborn(scorer, restore):
    """The scorer after a restart: only what msgpack writes survives."""
    return restore(msgspec.msgpack.decode(msgspec.msgpack.encode(copy.deepcopy(scorer.state()))))


def split_feed(make, restore, events, *, cuts, context=CONTEXT, until_ns=None):
    """As `feed`, with a restart before each event whose place is in `cuts`."""
    scorer, outcomes = make(), []
    for place, event in enumerate(in_log(events)):
        if place in cuts:
            scorer = reborn(scorer, restore)
        outcomes += fire(scorer, event.log_ns, context)
        take = scorer.on_answers if hasattr(event, "instrument") else scorer.on_reading
        outcomes += take(event, context)
    last_ns = in_log(events)[-1].log_ns + 1
    return outcomes + fire(reborn(scorer, restore), max(last_ns, until_ns or 0), context)
