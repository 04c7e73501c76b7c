"""`vitals up` and `vitals flow`: the local stack, and the dataflow on it."""

import os
import signal
from typing import Annotated

import typer
from bytewax.errors import BytewaxRuntimeError

from connectors.cli.console import CliError, load_settings, say
from connectors.local.recovery import RecoveryStore
from connectors.local.stack import run_stack
from connectors.local.worker import REFUSED, causes, run_flow, verdict
from dataflows._native import JetStreamError
from dataflows.monitor.state import StateRefusedError

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as a shell has it."""
STOPPED = "stopped; `vitals flow` continues where it was"


def up() -> None:
    """Start NATS and QuestDB on this machine and keep them until Ctrl-C.

    Their addresses, folder and retention come from the settings (`vitals settings`). A server that runs already is used
    when its address is configured.
    """
    raise typer.Exit(run_stack(load_settings(), say=say))


def flow(
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker threads; more than the cores is of no use.")] = 1,
) -> None:
    """Run the dataflow once in this terminal, resuming where it stopped.

    The same as `python -m bytewax.run dataflows.vitals` with the recovery settings that `vitals up` prints. It ends
    when it loses NATS, rather than go on with a hole; started again it continues exactly there. `vitals run` does that
    by itself.
    """
    settings = load_settings()
    recovery = RecoveryStore(settings.stack.data_dir.absolute() / "recovery", settings)
    with recovery.held():
        recovery.prepare()
        recovery.roll_back()
        os.environ.update(recovery.environment())
        say("the flow runs; Ctrl-C stops it")
        try:
            stopped_by = run_flow(["dataflows.vitals", "-w", str(workers)])
        except (BytewaxRuntimeError, JetStreamError, StateRefusedError) as error:
            _explain(error)
        else:
            say(STOPPED)
            raise typer.Exit(INTERRUPTED if stopped_by == signal.SIGINT else 0)


def _explain(error: Exception) -> None:
    """Says in words why the flow ended; what is no known end goes on with its traceback.

    Raises:
        CliError: The log or a stream was lost, or the recovery state cannot be used.
        Exit: It was stopped.
    """
    if any(isinstance(cause, KeyboardInterrupt) or "signal received" in str(cause) for cause in causes(error)):
        say(STOPPED)
        raise typer.Exit(INTERRUPTED) from None
    code, why = verdict(error)
    if code == REFUSED:
        raise CliError(why) from error
    if why:
        message = f"the flow ended: {why}. `vitals doctor` says what runs; `vitals flow` continues where it was."
        raise CliError(message) from error
    raise error
