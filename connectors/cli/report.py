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
from connectors.cli.noted import note_read
from connectors.questdb.reads import QuestDBReader
from connectors.questdb.schema import last_sql

app = typer.Typer(help="Reports.", no_args_is_help=True)
_COLOURS = {"high": "#c0392b", "medium": "#e0a800", "low": "#2980b9"}
_MOST_BARS = 25
_BAR = 22
"""Height of a bar and its gap."""


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
    settings = load_settings()
    found = read_burden(QuestDBReader(settings.questdb), begin, end, tenant)
    note_read(settings, "report burden", tenant)
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
    before = f"ts < '{begin:%Y-%m-%dT%H:%M:%S.%f}Z'"
    where = f"ts >= '{begin:%Y-%m-%dT%H:%M:%S.%f}Z' AND ts < '{end:%Y-%m-%dT%H:%M:%S.%f}Z'"
    if tenant is not None:
        of_tenant = f" AND tenant = '{tenant.replace(chr(39), chr(39) * 2)}'"
        before, where = before + of_tenant, where + of_tenant
    # Only names of our own, two times and a quoted tenant.
    transitions = reader.query(
        "SELECT log_ns, tenant, patient, alert_id, transition, rule, priority, kind, event, state, notify, "  # noqa: S608
        f"reason, body FROM alerts WHERE {where}"
    )
    repeats = [int(json.loads(body).get("repeats", 0)) for body in transitions["body"]]
    transitions = transitions.with_columns(pl.Series("repeats", repeats, pl.Int64)).drop("body")
    suppressed = reader.query(f"SELECT rule, reason FROM suppressed WHERE {where}")  # noqa: S608
    last = last_sql(f"alerts WHERE {before}", "tenant, patient, alert_id", "transition")
    stood = reader.query(f"SELECT tenant, patient, alert_id FROM ({last}) WHERE state <> 'cleared'")  # noqa: S608
    monitored = [
        reader.query(f"SELECT DISTINCT tenant, patient FROM {table} WHERE {where}")  # noqa: S608
        for table in ("observations", "waveforms", "alerts")
    ]
    patients = len({row for frame in (*monitored, stood.drop("alert_id")) for row in frame.rows()})
    bounds = (round(begin.timestamp() * 1e9), round(end.timestamp() * 1e9))
    return burden(transitions, suppressed, stood, patients=patients, from_ns=bounds[0], to_ns=bounds[1])


def _print(found: Burden) -> None:
    say(f"{found.patients} patients, {found.patient_days:g} patient-days")
    technical = 100 * found.technical_share
    by_priority = ", ".join(f"{count} {name}" for name, count in found.by_priority.items())
    say(
        f"{found.alerts} alerts ({by_priority}), {found.per_patient_day:g} per patient-day; {technical:.1f} % technical"
    )
    say(f"{found.pages} pages, {found.pages_per_patient_day:g} per patient-day; {found.escalations} escalations")
    if found.ack_median_s is not None:
        share = 100 * found.acknowledged_share
        say(f"acknowledged: {share:.1f} %, median {found.ack_median_s:g} s, nine of ten within {found.ack_p90_s:g} s")
    elif found.alerts:
        say("acknowledged: none")
    say(f"in alarm: {100 * found.in_alarm_share:.2f} % of the patients' time")
    spared = ", ".join(f"{count} by {reason}" for reason, count in found.suppressed.items()) or "none"
    say(f"not told: {spared}; {found.repeats} repeated findings told once")
    if found.suppressed_by_rule:
        say("not told, by rule: " + ", ".join(f"{count} {rule}" for rule, count in found.suppressed_by_rule.items()))
    say(f"the tenth of the patients with most alerts has {100 * found.top_tenth_share:.1f} % of them\n")
    table = Table("rule", "priority", "kind", box=None, pad_edge=False)
    for name in ("alerts", "per patient-day", "pages", "escalations"):
        table.add_column(name, justify="right")
    for row in found.by_rule:
        numbers = (str(row["alerts"]), f"{row['per_patient_day']:g}", str(row["pages"]), str(row["escalations"]))
        table.add_row(row["rule"], row["priority"], row["kind"], *numbers)
    console.print(table)
    for row in found.top_patients:
        say(f"  {row['tenant']}/{row['patient']}: {row['alerts']}")


def drawn(found: Burden) -> str:
    """Returns a bar for each rule and priority, as SVG: technical ones are hollow, so that no colour has to be told."""
    rows, more = found.by_rule[:_MOST_BARS], len(found.by_rule) - _MOST_BARS
    most = max((row["alerts"] for row in rows), default=1)
    parts = [_bar(row, number * _BAR + 52, 380 * row["alerts"] / most) for number, row in enumerate(rows)]
    if more > 0:
        rest = sum(row["alerts"] for row in found.by_rule[_MOST_BARS:])
        parts.append(_text(246, len(rows) * _BAR + 66, f"and {more} more with {rest} alerts"))
    height = (len(rows) + (more > 0)) * _BAR + 66
    title = f"{found.per_patient_day:g} alerts per patient-day over {found.patient_days:g} patient-days"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{height}" viewBox="0 0 800 {height}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<g font-weight="bold">{_text(8, 20, title)}</g>{_legend()}{"".join(parts)}</svg>\n'
    )


def _legend() -> str:
    kinds = [(f"{name} priority", _box(colour, hollow=False)) for name, colour in _COLOURS.items()]
    kinds.append(("technical", _box("#555555", hollow=True)))
    return "".join(
        f'<rect x="{246 + number * 130}" y="31" width="12" height="12" {look}/>{_text(264 + number * 130, 41, name)}'
        for number, (name, look) in enumerate(kinds)
    )


def _bar(row: dict[str, Any], top: int, width: float) -> str:
    look = _box(_COLOURS[row["priority"]], hollow=row["kind"] == "technical")
    said = f"{row['alerts']} ({row['per_patient_day']:.3g} a patient-day)"
    texts = _text(238, top + 14, row["rule"], "end") + _text(252 + width, top + 14, said)
    return f'{texts}<rect x="246" y="{top + 3}" width="{width:.1f}" height="14" {look}/>'


def _box(colour: str, *, hollow: bool) -> str:
    return f'fill="{"#ffffff" if hollow else colour}" stroke="{colour}" stroke-width="2"'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
