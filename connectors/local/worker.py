"""One process of the flow: `python -m connectors.local.worker dataflows.vitals ...`, what `vitals run` starts.

The same as `python -m bytewax.run` with three differences. SIGTERM and Ctrl-C drain: the epoch is closed and
snapshotted, where Bytewax alone would die at once and do up to an epoch again. Metrics are served on loopback;
Bytewax's own server listens on every address. And the exit code tells a supervisor whether starting again can help.
"""

import logging
import runpy
import signal
import sys
from collections.abc import Iterator, Sequence

from prometheus_client import start_http_server

from connectors.jetstream.source import DRAIN
from connectors.local.ports import LOOPBACK
from dataflows._native import JetStreamError, LostRangeError
from dataflows.monitor.state import StateRefusedError

DONE, DIED, REFUSED = 0, 1, 3
"""Exit codes: it drained; it died and may be started again; it will not start until a person has mended something."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and what it was raised from: Bytewax wraps what a step raised."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def verdict(error: BaseException) -> tuple[int, str]:
    """Returns the exit code that an error of the flow means, and why in words; "" where only the traceback tells."""
    for cause in causes(error):
        if isinstance(cause, LostRangeError):
            return REFUSED, f"messages of the log are lost to the flow: {cause}"
        if isinstance(cause, StateRefusedError):
            return REFUSED, str(cause)
        if isinstance(cause, JetStreamError):
            return DIED, str(cause)
    return DIED, ""


def run_flow(arguments: Sequence[str], metrics_port: int = 0) -> int:
    """Runs a flow in this process until it ends; SIGTERM and Ctrl-C drain it, and a second Ctrl-C breaks it off.

    Args:
        arguments: What `python -m bytewax.run` takes.
        metrics_port: Port for `/metrics` on loopback; 0 for none.

    Returns:
        The last signal that it was drained by; 0 for none.

    Raises:
        Exception: Whatever ended the flow.
    """
    received = 0

    def drain(number: int, _: object) -> None:
        nonlocal received
        received = number
        DRAIN.set()
        # Python would raise KeyboardInterrupt in whichever step runs now, which ends the flow as a fault of that step.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, drain)
    signal.signal(signal.SIGINT, drain)
    if metrics_port:
        start_http_server(metrics_port, addr=LOOPBACK)
    sys.argv = ["bytewax.run", *arguments]
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)
    return received


def main() -> None:
    """Entry; the first argument is the port of the metrics, the others are those of `bytewax.run`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    metrics_port, *arguments = sys.argv[1:]
    try:
        run_flow(arguments, int(metrics_port))
    except Exception as error:  # the log has the traceback, the supervisor the code
        logging.exception("the flow ended")
        code, why = verdict(error)
        logging.error("ENDED: %s", why or f"{type(error).__name__}: {error}")
        sys.exit(code)


if __name__ == "__main__":
    main()
