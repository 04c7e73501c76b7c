"""`vitals up` and `vitals flow`: the local stack, and the dataflow on it."""

import os
import sys
from typing import Annotated

import typer

from connectors.cli.console import CliError, load_settings, say
from connectors.local.stack import Stack, run_stack

FLOW = ("-m", "bytewax.run", "dataflows.vitals")


def up() -> None:
    """Start NATS and QuestDB on this machine and keep them until Ctrl-C.

    Their addresses, folder and retention come from the settings (`vitals settings`). A server that runs already is used
    when its address is configured.
    """
    raise typer.Exit(run_stack(load_settings(), say=say))


def flow(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker threads; more than the cores is of no use.")] = 1,
) -> None:
    """Run the dataflow on the local stack, resuming where it stopped.

    The same as `python -m bytewax.run dataflows.vitals` with the recovery settings that `vitals up` prints. It ends
    when it loses NATS, rather than go on with a hole; started again it continues exactly there.
    """
    stack = Stack(load_settings())
    if not any(stack.recovery_dir.glob("part-*.sqlite3")):
        message = f"there is no recovery store in {stack.recovery_dir}: start the stack first with `vitals up`"
        raise CliError(message)
    arguments = [sys.executable, *FLOW, *(("-w", str(workers)) if workers > 1 else ())]
    # The flow takes the place of this process, so that Ctrl-C and signals of a supervisor reach it and no one else.
    os.execve(sys.executable, arguments, {**os.environ, **stack.environment()})  # noqa: S606  (our own interpreter)
