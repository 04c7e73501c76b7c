"""`vitals grafana`: files for Grafana and Prometheus."""

from pathlib import Path
from typing import Annotated

import typer

from connectors.cli.console import CliError, load_settings, say
from connectors.grafana.files import provision
from connectors.grafana.panels import SOURCES


def grafana(
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
    *,
    source: Annotated[str, typer.Option(help="Data source of the panels: questdb (its plugin) or postgres.")] = (
        "postgres"
    ),
    prometheus: Annotated[str, typer.Option(help="Address of Prometheus.")] = "http://127.0.0.1:9090",
) -> None:
    """Write data sources, dashboards (ward, operations) and Prometheus alert rules. docs/grafana.md."""
    if source not in SOURCES:
        message = f"--source {source}: there are {', '.join(SOURCES)}"
        raise CliError(message)
    written = provision(load_settings(), out, source, prometheus)
    say(f"written: {', '.join(str(path) for path in written)}")
