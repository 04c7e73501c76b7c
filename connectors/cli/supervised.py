"""What each command that keeps a flow running has around it: a health endpoint, and an end that drains."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from connectors.cli.console import CliError
from connectors.local.health import Health, HealthServer
from connectors.local.supervisor import Supervisor


@contextmanager
def supervised(supervisor: Supervisor, health: Health, host: str, port: int, *, setting: str) -> Iterator[HealthServer]:
    """Serves the health endpoint for the time of a `with`; SIGTERM and Ctrl-C stop the supervisor.

    Args:
        supervisor: Who is told to stop.
        health: Who answers.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        setting: What people call the port.

    Raises:
        CliError: The port is taken.
    """
    try:
        server = HealthServer(health, host, port)
    except OSError as error:
        message = f"{setting} {port} cannot be used: {error}"
        raise CliError(message) from error
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    try:
        yield server
    finally:
        server.close()
