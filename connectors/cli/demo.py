"""`vitals demo`: the main job on recorded patients, from servers to alerts, in about a minute."""

import asyncio
import fcntl
import json
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from connectors.cli import alerts as alerts_command
from connectors.cli.console import CliError, console, load_settings, nats_client, say
from connectors.cli.replay import progress_bar, read_recordings, run
from connectors.devices.plan import Plan
from connectors.devices.recording import Recording
from connectors.devices.samples import ALL
from connectors.local.flow import FlowProcess
from connectors.local.own import SMALL_STREAMS, own_stack
from connectors.local.ports import LOOPBACK
from connectors.local.process import StackError, end_leftover, port_is_free
from connectors.local.stack import Stack
from connectors.questdb.reads import QuestDBReader
from dataflows.settings import Settings

_CATCH_UP_S = 120.0
_TABLES = ("observations", "waveforms", "beats", "desaturations", "alerts", "quality", "late_frames")


def _port(preferred: int, taken: set[int]) -> int:
    """The usual port, or the next free one above it."""
    port = next(port for port in range(preferred, 65536) if port not in taken and port_is_free(LOOPBACK, port))
    taken.add(port)
    return port


def demo_settings(folder: Path) -> tuple[Settings, int]:
    """Settings of a stack of its own, log time in the header, on the usual ports as far as they are free.

    Returns:
        The settings, and a port for the flow's metrics.
    """
    taken: set[int] = set()
    *ports, metrics = (_port(port, taken) for port in (4222, 9000, 8812, 9003, 3030))
    settings = own_stack(load_settings(), folder, ports)
    streams = settings.streams.model_copy(update={"log_time": "header", **SMALL_STREAMS})
    return settings.model_copy(update={"streams": streams}), metrics


