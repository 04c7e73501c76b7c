"""A source through the monitors, here or in another process, and the rows of many sources put together."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from connectors.batch.sources import Source, entries
from connectors.devices.plan import Plan
from connectors.devices.recording import RecordingError
from connectors.questdb.frames import table_frame
from connectors.rules import read_rules
from dataflows.monitor.checking import validator
from dataflows.monitor.patient import Entry, Step, run, signals_config
from dataflows.monitor.rows import Row
from dataflows.settings import Settings


@dataclass
class Result:
    """What became of a source.

    Attributes:
        name: Of the source.
        seconds: From its first to its last message, log time.
        rows: How many rows of each table.
        alerts: Transitions: log time, log sequence, body.
        rejects: How many messages were refused, by reason.
        problem: Why the source could not be read, in words.
    """

    name: str
    seconds: float = 0.0
    rows: Counter[str] = field(default_factory=Counter)
    alerts: list[tuple[int, int, bytes]] = field(default_factory=list)
    rejects: Counter[str] = field(default_factory=Counter)
    problem: str = ""


def judged(settings: Settings, log: Iterable[Entry]) -> Iterator[Step]:
    """Runs a log through the monitors, as a replay."""
    rules = read_rules(settings.flow.rules)
    return run(log, validator(settings), config=signals_config(settings, rules, replay=True), rules=rules)


def steps(settings: Settings, plan: Plan, now_ns: int = 0) -> Iterator[Step]:
    """Runs a plan through the monitors, all its patients in one log."""
    return judged(settings, entries(plan, now_ns))


def analyse(settings: Settings, source: Source, parts: Path | None) -> Result:
    """Runs one source; writes its rows to `<parts>/<table>/<source>.parquet` where a folder is named."""
    result = Result(source.name)
    tables: dict[str, list[Row]] = {}
    times: list[int] = []

    def noting(log: Iterator[Entry]) -> Iterator[Entry]:
        for entry in log:
            if entry[0]:
                times[:] = [times[0] if times else entry[2], entry[2]]
            yield entry

    try:
        for step in judged(settings, noting(source.log())):
            for found in (step.output, *step.verdicts):
                for name, rows in found.rows():
                    tables.setdefault(name, []).extend(rows)
            result.alerts += [(alert.log_ns, alert.log_seq, alert.body()) for alert in step.alerts]
            result.rejects.update(reject.reason for reject in step.rejects)
    except RecordingError as error:
        result.problem = str(error)
        return result
    result.seconds = (times[-1] - times[0]) / 1e9 if times else 0.0
    result.rows.update({name: len(rows) for name, rows in tables.items()})
    if parts is not None:
        for name, rows in tables.items():
            place = parts / name / f"{source.name.replace('/', '.')}.parquet"
            place.parent.mkdir(parents=True, exist_ok=True)
            table_frame(name, rows).write_parquet(place)
    return result


def analyse_all(settings: Settings, sources: list[Source], jobs: int, parts: Path | None) -> Iterator[Result]:
    """Yields the result of each source as it is done; each is a log of its own, so results do not depend on `jobs`."""
    if jobs == 1 or len(sources) == 1:
        yield from (analyse(settings, source, parts) for source in sources)
        return
    # A process a processor: threads of polars in each would only get in each other's way.
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(analyse, settings, source, parts) for source in sources]
        for done in as_completed(waiting):
            yield done.result()


def join_parts(parts: Path, out: Path) -> list[str]:
    """Makes one Parquet file a table of the parts; returns the tables' names."""
    names = sorted(place.name for place in parts.iterdir())
    for name in names:
        pl.scan_parquet(sorted((parts / name).glob("*.parquet"))).sink_parquet(out / f"{name}.parquet")
    return names
