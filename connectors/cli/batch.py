"""`vitals batch`: the monitors over files, the same logic as the flow, without servers."""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from connectors.cli.alerts import line
from connectors.cli.console import console, load_settings, say
from connectors.cli.replay import read_recordings
from connectors.devices.plan import CLOSING_TICK_S, Log, Plan
from connectors.devices.replay import merged
from connectors.devices.samples import ALL
from connectors.questdb.frames import table_frame
from connectors.rules import read_rules
from dataflows.alerts.alert import Alert
from dataflows.contracts.tables import TABLES
from dataflows.monitor.checking import validator
from dataflows.monitor.patient import Entry, Step, run, signals_config
from dataflows.monitor.rows import Row
from dataflows.settings import Settings


def entries(plan: Plan, now_ns: int) -> Iterator[Entry]:
    """Yields the log that a replay of the plan would give, and a tick at its end."""
    number = log_ns = 0
    for number, publication in enumerate(merged(plan.replays(Log(True, 1, 0), now_ns)), 1):
        log_ns = publication.log_ns
        yield publication.subject.encode(), number, log_ns, publication.payload
    yield b"", number + 1, log_ns + CLOSING_TICK_S * 1_000_000_000, b""


def steps(settings: Settings, plan: Plan) -> Iterator[Step]:
    """Runs the plan through the monitors."""
    flow = settings.flow
    log = entries(plan, time.time_ns())
    return run(log, validator(settings), config=signals_config(settings, replay=True), rules=read_rules(flow.rules))


def batch(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            help="WFDB records (path without ending) or numerics (.csv). Default: the sample.", show_default=False
        ),
    ] = None,
    *,
    signals: Annotated[
        str | None,
        typer.Option(help="Signals to take: MLII,V5 or, to say what one is, V=ecg_v1,ECG1=ecg_ii.", show_default=False),
    ] = None,
    duration: Annotated[float | None, typer.Option(min=1, help="Only the first seconds.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the rows (TABLE.parquet) and the alerts (alerts.jsonl).", show_default=False),
    ] = None,
) -> None:
    """Run files through validation, detectors and rules here and now, without NATS or QuestDB.

    What comes out is what the flow writes for a replay of the same files.
    """
    settings = load_settings()
    plan = Plan(read_recordings(records or ALL, signals, duration), speed=0)
    began_s = time.perf_counter()
    tables: dict[str, list[Row]] = {}
    alerts: list[Alert] = []
    rejects: Counter[str] = Counter()
    for step in steps(settings, plan):
        for name, rows in step.output.rows():
            tables.setdefault(name, []).extend(rows)
        alerts += step.alerts
        for record in step.records:
            for name, rows in record.rows():
                tables.setdefault(name, []).extend(rows)
        rejects.update(reject.reason for reject in step.rejects)
    # Patients were taken batch by batch; people read in the order of time.
    alerts.sort(key=lambda alert: (alert.log_ns, alert.log_seq))
    for alert in alerts:
        for name, rows in alert.rows():
            tables.setdefault(name, []).extend(rows)
    spent_s = time.perf_counter() - began_s
    recorded_s = sum(recording.duration_s for recording in plan.recordings)
    for alert in alerts:
        console.print(line(msgspec.to_builtins(alert)), soft_wrap=True)
    counts = ", ".join(f"{len(tables[name])} {name}" for name in TABLES if name in tables)
    say(f"{recorded_s:.0f} s of recordings in {spent_s:.2f} s: {counts or 'no rows'}")
    if rejects:
        say("rejected: " + ", ".join(f"{count} as {reason}" for reason, count in rejects.most_common()))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in tables.items():
            table_frame(name, rows).write_parquet(out / f"{name}.parquet")
        (out / "alerts.jsonl").write_bytes(b"".join(alert.body() + b"\n" for alert in alerts))
        say(f"written to {out}: {', '.join(f'{name}.parquet' for name in tables)}, alerts.jsonl")
