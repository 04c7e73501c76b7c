"""`vitals export`: a patient's record as files."""

import time
from pathlib import Path
from typing import Annotated

import typer

from connectors.cli.console import CliError, load_settings, say
from connectors.cli.ledger import moment_ns
from connectors.cli.noted import note_read
from connectors.export.record import from_lake, from_questdb
from connectors.export.report import html
from connectors.export.tables import write_tables
from connectors.export.wfdb_files import write_wfdb
from connectors.questdb.reads import QuestDBReader
from dataflows.contracts.frames import DEFAULT_TENANT

FORMS = ("wfdb", "csv", "parquet", "report")
_DAY_NS = 86_400_000_000_000


def export(
    patient: Annotated[str, typer.Argument(help="Pseudonym of the patient.")],
    out: Annotated[Path, typer.Argument(help="Folder for the files.")],
    *,
    forms: Annotated[str, typer.Option(help="What to write: wfdb, csv, parquet, report, with commas.")] = "wfdb,report",
    since: Annotated[
        str | None, typer.Option("--from", help="First time, UTC. Default: a day before --to.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="End, UTC. Default: now.", show_default=False)] = None,
    tenant: Annotated[str, typer.Option(help="Organisation.")] = DEFAULT_TENANT,
    lake: Annotated[
        Path | None, typer.Option(help="Read this data lake in place of QuestDB.", show_default=False)
    ] = None,
) -> None:
    """Write a patient's record: WFDB with our annotations, CSV, Parquet, an HTML report that prints well.

    Samples are the counts that the device sent, to the bit. That it was taken is in AUDIT. docs/export.md.
    """
    wanted = [form.strip() for form in forms.split(",") if form.strip()]
    if unknown := sorted(set(wanted) - set(FORMS)):
        message = f"--forms {', '.join(unknown)}: there are {', '.join(FORMS)}"
        raise CliError(message)
    to_ns = moment_ns(until) if until else time.time_ns()
    span_ns = (moment_ns(since) if since else to_ns - _DAY_NS, to_ns)
    who, settings = (tenant, patient), load_settings()
    if lake is not None:
        record = from_lake(lake, who, span_ns)
    else:
        record = from_questdb(QuestDBReader(settings.questdb), who, span_ns)
    if record.empty:
        message = f"there is nothing of {tenant}/{patient} in this span"
        raise CliError(message)
    note_read(settings, f"export {' '.join(wanted)}", tenant, patient)
    out.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for form in wanted:
        if form == "wfdb":
            written += write_wfdb(record, out)
        elif form == "report":
            written.append(out / "report.html")
            written[-1].write_text(html(record))
        else:
            written += write_tables(record, out, form)
    say(f"written: {', '.join(str(path) for path in written)}")
