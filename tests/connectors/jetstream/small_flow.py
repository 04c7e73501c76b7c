"""A flow of source, state and sink as a process of its own, to be killed: `python -m tests....small_flow ID FOLDER`."""

import json
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig
from bytewax.testing import cluster_main

from connectors.jetstream import JetStreamSink, JetStreamSource, OutMessage
from dataflows.settings import Settings

EPOCH = timedelta(milliseconds=300)


def count(state, messages):
    """Alert n of a patient says which frames came in and what their sum is, so lost or doubled state shows."""
    seen, total = state or (0, 0)
    out = []
    for subject, log_seq, _, payload in messages.entries():
        if subject:
            seen, total = seen + 1, total + int(payload)
            out.append((seen, total, log_seq))
    return (seen, total), out


def alerts(item):
    key, out = item
    patient = key.split("/")[1]
    for seen, total, log_seq in out:
        body = json.dumps([seen, total, log_seq]).encode()
        yield key, OutMessage(f"alerts.v1.main.{patient}.count", body, f"{patient}.{seen}")


def build(settings):
    flow = Dataflow("small")
    stream = op.input("log", flow, JetStreamSource(settings))
    counted = op.stateful_map("count", stream, count)
    op.output("alerts", op.flat_map("alert", counted, alerts), JetStreamSink(settings.nats, settings.streams.alerts))
    return flow


def main():
    """Runs until killed, or until something fails."""
    logging.basicConfig(level=logging.INFO)
    folder = Path(sys.argv[2])
    settings = Settings.model_validate_json((folder / "settings.json").read_text())
    addresses = json.loads(os.environ["ADDRESSES"])
    recovery = RecoveryConfig(str(folder / "recovery"))
    workers = int(os.environ["WORKERS"])
    cluster_main(
        build(settings),
        addresses,
        int(sys.argv[1]),
        epoch_interval=EPOCH,
        recovery_config=recovery,
        worker_count_per_proc=workers,
    )


if __name__ == "__main__":
    main()
