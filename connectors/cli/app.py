"""The command `vitals`.

Exit codes: 0 done; 1 it failed for a reason that was said; 2 the command line is wrong; 130 Ctrl-C.
"""

import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.table import Table

from connectors.cli import (
    alerts,
    archive,
    batch,
    bridge,
    dashboard,
    demo,
    devices,
    doctor,
    export,
    gateway,
    grafana,
    history,
    ledger,
    models,
    notify,
    rejected,
    replay,
    report,
    rules,
    run,
    services,
    stack,
    tenants,
)
from connectors.cli.console import CliError, console, fail, load_settings
from connectors.cli.settings_page import markdown, settings_of, shown
from connectors.devices.publisher import PublishError
from connectors.devices.recording import RecordingError
from connectors.export.record import ExportError
from connectors.jetstream.streams import StreamSetupError
from connectors.local.process import StackError
from connectors.notify.service import NotifyError
from connectors.questdb.http import QueryError, QuestDBUnavailableError
from dataflows.alerts.rules import RuleError
from dataflows.models.spec import ModelError
from dataflows.monitor.state import StateRefusedError

app = typer.Typer(
    name="vitals",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
SAID = (
    *(RuleError, NotifyError, ExportError, ModelError),
    *(CliError, RecordingError, PublishError, StackError, StreamSetupError, StateRefusedError),
    *(QuestDBUnavailableError, QueryError),
)
"""Errors whose message is written for people; anything else is a defect and shows its traceback."""


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"vitals {metadata.version('vitals')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Real-time remote patient monitoring: try it, feed it, look at it."""


@app.command("settings")
def settings_command(
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/settings.md instead.")] = False,
) -> None:
    """Print every setting, its value and where it comes from."""
    if as_markdown:
        sys.stdout.write(markdown())
        return
    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for setting in settings_of(load_settings()):
        style = None if setting.source == "default" else "bold"
        table.add_row(f"{setting.group}.{setting.name}", shown(setting.value), setting.source, style=style)
    console.print(table)


app.command("demo")(demo.demo)
app.command("up")(stack.up)
app.command("flow")(stack.flow)
app.command("run")(run.run)
app.command("watch")(run.watch)
app.command("archive")(archive.archive)
app.command("ledger")(ledger.ledger)
app.command("replay-history")(history.replay_history)
app.add_typer(rejected.app, name="rejected")
app.command("replay")(replay.replay)
app.command("alerts")(alerts.alerts)
app.command("batch")(batch.batch)
app.command("grafana")(grafana.grafana)
app.command("export")(export.export)
app.command("dashboard")(dashboard.dashboard)
app.command("key")(dashboard.key)
app.add_typer(rules.app, name="rules")
app.add_typer(report.app, name="report")
app.add_typer(models.app, name="models")
app.command("notify")(notify.notify)
app.command("doctor")(doctor.doctor)
app.command("gateway")(gateway.gateway)
app.add_typer(bridge.bridge_app, name="bridge")
app.add_typer(devices.devices_app, name="devices")
app.add_typer(services.services_app, name="services")
app.add_typer(tenants.tenants_app, name="tenants")
app.command("certs")(devices.certs)


def main() -> None:
    """Entry of the `vitals` command."""
    try:
        app(prog_name="vitals")
    except SAID as error:
        sys.exit(fail(str(error)).exit_code)
