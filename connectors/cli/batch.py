"""`vitals batch`: the monitors over files, the same logic as the flow, without servers."""

import os
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from connectors.batch.sources import Archived, Recorded, Source, is_lake, patients, recordings_in
from connectors.batch.work import Result, analyse_all, join_parts
from connectors.cli.alerts import line
from connectors.cli.console import CliError, console, load_settings, say
from connectors.cli.noted import note_read
from connectors.cli.replay import progress_bar, read_recordings
from connectors.devices.plan import Plan
from connectors.devices.samples import ALL
from dataflows.contracts.tables import TABLES
from dataflows.settings import Settings

_FOR_A_PROCESS = 4


def sources_of(paths: list[Path], signals: str | None, duration: float | None) -> list[Source]:
    """Returns what the paths of the command line name.

    Raises:
        RecordingError: A folder holds nothing, or a record cannot be read.
        CliError: Two recordings have one name: they would be one patient.
    """
    lakes = [path for path in paths if path.is_dir() and is_lake(path)]
    files: list[Path] = []
    for path in paths:
        if path not in lakes:
            files += recordings_in(path) if path.is_dir() else [path]
    doubled = [name for name, count in Counter(path.name for path in files).items() if count > 1]
    if doubled:
        message = f"several recordings are called {', '.join(sorted(doubled))}: run them one after the other"
        raise CliError(message)
    found: list[Source] = [one for lake in lakes for one in patients(lake)]
    if files:
        named = any(not path.is_dir() for path in paths)
        start_ns = _start_ns(files, signals, duration) if named else time.time_ns()
        found += [Recorded(path, signals, duration, start_ns) for path in files]
    return found


def _start_ns(files: list[Path], signals: str | None, duration: float | None) -> int:
    """Says what the named recordings are; they end now, as in a replay."""
    plan = Plan(read_recordings(files, signals, duration), speed=0)
    longest_s = max(recording.duration_s for recording in plan.recordings)
    return time.time_ns() - round(longest_s * 1e9)


def batch(
    records: Annotated[
        list[Path] | None,
        typer.Argument(
            help="WFDB records (path without ending), numerics (.csv), folders of them, or a data lake. "
            "Default: the sample.",
            show_default=False,
        ),
    ] = None,
    *,
    signals: Annotated[
        str | None,
        typer.Option(help="Signals to take: MLII,V5 or, to say what one is, V=ecg_v1,ECG1=ecg_ii.", show_default=False),
    ] = None,
    duration: Annotated[float | None, typer.Option(min=1, help="Only the first seconds.", show_default=False)] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. Default: by the number of recordings.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the rows (TABLE.parquet) and the alerts (alerts.jsonl).", show_default=False),
    ] = None,
) -> None:
    """Run files through validation, detectors and rules here and now, without NATS or QuestDB.

    What comes out is what the flow writes for a replay of the same files, each a log of its own. A folder is searched
    for recordings; a data lake (docs/lake.md) gives every patient's frames as they came.
    """
    settings = load_settings()
    sources = sources_of(records or list(ALL), signals, duration)
    if any(isinstance(source, Archived) for source in sources):
        note_read(settings, f"batch {' '.join(str(path) for path in records or [])}")
    began_s = time.perf_counter()
    parts = Path(tempfile.mkdtemp(prefix="vitals-batch-", dir=_made(out))) if out is not None else None
    try:
        results = _analysed(settings, sources, jobs or _processes(len(sources)), parts)
        spent_s = time.perf_counter() - began_s
        _tell(results, spent_s)
        if out is not None and parts is not None:
            names = join_parts(parts, out)
            bodies = [body + b"\n" for _, _, body in _transitions(results)]
            (out / "alerts.jsonl").write_bytes(b"".join(bodies))
            say(f"written to {out}: {', '.join(f'{name}.parquet' for name in names)}, alerts.jsonl")
    finally:
        if parts is not None:
            shutil.rmtree(parts, ignore_errors=True)
    if any(result.problem for result in results):
        raise typer.Exit(1)


def _processes(recordings: int) -> int:
    """A process takes seconds to start, which a few recordings do not earn."""
    return max(1, min(os.cpu_count() or 1, recordings // _FOR_A_PROCESS))


def _made(out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    return out


def _analysed(settings: Settings, sources: list[Source], jobs: int, parts: Path | None) -> list[Result]:
    results = []
    with progress_bar("batch", "recordings") as progress:
        for result in analyse_all(settings, sources, jobs, parts):
            results.append(result)
            progress(len(results), len(sources))
    return sorted(results, key=lambda result: result.name)


def _transitions(results: list[Result]) -> list[tuple[int, int, bytes]]:
    """Every transition in the order of time: sources were taken one by one."""
    return sorted((one for result in results for one in result.alerts), key=lambda one: one[:2])


def _tell(results: list[Result], spent_s: float) -> None:
    for _, _, body in _transitions(results):
        console.print(line(msgspec.json.decode(body)), soft_wrap=True)
    rows: Counter[str] = sum((result.rows for result in results), Counter())
    rejects: Counter[str] = sum((result.rejects for result in results), Counter())
    counts = ", ".join(f"{rows[name]} {name}" for name in TABLES if rows[name])
    recorded_s = sum(result.seconds for result in results)
    say(f"{recorded_s:.0f} s of recordings in {spent_s:.2f} s: {counts or 'no rows'}")
    if rejects:
        say("rejected: " + ", ".join(f"{count} as {reason}" for reason, count in rejects.most_common()))
    for result in results:
        if result.problem:
            say(f"left out: {result.problem}")
