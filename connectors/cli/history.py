"""`vitals replay-history`: the same flow over the stream's history, and whether it makes the same of it."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from connectors.cli.console import CliError, clock, console, load_settings, nats_client, say
from connectors.cli.ledger import moment_ns
from connectors.cli.noted import noted
from connectors.history.compare import Comparer, Comparison
from connectors.history.replay import Replay, Times, plan_range
from connectors.local.recovery import RecoveryStore
from dataflows.settings import Settings


def replay_history(
    since: Annotated[str | None, typer.Option("--from", help="First time, UTC; else all.", show_default=False)] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last time, UTC; else all.", show_default=False)] = None,
    *,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before --from that are read and not compared.")] = 600,
    recovery: Annotated[
        Path | None, typer.Option(help="A kept copy of the recovery store to start from.", show_default=False)
    ] = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes of the replay.")] = 1,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker threads in each.")] = 1,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Messages at once; flow.batch_messages.", show_default=False)
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the replay's outputs here.", show_default=False)] = None,
) -> None:
    """Run the flow again over the stream's history and compare: alerts byte for byte, rows row for row.

    Outputs go to scratch files; streams and tables are only read. From the stream's first message, or from a kept
    recovery store, everything has to be the same. From anywhere else the detectors have to warm up first: what they say
    until then is left out, and how much that is. Exit code 1 when anything differs.
    """
    settings = load_settings()
    run = settings.run.model_copy(update={"processes": processes, "workers": workers})
    flow = settings.flow.model_copy(update={"batch_messages": batch or settings.flow.batch_messages})
    settings = settings.model_copy(update={"run": run, "flow": flow})
    if settings.streams.log_time == "header" and (since or until):
        message = "log time of this stream is a header: there is no time to ask the server for, replay all of it"
        raise CliError(message)
    scratch = keep or Path(tempfile.mkdtemp(prefix="vitals-history-"))
    if keep is not None and keep.exists() and any(keep.iterdir()):
        message = f"{keep} is not empty"
        raise CliError(message)
    try:
        times = (moment_ns(since) if since else None, moment_ns(until) if until else None)
        found = asyncio.run(replayed(settings, scratch.absolute(), times, warm_up, recovery))
    finally:
        if keep is None:
            shutil.rmtree(scratch, ignore_errors=True)
    raise typer.Exit(1 if any(comparison.differing for comparison in found) else 0)


async def replayed(
    settings: Settings, scratch: Path, times: Times, warm_up_s: float, recovery: Path | None
) -> list[Comparison]:
    """Replays and compares; prints what it finds.

    Raises:
        CliError: The replay did not come to its end.
    """
    async with nats_client(settings, "vitals replay-history") as client:
        kept = RecoveryStore(recovery, settings).positions() if recovery is not None else {}
        plan, window = await plan_range(client, settings, times, warm_up_s, kept)
        say(f"messages {plan.first} to {plan.last} of {settings.streams.vitals}")
        await noted(client, settings, f"replay-history {plan.first} to {plan.last}")
        if window.after_ns:
            begin = f"the snapshot in {recovery}" if recovery is not None else f"a warm-up of {warm_up_s:.0f} s"
            say(f"from {begin}; compared from log time {clock(min(window.after_ns.values()))}")
        code = await asyncio.to_thread(Replay(settings, scratch, plan, say, recovery).run)
        if code:
            message = "the replay did not come to its end"
            raise CliError(message)
        comparer = Comparer(settings, window, scratch)
        found = [await comparer.alerts(client), await comparer.rejects(client)]
    found += await asyncio.to_thread(comparer.rows) if settings.questdb.enabled else []
    table = Table("output", "same", "different", "left out", box=None, pad_edge=False)
    for one in found:
        style = "red" if one.differing else None
        table.add_row(one.name, str(one.same), str(one.differing), str(one.left_out), style=style)
    console.print(table)
    for one in found:
        for title, lines in (("only live", one.only_live), ("only in the replay", one.only_replay)):
            for line in lines:
                say(f"{one.name}, {title}: {line}")
    say("the replay is the same" if not any(one.differing for one in found) else "the replay DIFFERS")
    return found
