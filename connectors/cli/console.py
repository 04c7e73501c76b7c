"""What the commands share: where they print, how errors reach people, settings, a connection."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import typer
from nats.aio.client import Client
from nats.errors import Error as NatsError
from pydantic import ValidationError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from connectors.jetstream.connection import connect
from dataflows.settings import Settings

_KEPT = "\n\t"
_OBEYED = [*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
"""Characters that a terminal obeys: controls, and those that turn the direction of writing."""
_SHOWN = {code: "\N{REPLACEMENT CHARACTER}" for code in _OBEYED if chr(code) not in _KEPT}


class PlainConsole(Console):
    """Prints text as text: what a device writes (the subject of a rejected message) gives a terminal no orders."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As in rich; orders of rich's own are none of the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(segment.text.translate(_SHOWN), segment.style)


console = PlainConsole()
errors = PlainConsole(stderr=True)

Async = Callable[[], Coroutine[Any, Any, None]]


class CliError(Exception):
    """Something a person has to mend; the message says what happened and what to do next."""


def load_settings() -> Settings:
    """Reads the settings.

    Raises:
        CliError: The environment or the file holds something that is no setting, or no allowed value.
    """
    try:
        return Settings()
    except (ValidationError, ValueError) as error:
        problems = [str(error)]
        if isinstance(error, ValidationError):
            problems = [
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']} (found {problem['input']!r})"
                for problem in error.errors()
            ]
        message = "a setting is wrong: " + "; ".join(problems) + ". docs/settings.md lists them all."
        raise CliError(message) from None


@asynccontextmanager
async def nats_client(settings: Settings, name: str) -> AsyncIterator[Client]:
    """A connection to NATS for the time of a `with`.

    Raises:
        CliError: Nobody answers there or lets this program in; the connection breaks; the server refuses a request.
    """
    try:
        client = await connect(settings.nats, name)
    except (OSError, NatsError) as error:
        message = (
            f"NATS at {settings.nats.url} does not answer ({error or type(error).__name__}). "
            "Start the local stack with `vitals up`, or name the server in VITALS_NATS__URL."
        )
        raise CliError(message) from error
    try:
        yield client
    except (OSError, NatsError) as error:
        lost = f"the connection to NATS at {settings.nats.url} was lost"
        raise CliError(f"NATS answered: {error}" if client.is_connected else lost) from error
    finally:
        await client.close()


def clock(ns: int) -> str:
    """Returns a time (ns since 1970) as date and time, UTC."""
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def say(text: str) -> None:
    """Prints a line of progress."""
    console.print(text, soft_wrap=True)


def fail(message: str, code: int = 1) -> typer.Exit:
    """Prints what went wrong; the result is to be raised."""
    errors.print("vitals:", message, style="red", soft_wrap=True)
    return typer.Exit(code)
