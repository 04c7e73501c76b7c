"""`vitals ledger`: received = stored + late + duplicate + rejected + spilled + in flight, message by message."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from connectors.cli.console import CliError, console, load_settings, nats_client, say
from connectors.cli.noted import noted
from connectors.jetstream.history import bounds, seq_at
from connectors.ledger.evidence import collect
from dataflows.ledger import CHANNEL, OUTCOMES, Ledger, account
from dataflows.settings import Settings

_SHOWN = 10


def moment_ns(text: str) -> int:
    """Returns a time as people write it (ISO 8601, UTC unless it says otherwise) in ns since 1970.

    Raises:
        CliError: It is no time.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no time: write it as 2026-11-24T13:00:00 (UTC)"
        raise CliError(message) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1e9)


async def balance(settings: Settings, since: str | None, until: str | None) -> Ledger:
    """Returns the balance of the messages that the server stored between two times."""
    async with nats_client(settings, "vitals ledger") as client:
        stream = settings.streams.vitals
        first, last = await bounds(client, stream)
        if since is not None:
            first = await seq_at(client, stream, moment_ns(since))
        if until is not None:
            last = await seq_at(client, stream, moment_ns(until)) - 1
        await noted(client, settings, "ledger")
        return account(await collect(client, settings, first, last))


def show(ledger: Ledger, by_partition: bool) -> None:
    """Prints the balance, and what is lost or never came."""
    frame, names = (ledger.partitions, ("partition",)) if by_partition else (ledger.channels, CHANNEL)
    columns = [*names, "received", *OUTCOMES, *([] if by_partition else ["missing"])]
    table = Table(*columns, box=None, pad_edge=False)
    for row in frame.iter_rows(named=True):
        table.add_row(*(str(row[name]) for name in columns), style="red" if row["lost"] else None)
    console.print(table)
    totals = ledger.totals
    console.print(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in totals.items()), soft_wrap=True)
    for row in ledger.lost.head(_SHOWN).iter_rows(named=True):
        say(
            f"LOST: {row['tenant']}/{row['patient']} {row['device']} {row['signal']} boot {row['boot']} "
            f"seq {row['seq']} (message {row['log_seq']} of the log): {row['found']} of {row['rows']} rows are there"
        )
    for row in ledger.missing.head(_SHOWN).iter_rows(named=True):
        say(
            f"NEVER CAME: {row['tenant']}/{row['patient']} {row['device']} {row['signal']} boot {row['boot']} "
            f"seq {row['first_seq']}" + (f" to {row['last_seq']}" if row["frames"] > 1 else "")
        )
    say("nothing is lost" if totals["lost"] == 0 else f"{totals['lost']} messages are LOST")


def ledger(
    since: Annotated[
        str | None, typer.Option("--from", help="First time, UTC. Default: all.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last time, UTC. Default: now.", show_default=False)] = None,
    *,
    by_partition: Annotated[bool, typer.Option(help="One line per partition of the log.")] = False,
    allow_gaps: Annotated[bool, typer.Option(help="Numbers that a device skipped are no failure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Check the log against the database, REJECTED and SPILL: what was received, and what became of it.

    Names the first messages that are lost, and the first numbers that a device skipped. Exit code 1 when there are any.
    """
    found = asyncio.run(balance(load_settings(), since, until))
    totals = found.totals
    if as_json:
        parts = {
            "channels": found.channels,
            "partitions": found.partitions,
            "lost": found.lost,
            "missing": found.missing,
        }
        everything = {"totals": totals, **{name: frame.to_dicts() for name, frame in parts.items()}}
        sys.stdout.write(json.dumps(everything, indent=2) + "\n")
    else:
        show(found, by_partition)
    raise typer.Exit(1 if totals["lost"] or (totals["missing"] and not allow_gaps) else 0)
