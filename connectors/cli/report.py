"""`vitals report`: what the pipeline asks of people."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from xml.sax.saxutils import escape

import polars as pl
import typer
from rich.table import Table

from connectors.burden import Burden, burden
from connectors.cli.console import console, load_settings, say
from connectors.questdb.reads import QuestDBReader

app = typer.Typer(help="Reports.", no_args_is_help=True)
_COLOURS = {"high": "#c0392b", "medium": "#e0a800", "low": "#2980b9"}


@app.callback()
def _reports() -> None:
    """Reports from what QuestDB holds."""


@app.command("burden")
def burden_command(
    *,
    hours: Annotated[float, typer.Option(min=0.01, help="Length of the period.")] = 24.0,
    until: Annotated[datetime | None, typer.Option(help="Its end, UTC. Default: now.", show_default=False)] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this organisation.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Write a plot (SVG) of alerts by rule.", show_default=False)] = None,
) -> None:
    """Print the alarm burden: alerts per patient-day, technical share, answers, escalations, what was not told."""
    end = (until or datetime.now(UTC)).replace(tzinfo=UTC)
    begin = end - timedelta(hours=hours)
    found = read_burden(QuestDBReader(load_settings().questdb), begin, end, tenant)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    else:
        _print(found)
    if plot is not None:
        plot.write_text(drawn(found))


def read_burden(reader: QuestDBReader, begin: datetime, end: datetime, tenant: str | None = None) -> Burden:
    """Returns the figures of a period from QuestDB.

    Raises:
        QuestDBUnavailableError: It does not answer.
        QueryError: There are no tables yet.
    """
    where = f"ts >= '{begin:%Y-%m-%dT%H:%M:%S.%f}Z' AND ts < '{end:%Y-%m-%dT%H:%M:%S.%f}Z'"
    if tenant is not None:
        where += f" AND tenant = '{tenant.replace(chr(39), chr(39) * 2)}'"
    # Only names of our own, two times and a quoted tenant.
    transitions = reader.query(
        "SELECT log_ns, tenant, patient, alert_id, transition, rule, priority, kind, event, state, notify, "  # noqa: S608
        f"reason, body FROM alerts WHERE {where}"
    )
    repeats = [int(json.loads(body).get("repeats", 0)) for body in transitions["body"]]
    transitions = transitions.with_columns(pl.Series("repeats", repeats, pl.Int64)).drop("body")
    suppressed = reader.query(f"SELECT rule, reason FROM suppressed WHERE {where}")  # noqa: S608
    monitored = [
        reader.query(f"SELECT DISTINCT tenant, patient FROM {table} WHERE {where}")  # noqa: S608
        for table in ("observations", "waveforms", "alerts")
    ]
    patients = len({row for frame in monitored for row in frame.rows()})
    bounds = (round(begin.timestamp() * 1e9), round(end.timestamp() * 1e9))
    return burden(transitions, suppressed, patients=patients, from_ns=bounds[0], to_ns=bounds[1])


def _print(found: Burden) -> None:
    say(f"{found.patients} patients, {found.patient_days:g} patient-days")
    technical = 100 * found.technical_share
    say(f"{found.alerts} alerts, {found.per_patient_day:g} per patient-day; {technical:.1f} % technical")
    say(f"{found.pages} pages, {found.pages_per_patient_day:g} per patient-day; {found.escalations} escalations")
    if found.ack_median_s is not None:
        share = 100 * found.acknowledged_share
        say(f"acknowledged: {share:.1f} %, median {found.ack_median_s:g} s, nine of ten within {found.ack_p90_s:g} s")
    say(f"in alarm: {100 * found.in_alarm_share:.2f} % of the patients' time")
    spared = ", ".join(f"{count} by {reason}" for reason, count in found.suppressed.items()) or "none"
    say(f"not told: {spared}; {found.repeats} repeated findings told once")
    say(f"the tenth of the patients with most alerts has {100 * found.top_tenth_share:.1f} % of them\n")
    table = Table("rule", "priority", "kind", "alerts", "per patient-day", box=None, pad_edge=False)
    for row in found.by_rule:
        table.add_row(row["rule"], row["priority"], row["kind"], str(row["alerts"]), f"{row['per_patient_day']:g}")
    console.print(table)
    for row in found.top_patients:
        say(f"  {row['tenant']}/{row['patient']}: {row['alerts']}")


def drawn(found: Burden) -> str:
    """Returns a bar for each rule, as SVG."""
    rows, height = found.by_rule[:25], 22
    most = max((row["alerts"] for row in rows), default=1)
    parts = [_bar(row, number * height + 30, 420 * row["alerts"] / most) for number, row in enumerate(rows)]
    size = f'width="760" height="{len(rows) * height + 45}"'
    title = f"{found.per_patient_day:g} alerts per patient-day over {found.patient_days:g} patient-days"
    head = f'<text x="8" y="18" font-weight="bold">{escape(title)}</text>'
    style = 'font-family="sans-serif" font-size="12"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>{head}{"".join(parts)}</svg>\n'


def _bar(row: dict[str, Any], top: int, width: float) -> str:
    colour = _COLOURS.get(row["priority"], "#777777")
    return (
        f'<text x="230" y="{top + 14}" text-anchor="end">{escape(row["rule"])}</text>'
        f'<rect x="238" y="{top + 3}" width="{width:.1f}" height="14" fill="{colour}"/>'
        f'<text x="{244 + width:.1f}" y="{top + 14}">{row["alerts"]}</text>'
    )
