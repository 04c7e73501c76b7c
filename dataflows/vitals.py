"""The dataflow: `python -m bytewax.run dataflows.vitals`.

Consumes the log of record, validates, keys by patient, runs the detectors, writes alerts, rejects and rows. The sinks
of alerts and rejects come before the database in the graph, so that an alert never waits for a row.
"""

from collections.abc import Iterable
from functools import partial

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.jetstream import JetStreamSink, JetStreamSource, OutMessage, native_options
from connectors.questdb.sink import QuestDBSink
from dataflows._native import Items, Messages, Output, Publisher, Reject, Validator
from dataflows.alerts.alert import Alert
from dataflows.monitor.patient import signals_config
from dataflows.monitor.steps import REJECTED, judge_step, signals_step
from dataflows.settings import Settings


def build(settings: Settings) -> Dataflow:
    """The graph with these settings."""
    flow = Dataflow("vitals")
    messages = op.input("log", flow, JetStreamSource(settings))
    checked = op.flat_map_batch("validate", messages, partial(validate, validator(settings)))
    items = op.filter_map_value("passed", checked, as_items)
    refused = op.filter_map_value("refused", checked, as_reject)

    signals = op.stateful_batch("signals", items, partial(signals_step, signals_config(settings.flow)))
    alerts = op.stateful_batch("judge", signals, judge_step)
    contradictions = op.flat_map_value("contradictions", signals, rejects_of)
    rejects = op.merge("rejects", refused, contradictions)

    op.output(
        "alerts", op.map_value("alert", alerts, alert_message), JetStreamSink(settings.nats, settings.streams.alerts)
    )
    op.output(
        "rejected",
        op.map_value("reject", rejects, reject_message),
        JetStreamSink(settings.nats, settings.streams.rejected),
    )
    if settings.questdb.enabled:
        stored = op.filter_value("stored", signals, has_rows)
        op.output(
            "rows",
            op.merge("storable", alerts, stored),
            QuestDBSink(settings.questdb, lambda: spill_publisher(settings)),
        )
    return flow


def spill_publisher(settings: Settings) -> Publisher:
    """Where rows go that the database does not take."""
    return Publisher(native_options(settings.nats, "rows"))


def validator(settings: Settings) -> Validator:
    """The validator with this deployment's bounds: what storage would drop is refused at the door."""
    return Validator(
        max_ahead_s=settings.flow.max_ahead_s,
        keep_waves_h=settings.questdb.waveform_ttl_h,
        keep_rows_h=settings.questdb.rows_ttl_d * 24,
    )


def validate(rules: Validator, batch: list[tuple[str, Messages]]) -> Iterable[tuple[str, Items | Reject]]:
    """Items that passed, and each message that did not."""
    for key, messages in batch:
        items, rejects = rules.check(key, messages)
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


def has_rows(output: Output) -> bool:
    """Whether there is anything to store."""
    return output.has_rows


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
        ("Vitals-Detail", reject.detail),
        ("Vitals-Subject", reject.subject),
        ("Vitals-Log-Seq", str(reject.log_seq)),
        ("Vitals-Log-Time", str(reject.log_ns)),
    )
    return OutMessage(f"rejected.v1.{reject.reason}", reject.payload, f"{reject.log_seq}", headers)


flow = build(Settings())
