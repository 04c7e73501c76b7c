"""The commands of `vitals`, and how errors reach people: in words, with what to do next, and an exit code.

Exit codes: 0 done, 1 it failed for a reason that is said, 2 the command line or a setting is wrong, 130 Ctrl-C.
"""

import sys
from importlib import metadata
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from connectors.cli.settings_page import markdown, settings_of, shown
from dataflows.settings import Settings

app = typer.Typer(
    name="vitals",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


class CliError(Exception):
    """Something a person has to mend; the message says what happened and what to do."""


def load_settings() -> Settings:
    """Reads the settings.

    Raises:
        CliError: The environment or the file holds something that is no setting or no allowed value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (found {problem['input']!r})"
            for problem in error.errors()
        ]
        message = "settings: " + "; ".join(problems) + "\nSee docs/settings.md, or `vitals settings` without them."
        raise CliError(message) from None


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"vitals {metadata.version('vitals')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Real-time remote patient monitoring: try it, feed it, look at it."""


@app.command()
def settings(
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


def main() -> None:
    """Entry of the `vitals` command."""
    try:
        app(standalone_mode=True)
    except CliError as error:
        errors.print(f"[bold red]vitals:[/] {error}", soft_wrap=True)
        sys.exit(1)
