"""`vitals notify`: alerts out to webhooks."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from nats.errors import Error as NatsError

from connectors.cli.console import CliError, load_settings, say
from connectors.cli.noted import note_read
from connectors.notify.service import serve


def notify() -> None:
    """Deliver alerts to the webhooks of the settings until SIGTERM or Ctrl-C.

    What was not confirmed is sent again after a crash, with the same idempotency key. When NATS is lost it ends with
    exit code 1; whatever keeps it running starts it again. docs/notifications.md says what a receiver gets.
    """
    settings = load_settings()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    note_read(settings, f"notify {' '.join(target.name for target in settings.notify.targets)}")
    try:
        asyncio.run(_until_stopped(serve(settings, say)))
    except (OSError, NatsError) as error:
        message = f"NATS at {settings.nats.url} does not answer ({error or type(error).__name__})"
        raise CliError(message) from error


async def _until_stopped(service: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(service)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task
