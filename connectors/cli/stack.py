"""`vitals up` and `vitals flow`: the local stack, and the dataflow on it."""

import os
import runpy
import sys
from collections.abc import Iterator
from typing import Annotated

import typer
from bytewax.errors import BytewaxRuntimeError

from connectors.cli.console import CliError, load_settings, say
from connectors.local.stack import Stack, run_stack
from dataflows._native import JetStreamError, LostRangeError


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
    os.environ.update(stack.environment())
    sys.argv = ["bytewax.run", "dataflows.vitals", "-w", str(workers)]
    say("the flow runs; Ctrl-C stops it")
    try:
        runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)
    except (BytewaxRuntimeError, JetStreamError) as error:
        _explain(error)


def _explain(error: Exception) -> None:
    """Says in words why the flow ended; what is no known end goes on with its traceback.

    Raises:
        CliError: The log or a stream was lost.
        Exit: It was stopped.
    """
    causes = list(_causes(error))
    if any("signal received" in str(cause) for cause in causes):
        say("stopped; `vitals flow` continues where it was")
        raise typer.Exit(130) from None
    for cause in causes:
        if isinstance(cause, LostRangeError):
            raise CliError(str(cause)) from error
        if isinstance(cause, JetStreamError):
            message = f"the flow ended: {cause}. `vitals doctor` says what runs; `vitals flow` continues where it was."
            raise CliError(message) from error
    raise error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what it was raised from."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__