def make_anew(folder: Path) -> None:
    """Empties the folder of an earlier demo, and ends what one that was killed has left running.

    Raises:
        CliError: A demo runs there now.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stack.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"a demo runs already in {folder}: stop it with Ctrl-C in its terminal"
            raise CliError(message) from None
        for pid_file in folder.rglob("*.pid"):
            end_leftover(pid_file, say, pid_file.stem)
        shutil.rmtree(folder)


@contextmanager
def running_flow(stack: Stack, api_port: int) -> Iterator[FlowProcess]:
    """The flow for the time of a `with`."""
    flow = FlowProcess(stack.settings, stack.data_dir / "flow", stack.environment(), api_port)
    flow.start()
    try:
        yield flow
    finally:
        flow.stop()


def done_to(flow: FlowProcess) -> int:
    """Returns the sequence up to which every partition is read, judged, written and snapshotted; -1 before that."""
    return int(min(flow.metrics().get("nats_snapshot_seq", []), default=-1))


def wait_for_flow(flow: FlowProcess, seq: int) -> None:
    """Waits until the flow is done with everything up to `seq`.

    Raises:
        CliError: The flow ended, or does not get there.
    """
    try:
        flow.wait_until(lambda: done_to(flow) >= seq, _CATCH_UP_S)
    except StackError as error:
        message = f"the flow is at {done_to(flow)} of {seq} messages: {error}"
        raise CliError(message) from error


async def _log_end(settings: Settings) -> int:
    async with nats_client(settings, "vitals demo") as client:
        return (await client.jetstream().stream_info(settings.streams.vitals)).state.last_seq


async def _drained(settings: Settings) -> None:
    """Waits until SPILL is empty: on a busy machine QuestDB is late at times, and its rows take that way."""
    async with nats_client(settings, "vitals demo") as client:
        js = client.jetstream(timeout=settings.nats.ack_timeout_s)
        deadline = time.monotonic() + _CATCH_UP_S
        while waiting := (await js.stream_info(settings.streams.spill)).state.messages:
            if time.monotonic() > deadline:
                message = f"{waiting} messages still wait in {settings.streams.spill} for QuestDB: is it well?"
                raise CliError(message)
            await asyncio.sleep(0.2)


async def _outcome(settings: Settings) -> tuple[list[dict[str, object]], int]:
    """Alerts as published, and how many messages were rejected."""
    async with nats_client(settings, "vitals demo") as client:
        messages = await alerts_command.read(client, settings, "alerts.v1.>")
        info = await client.jetstream().stream_info(settings.streams.rejected, subjects_filter="rejected.v1.>")
        return [json.loads(message.data) for message in messages], sum((info.state.subjects or {}).values())


def show_rows(reader: QuestDBReader) -> None:
    """Prints what arrived in QuestDB: rows per table, beats per lead, desaturations."""
    counts = Table("table", "rows", box=None, title="QuestDB", title_justify="left", pad_edge=False)
    for name in _TABLES:
        counts.add_row(name, str(reader.count(name)))
    console.print(counts)
    beats = reader.query(
        "SELECT patient, signal, count() beats, 60000.0 / avg(rr_ms) mean_rate, min(ts) first, max(ts) last "
        "FROM beats ORDER BY patient, signal"
    )
    table = Table("patient", "lead", "beats", "mean rate /min", "first", "last", box=None, pad_edge=False)
    table.title, table.title_justify = "\nBeats", "left"
    for row in beats.iter_rows(named=True):
        times = (row["first"].strftime("%H:%M:%S.%f")[:-3], row["last"].strftime("%H:%M:%S.%f")[:-3])
        table.add_row(row["patient"], row["signal"], str(row["beats"]), f"{row['mean_rate']:.0f}", *times)
    console.print(table)
    found = reader.query("SELECT ts, patient, kind, baseline_pct, nadir_pct, drop_pct, end_ns FROM desaturations")
    table = Table("patient", "onset", "kind", "baseline %", "nadir %", "drop", "lasted s", box=None, pad_edge=False)
    table.title, table.title_justify = "\nDesaturations", "left"
    for row in found.iter_rows(named=True):
        lasted_s = row["end_ns"] / 1e9 - row["ts"].timestamp()
        values = (f"{row['baseline_pct']:.0f}", f"{row['nadir_pct']:.0f}", f"{row['drop_pct']:.0f}", f"{lasted_s:.0f}")
        table.add_row(row["patient"], row["ts"].strftime("%H:%M:%S"), row["kind"], *values)
    console.print(table)


def complaints(reader: QuestDBReader, recordings: list[Recording], alerts: int, rejected: int) -> list[str]:
    """Returns what is not as it must be: samples lost or doubled, rejects, alerts that are in one place only."""
    found = []
    wanted = sum(wave.counts.size for recording in recordings for wave in recording.waves)
    stored = int(reader.query("SELECT sum(array_count(samples)) n FROM waveforms")["n"][0] or 0)
    invalid = sum(int((wave.counts == -32768).sum()) for recording in recordings for wave in recording.waves)
    if stored not in {wanted, wanted - invalid}:
        found.append(f"{stored} samples are in QuestDB, {wanted} were recorded")
    readings = sum(len(r) for recording in recordings if recording.numerics for r in recording.numerics.readings)
    if (rows := reader.count("observations")) != readings:
        found.append(f"{rows} observations are in QuestDB, {readings} were recorded")
    if (rows := reader.count("alerts")) != alerts:
        found.append(f"{rows} alerts are in QuestDB, {alerts} in ALERTS")
    if rejected:
        found.append(f"{rejected} messages were rejected")
    return found


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the servers up until Ctrl-C, to look around.")] = False,
    speed: Annotated[float, typer.Option(min=0, help="Times as fast as life.")] = 50.0,
) -> None:
    """Run the main job on recorded patients: servers, replay, flow, and what came of it.

    Four recordings become four patients of a stack in `.vitals/demo`, which is made anew each time.
    """
    # A service manager's stop unwinds like Ctrl-C, so that no server stays behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    folder = (load_settings().stack.data_dir / "demo").absolute()
    make_anew(folder)
    settings, api_port = demo_settings(folder)
    say("1. Servers")
    with Stack(settings, say) as stack:
        say("\n2. Dataflow: python -m bytewax.run dataflows.vitals")
        with running_flow(stack, api_port) as flow:
            say("\n3. Recorded patients, published as devices would")
            recordings = read_recordings(ALL, None, None)
            with progress_bar(f"replay at {speed:g}x") as progress:
                publisher = asyncio.run(run(settings, Plan(recordings, speed=speed), progress))
            say(f"{publisher.stored} messages stored; waiting for the flow to judge them and for QuestDB to show them")
            wait_for_flow(flow, asyncio.run(_log_end(settings)))
        asyncio.run(_drained(settings))
        reader = QuestDBReader(settings.questdb)
        reader.wait_applied()
        say("\n4. What arrived\n")
        show_rows(reader)
        alerts, rejected = asyncio.run(_outcome(settings))
        console.print("\nAlerts (stream ALERTS)", style="italic")
        for alert in alerts:
            console.print(alerts_command.line(alert), soft_wrap=True)
        raised = Counter(str(alert["rule"]) for alert in alerts if alert["event"] == "raised")
        say(f"{sum(raised.values())} alerts: {', '.join(f'{count} {rule}' for rule, count in raised.most_common())}")
        problems = complaints(reader, recordings, len(alerts), rejected)
        for problem in problems:
            say(f"NOT AS IT SHOULD BE: {problem}")
        if not problems:
            say("Every sample and reading is in QuestDB once, every alert in both places, nothing was rejected.")
        _next_steps(settings, keep)
        if keep:
            _wait(stack)
    raise typer.Exit(1 if problems else 0)


def _next_steps(settings: Settings, keep: bool) -> None:
    say("\nWhere to look next")
    if keep:
        say(f"  web console   {settings.questdb.http_url}   tables beats, alerts, waveforms, view vitals_wide")
        say(f"  alerts        VITALS_NATS__URL={settings.nats.url} .venv/bin/vitals alerts --follow")
        say("  Ctrl-C stops the servers")
    else:
        say("  .venv/bin/vitals demo --keep         leaves the servers up: QuestDB's web console, `vitals alerts`")
    say("  .venv/bin/vitals up, flow, replay    the same by hand: one terminal each, `vitals --help` says the rest")
    say("  .venv/bin/vitals batch RECORD        the same detectors on a file of yours, without servers")
    say("  docs/architecture.md                 the path of one heartbeat, and where a signal or a rule goes")


def _wait(stack: Stack) -> None:
    try:
        while True:
            stack.check()
            time.sleep(0.5)
    except KeyboardInterrupt:
        say("stopping")
