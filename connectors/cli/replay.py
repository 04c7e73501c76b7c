"""`vitals replay`: recorded patients published as if they were measured now."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from connectors.cli.console import CliError, console, load_settings, nats_client, say
from connectors.devices.load import load, signal_selection
from connectors.devices.plan import CLOSING_TICK_S, Log, Plan
from connectors.devices.publisher import Publisher, play
from connectors.devices.recording import Recording
from connectors.devices.replay import Publication, check, merged
from connectors.devices.samples import ALL
from connectors.jetstream.streams import LOG_TIME, PARTITIONS, ensure_streams_async
from dataflows._native import tick_token
from dataflows.contracts.frames import DEFAULT_TENANT, LOG_TIME_HEADER
from dataflows.settings import Settings

_NS_PER_S = 1_000_000_000


async def look_at_log(client: Client, settings: Settings) -> Log:
    """Reads from the stream itself what log time is, how many partitions it has, and how far it is."""
    js = client.jetstream(timeout=settings.nats.ack_timeout_s)
    name = settings.streams.vitals
    metadata = (await js.stream_info(name)).config.metadata or {}
    header_time = metadata.get(LOG_TIME) == "header"
    last_ns = 0
    if header_time:
        try:
            last = await js.get_last_msg(name, "vp.>")
            last_ns = int((last.headers or {}).get(LOG_TIME_HEADER, "0"))
        except NotFoundError:
            pass
    return Log(header_time, int(metadata.get(PARTITIONS) or settings.streams.partitions), last_ns)


def closing_ticks(log: Log, last_ns: int) -> Iterator[Publication]:
    """Yields a tick for each partition, `CLOSING_TICK_S` of log time after the end."""
    at_ns = last_ns + CLOSING_TICK_S * _NS_PER_S
    for partition in range(log.partitions):
        token = tick_token(partition, log.partitions)
        yield Publication(at_ns, f"vitals.v1.tick.{token}.broker.tick", f"tick/{token}/{at_ns}", b"")


async def run(settings: Settings, plan: Plan, progress: Callable[[int, int], None]) -> Publisher:
    """Replays a plan.

    Args:
        settings: Where NATS is.
        plan: What to replay.
        progress: Told the messages sent and their total.

    Returns:
        The publisher, which knows what the server stored.

    Raises:
        CliError: NATS does not answer.
        PublishError: The server refused a message.
        RecordingError: The pipeline would reject the frames.
    """
    async with nats_client(settings, "vitals replay") as client:
        await ensure_streams_async(settings)
        log = await look_at_log(client, settings)
        if not log.header_time and plan.speed != 1:
            say("note: this log keeps the server's time, so what depends on silence sees the replay pass this fast")
        replays = plan.replays(log, time.time_ns())
        for one in replays[:: plan.patients]:
            check(one)
        total = sum(one.count() for one in replays)
        publisher = Publisher(client, settings.nats.ack_timeout_s, with_log_time=log.header_time)
        last_ns = await play(merged(replays), publisher, speed=plan.speed, progress=lambda sent: progress(sent, total))
        if log.header_time:
            await play(closing_ticks(log, last_ns), publisher, speed=0)
        return publisher


def read_recordings(paths: Iterable[Path], signals: str | None, duration_s: float | None) -> list[Recording]:
    """Reads the recordings and says what they are."""
    recordings = []
    for path in paths:
        recording = load(path, signal_selection(signals) if signals else None)
        if duration_s is not None:
            recording = recording.cut(duration_s)
        minutes, seconds = divmod(round(recording.duration_s), 60)
        say(f"{recording.name}, {minutes}:{seconds:02} min: {'; '.join(recording.describe())}")
        for note in recording.notes:
            say(f"  note: {note}")
        recordings.append(recording)
    return recordings


@contextmanager
def progress_bar(what: str, unit: str = "messages") -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, a line for each tenth elsewhere."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        tenth = 0

        def update(done: int, total: int) -> None:
            nonlocal tenth
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and done * 10 // total > tenth:
                tenth = done * 10 // total
                say(f"{what}: {tenth}0 % of {total} {unit}")

        yield update


def replay(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            help="WFDB records (path without ending) or numerics (.csv). Default: the sample.", show_default=False
        ),
    ] = None,
    *,
    speed: Annotated[float, typer.Option(min=0, help="Times as fast as life; 0 is as fast as NATS takes it.")] = 50.0,
    realtime: Annotated[bool, typer.Option("--realtime", help="As fast as life: --speed 1.")] = False,
    patients: Annotated[
        int, typer.Option(min=1, help="Copies of each record, as NAME-1 to NAME-N, shifted in time.")
    ] = 1,
    signals: Annotated[
        str | None,
        typer.Option(help="Signals to take: MLII,V5 or, to say what one is, V=ecg_v1,ECG1=ecg_ii.", show_default=False),
    ] = None,
    duration: Annotated[float | None, typer.Option(min=1, help="Only the first seconds.", show_default=False)] = None,
    patient: Annotated[
        str | None, typer.Option(help="Name of the patient. Default: the record's.", show_default=False)
    ] = None,
    tenant: Annotated[str, typer.Option(help="Organisation.")] = DEFAULT_TENANT,
    device: Annotated[str, typer.Option(help="Name of the device.")] = "replay",
    start: Annotated[
        datetime | None,
        typer.Option(help="Device time (UTC) of the start. Default: such that it ends now.", show_default=False),
    ] = None,
    boot: Annotated[
        int | None, typer.Option(min=0, help="Start counter of the device. Default: grows.", show_default=False)
    ] = None,
    stagger: Annotated[float, typer.Option(min=0, help="Seconds between the starts of copies.")] = 0.137,
) -> None:
    """Publish recorded patients as if they were measured now.

    Frames last a second and carry the samples as they were recorded, gaps included. In a stream whose log time is the
    header's (VITALS_STREAMS__LOG_TIME=header when it is made) a replay that is faster than life is judged as if it had
    taken its time; in others, what depends on silence sees it pass as fast as it does.
    """
    if patient is not None and len(records or ALL) > 1:
        message = "--patient names one patient, and there are several records; leave it out to name them by record"
        raise CliError(message)
    settings = load_settings()
    recordings = read_recordings(records or ALL, signals, duration)
    start_ns = None if start is None else round(start.replace(tzinfo=UTC).timestamp()) * _NS_PER_S
    plan = Plan(
        recordings, patient, tenant, device, boot, patients, stagger, 1.0 if realtime else speed, start_ns
    )  # fmt: skip
    began_s = time.monotonic()
    with progress_bar("replay") as progress:
        publisher = asyncio.run(run(settings, plan, progress))
    known = f" ({publisher.duplicates} of them known before)" if publisher.duplicates else ""
    say(f"{publisher.stored} messages stored{known} in {time.monotonic() - began_s:.1f} s")
