"""The dataflow: `python -m bytewax.run dataflows.vitals`.

Consumes the log of record, validates, keys by patient, runs the detectors, writes alerts, rejects and rows. The sinks
of alerts and rejects come before the database in the graph, so that an alert never waits for a row.
"""

import gc
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.outputs import FixedPartitionedSink

from connectors.jetstream import JetStreamSink, JetStreamSource, OutMessage, native_options
from connectors.local.recovery import claim
from connectors.questdb.sink import QuestDBSink
from connectors.rules import read_rules
from dataflows._native import Items, Messages, Output, Publisher, Reject, Validator
from dataflows.alerts.alert import Alert
from dataflows.contracts.frames import FLOW_REJECTS, header_text, rejected_subject
from dataflows.monitor.checking import validator
from dataflows.monitor.patient import signals_config
from dataflows.monitor.steps import COMMANDS, RECEIVED, REJECTED, judge_step, signals_step
from dataflows.settings import Settings


@dataclass(frozen=True)
class Ends:
    """Where the log comes from and where the outputs go: the live ones, or those of a replay of the history.

    Attributes:
        log: The log of record, by patient.
        alerts: Takes alerts as `OutMessage`s; None where they are not wanted.
        rejected: Takes rejects as `OutMessage`s; None where they are not wanted.
        rows: Takes whatever has rows; None where rows are not wanted.
        prefix: Before the names of the output steps: recovery state of other sinks is none of theirs.
    """

    log: FixedPartitionedSource[tuple[str, Messages], bytes]
    alerts: FixedPartitionedSink[Any, Any] | None
    rejected: FixedPartitionedSink[Any, Any] | None
    rows: FixedPartitionedSink[Any, Any] | None
    prefix: str = ""


def live_ends(settings: Settings) -> Ends:
    """The streams and the database."""
    rows = QuestDBSink(settings.questdb, lambda: Publisher(native_options(settings.nats, "rows")))
    return Ends(
        JetStreamSource(settings),
        JetStreamSink(settings.nats, settings.streams.alerts),
        JetStreamSink(settings.nats, settings.streams.rejected, subjects=FLOW_REJECTS),
        rows if settings.questdb.enabled else None,
    )


def build(settings: Settings, ends: Ends | None = None) -> Dataflow:
    """The graph with these settings."""
    ends = ends or live_ends(settings)
    flow = Dataflow("vitals")
    messages = op.input("log", flow, ends.log)
    checked = op.flat_map_batch("validate", messages, partial(validate, validator(settings)))
    items = op.filter_map_value("passed", checked, as_items)
    refused = op.filter_map_value("refused", checked, as_reject)

    rules = read_rules(settings.flow.rules)
    signals = op.stateful_batch("signals", items, partial(signals_step, signals_config(settings, rules)))
    verdicts = op.stateful_batch("judge", signals, partial(judge_step, rules))
    if ends.alerts is not None:
        alerts = op.filter_map_value("transitions", verdicts, as_alert)
        op.output(f"{ends.prefix}alerts", op.map_value("alert", alerts, alert_message), ends.alerts)
    if ends.rejected is not None:
        contradictions = op.flat_map_value("contradictions", signals, rejects_of)
        rejects = op.merge("rejects", refused, contradictions)
        op.output(f"{ends.prefix}rejected", op.map_value("reject", rejects, reject_message), ends.rejected)
    if ends.rows is not None:
        op.output(f"{ends.prefix}rows", verdicts, ends.rows)
    return flow


def validate(rules: Validator, batch: list[tuple[str, Messages]]) -> Iterable[tuple[str, Items | Reject]]:
    """Items that passed, and each message that did not."""
    for key, messages in batch:
        RECEIVED.inc(messages.received)
        items, rejects = rules.check(key, messages)
        if commands := items.commands:
            COMMANDS.inc(commands)
        if len(items):
            yield key, items
        for reject in rejects:
            REJECTED.inc()
            yield key, reject


def as_items(checked: Items | Reject) -> Items | None:
    """What passed the validator."""
    return checked if isinstance(checked, Items) else None


def as_reject(checked: Items | Reject) -> Reject | None:
    """What did not."""
    return checked if isinstance(checked, Reject) else None


def as_alert(verdict: object) -> Alert | None:
    """What is published; the rest of what the judge says goes to the database alone."""
    return verdict if isinstance(verdict, Alert) else None


def rejects_of(output: Output) -> list[Reject]:
    """Frames that contradict others."""
    return output.rejects


def alert_message(alert: Alert) -> OutMessage:
    """The alert as it is published."""
    return OutMessage(alert.subject(), alert.body(), alert.message_id, ())


def reject_message(reject: Reject) -> OutMessage:
    """The original bytes, with everything needed to look at them and to re-drive them in the headers."""
    headers = (
        ("Vitals-Reason", reject.reason),
        ("Vitals-Detail", header_text(reject.detail)),
        ("Vitals-Subject", header_text(reject.subject)),
        ("Vitals-Log-Seq", str(reject.log_seq)),
        ("Vitals-Log-Time", str(reject.log_ns)),
    )
    subject = rejected_subject(reject.reason, reject.subject, "flow")
    # The moment to the nanosecond, beside a place in the log that is no secret: REJECTED drops what has an id that it
    # knows, and a bridge whose identity was stolen could use the ids of the next messages before the flow does.
    return OutMessage(subject, reject.payload, f"{reject.log_seq}.{reject.log_ns}", headers)


def spare_the_collector() -> None:
    """Lets the garbage collector look at what is new, and seldom.

    A flood makes millions of short-lived objects, none in a cycle. By the interpreter's defaults the flow looked
    through all that was imported again and again meanwhile, and other patients' alerts waited (`bench/flood.py`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


claim(sys.argv[1:], os.environ)
flow = build(Settings())
spare_the_collector()
