"""`vitals doctor`: what is installed, running and configured, and how to mend what is not."""

import asyncio
import os
import platform
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from rich.table import Table
from rich.text import Text

from connectors.cli.console import CliError, console, load_settings, nats_client
from connectors.jetstream.streams import differences, stream_configs
from connectors.local.artefacts import java_binary, nats_server_binary
from connectors.local.process import StackError
from connectors.local.recovery import RecoveryStore
from connectors.questdb.http import QueryError, QuestDBHttp, QuestDBUnavailableError
from connectors.questdb.reads import QuestDBReader, resume_sql
from dataflows.contracts.tables import TABLES
from dataflows.settings import Settings

State = Literal["ok", "note", "problem"]
_STYLE = {"ok": "green", "note": "yellow", "problem": "bold red"}
_LIBRARIES = ("bytewax", "nats-py", "questdb", "protobuf", "polars", "wfdb")


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: The part that was looked at.
        state: `note` is worth knowing and no fault.
        text: What was found, and for a problem how to mend it.
    """

    what: str
    state: State
    text: str


def installed(settings: Settings) -> Iterator[Finding]:
    """Looks at what is on this machine."""
    yield Finding(
        "Python", "ok", f"{platform.python_version()} ({platform.python_implementation()}, {os.cpu_count()} cores)"
    )
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _LIBRARIES)
    yield Finding("packages", "ok", versions)
    yield _native_module()
    yield _program("nats-server", lambda: _first_line([str(nats_server_binary()), "--version"]))
    yield _program("Java", lambda: _first_line([str(java_binary()), "-version"]))
    jar = settings.stack.cache_dir.expanduser() / f"questdb-{settings.stack.questdb_version}.jar"
    if jar.exists():
        yield Finding("QuestDB jar", "ok", str(jar))
    elif shutil.which("mvn"):
        yield Finding("QuestDB jar", "note", f"not in {jar.parent} yet: `vitals up` fetches it with Maven (30 MB)")
    else:
        mend = "install Maven (`apt install maven`, `brew install maven`), or put the jar there"
        yield Finding("QuestDB jar", "problem", f"not in {jar.parent}, and there is no Maven to fetch it: {mend}")


def _native_module() -> Finding:
    import dataflows._native as native  # noqa: PLC0415  (its absence is a finding, not a crash)

    path = Path(native.__file__ or "")
    root = path.parents[1]
    sources = [*root.glob("native/src/**/*.rs"), root / "dataflows/contracts/vitals.proto"]
    newer = [source for source in sources if source.exists() and source.stat().st_mtime > path.stat().st_mtime]
    if newer:
        text = f"older than {newer[0].relative_to(root)}: run `just build`"
        return Finding("Rust module", "problem", text)
    return Finding("Rust module", "ok", str(path))


def _program(what: str, version: Callable[[], str]) -> Finding:
    try:
        return Finding(what, "ok", version())
    except (StackError, OSError) as error:
        return Finding(what, "problem", str(error))


def _first_line(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  (programs of ours)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return f"{re.sub(' +', ' ', lines[0]) if lines else 'no answer'} ({command[0]})"


def configured(settings: Settings) -> Iterator[Finding]:
    """Looks at where settings come from, and at the recovery store."""
    file = Path(os.environ.get("VITALS_CONFIG", "vitals.toml"))
    names = sorted(name for name in os.environ if name.startswith("VITALS_") and name != "VITALS_CONFIG")
    source = f"{file.absolute()}" if file.exists() else f"no {file}"
    yield Finding("settings", "ok", f"{source}; environment: {', '.join(names) or 'nothing'}")
    recovery = os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    store = RecoveryStore(settings.stack.data_dir.absolute() / "recovery", settings)
    local, parts = store.folder, len(store.files())
    if recovery is not None:
        there = len(list(Path(recovery).glob("part-*.sqlite3")))
        state: State = "ok" if there else "problem"
        mend = "" if there else ": it has no partitions, make them with `python -m bytewax.recovery DIRECTORY 2`"
        yield Finding("recovery", state, f"{recovery} (BYTEWAX_RECOVERY_DIRECTORY), {there} partitions{mend}")
    elif parts:
        text = f"{local}, {parts} partitions; `vitals run` uses it, the bare flow needs what `vitals up` prints"
        yield Finding("recovery", "ok", text)
    else:
        yield Finding("recovery", "note", f"no store in {local} yet: `vitals up` or `vitals run` makes it")


async def nats_findings(settings: Settings) -> AsyncIterator[Finding]:
    """Looks at the server, the streams and whether a flow reads."""
    try:
        async with nats_client(settings, "vitals doctor") as client:
            js = client.jetstream(timeout=settings.nats.ack_timeout_s)
            info = client.connected_server_version
            yield Finding("NATS", "ok", f"{settings.nats.url}, version {info.major}.{info.minor}.{info.patch}")
            for wanted in stream_configs(settings):
                try:
                    found = await js.stream_info(str(wanted.name))
                except NotFoundError:
                    yield Finding(f"stream {wanted.name}", "problem", "missing: `vitals up` and the flow make it")
                    continue
                differing = differences(wanted, found.config)
                text = f"{found.state.messages} messages, {found.state.bytes / 1e6:.1f} MB"
                if differing:
                    text = "; ".join([text, *differing])
                yield Finding(f"stream {wanted.name}", "note" if differing else "ok", text)
            yield await _flow(js, settings)
    except CliError as error:
        yield Finding("NATS", "problem", str(error))


async def _flow(js: JetStreamContext, settings: Settings) -> Finding:
    try:
        consumers = await js.consumers_info(settings.streams.vitals)
    except NotFoundError:
        return Finding("flow", "problem", "cannot run without its stream")
    if not consumers:
        return Finding("flow", "problem", "nobody reads the log: start it with `vitals flow`")
    pending = sum(consumer.num_pending or 0 for consumer in consumers)
    return Finding("flow", "ok", f"{len(consumers)} readers, {pending} messages before them")


def questdb_findings(settings: Settings) -> Iterator[Finding]:
    """Looks at the database, its tables and whether rows become visible."""
    if not settings.questdb.enabled:
        yield Finding("QuestDB", "note", "questdb.enabled is false: no rows are written")
        return
    mend = "start the local stack with `vitals up`, or name the server in VITALS_QUESTDB__HTTP_URL"
    try:
        version = QuestDBHttp(settings.questdb).rows("SELECT build() build")[0]["build"]
        health = QuestDBReader(settings.questdb, timeout_s=5.0).health()
    except (QuestDBUnavailableError, QueryError) as error:
        yield Finding("QuestDB", "problem", f"{error}: {mend}")
        return
    number = re.search(r"QuestDB [\d.]+", version)
    yield Finding("QuestDB", "ok", f"{settings.questdb.http_url}, {number.group() if number else version[:40]}")
    missing = sorted(set(TABLES) - {table.table for table in health})
    if missing:
        yield Finding("tables", "problem", f"missing: {', '.join(missing)}; `vitals up` and the flow make them")
    for table in health:
        if table.suspended:
            text = f"suspended ({table.error}); mend the cause, then {resume_sql(table.table)}"
            yield Finding(f"table {table.table}", "problem", text)
        elif table.pending_transactions > 100:
            yield Finding(f"table {table.table}", "note", f"{table.pending_transactions} transactions not visible yet")
    if not missing and not any(table.suspended for table in health):
        yield Finding("tables", "ok", f"{len(health)}, all applying their logs")


async def _collect(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


def doctor() -> None:
    """Look at what is installed, running and configured, and say how to mend what is not.

    Ends with 1 when there is a problem.
    """
    settings = load_settings()
    findings = [
        *installed(settings),
        *configured(settings),
        *asyncio.run(_collect(nats_findings(settings))),
        *questdb_findings(settings),
    ]
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(Text(finding.state, _STYLE[finding.state]), finding.what, finding.text)
    console.print(table)
    problems = sum(finding.state == "problem" for finding in findings)
    console.print(f"{problems} problem{'s' if problems != 1 else ''}" if problems else "everything is well")
    raise typer.Exit(1 if problems else 0)
