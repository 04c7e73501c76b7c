"""`vitals rejected`: what could not be taken, by reason; one in detail; driving it again after a fix."""

import asyncio
import time
from collections import Counter
from typing import Annotated

import typer
from nats.aio.client import Client
from rich.table import Table

from connectors.cli.console import CliError, clock, console, load_settings, nats_client, say
from connectors.cli.noted import noted
from connectors.ledger.rejected import Rejected, one, redrive, rejected, still_refused
from connectors.questdb.reject import REASON
from connectors.questdb.spill import SpillFormatError, decode_message
from dataflows._native import rejection_reasons
from dataflows.contracts.partial import fields
from dataflows.monitor.checking import validator
from dataflows.settings import Settings

app = typer.Typer(help="Look at messages that were rejected, and drive them again after a fix.")
_LAST = 10


@app.callback(invoke_without_command=True)
def by_reason(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="Only this reason.")] = "*",
) -> None:
    """Without a command: how many of each reason, and the last ones."""
    if context.invoked_subcommand is None:
        asyncio.run(_list(load_settings(), reason))


async def _list(settings: Settings, reason: str) -> None:
    counts: Counter[str] = Counter()
    last: list[Rejected] = []
    async with nats_client(settings, "vitals rejected") as client:
        await noted(client, settings, f"rejected {reason}")
        async for found in rejected(client, settings, reason):
            counts[found.reason] += 1
            last = [*last, found][-_LAST:]
    if not counts:
        say("nothing was rejected")
        return
    meanings = dict(rejection_reasons())
    table = Table("reason", "messages", "meaning", box=None, pad_edge=False)
    for name, count in counts.most_common():
        table.add_row(name, str(count), meanings.get(name, ""))
    console.print(table)
    console.print()
    table = Table("number", "log time", "subject", "reason", "detail", box=None, pad_edge=False)
    for found in last:
        table.add_row(str(found.seq), clock(found.log_ns), found.subject, found.reason, found.detail)
    console.print(table)


@app.command()
def show(number: Annotated[int, typer.Argument(min=1, help="Its number in the list.")]) -> None:
    """Print one rejected message, decoded as far as it goes."""
    asyncio.run(_show(load_settings(), number))


async def _found(client: Client, settings: Settings, number: int) -> Rejected:
    found = await one(client, settings, number)
    if found is None:
        message = f"there is no rejected message {number}: `vitals rejected` lists them"
        raise CliError(message)
    return found


async def _show(settings: Settings, number: int) -> None:
    async with nats_client(settings, "vitals rejected") as client:
        found = await _found(client, settings, number)
        await noted(client, settings, f"rejected show {number}", *found.whose)
    say(f"{found.reason}: {found.detail}")
    say(f"subject {found.subject}, message {found.log_seq} of the log at {clock(found.log_ns)}")
    say(f"{len(found.payload)} bytes")
    if found.reason == REASON:
        try:
            for table, row in decode_message(found.payload):
                say(f"  {table}: {row}")
        except SpillFormatError as error:
            say(f"  cannot be read: {error}")
        return
    for field in fields(found.payload):
        say(f"  {field.at:>5}  {field.name or 'ENDS HERE'}: {field.value}")


@app.command("redrive")
def redrive_command(
    number: Annotated[int | None, typer.Argument(min=1, help="Its number in the list.", show_default=False)] = None,
    reason: Annotated[str | None, typer.Option(help="All of this reason instead.", show_default=False)] = None,
    *,
    force: Annotated[bool, typer.Option(help="Also what the validator would refuse again.")] = False,
) -> None:
    """Publish rejected messages again, with their original bytes: what is there already is not doubled."""
    if (number is None) == (reason is None):
        message = "name one message by its number, or a reason with --reason"
        raise CliError(message)
    asyncio.run(_redrive(load_settings(), number, reason, force))


async def _redrive(settings: Settings, number: int | None, reason: str | None, force: bool) -> None:
    rules = validator(settings)
    driven = kept = 0
    async with nats_client(settings, "vitals rejected") as client:
        if number is not None:
            wanted = [await _found(client, settings, number)]
        else:
            wanted = [found async for found in rejected(client, settings, reason or "*")]
        for found in wanted:
            why = "" if force else still_refused(found, rules, time.time_ns())
            if why:
                kept += 1
                say(f"{found.seq}: would be refused again, {why}")
                continue
            await noted(client, settings, f"rejected redrive {found.seq}", *found.whose, what="write")
            seq = await redrive(client, settings, found)
            driven += 1
            say(f"{found.seq}: published on {found.again} as message {seq}")
    say(f"{driven} driven again" + (f", {kept} left" if kept else ""))
