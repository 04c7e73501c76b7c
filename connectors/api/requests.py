"""Reading the parameters of a request: each gives a value or a `ProblemError` that names it."""

import re
import time
from datetime import datetime

from starlette.requests import HTTPConnection

from connectors.api.problems import ProblemError
from connectors.api.queries import EVERY_S, Span
from dataflows.contracts.frames import is_token

_NS = re.compile(r"\d{1,19}")
_FAR_NS = 4_000_000_000_000_000_000
_DEFAULT_ROWS = 1000


def token(value: str, name: str) -> str:
    """Returns a name as subjects have it.

    Raises:
        ProblemError: It has other characters.
    """
    if not is_token(value):
        raise ProblemError(422, f"{name}: 1 to 64 of the characters A-Z a-z 0-9 _ -")
    return value


def optional(connection: HTTPConnection, *names: str) -> dict[str, str]:
    """Returns the parameters of these names that are given, as tokens."""
    given = {name: connection.query_params.get(name) for name in names}
    return {name: token(value, name) for name, value in given.items() if value}


def moment(text: str, name: str) -> int:
    """Returns a time as ns since 1970: an integer of ns, or ISO 8601 with its zone.

    Raises:
        ProblemError: It is neither, or has no zone.
    """
    if _NS.fullmatch(text):
        return int(text)
    try:
        # A `+` that was not escaped arrives as a space.
        when = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise ProblemError(422, f"{name}: ns since 1970, or ISO 8601 with its zone, not {text!r}") from None
    if when.tzinfo is None:
        raise ProblemError(422, f"{name}: {text!r} has no zone: write Z or an offset")
    return round(when.timestamp() * 1_000_000) * 1000


def every(connection: HTTPConnection) -> str | None:
    """Returns the interval of a roll-up, or None for single rows."""
    wanted = connection.query_params.get("every")
    if wanted is not None and wanted not in EVERY_S:
        raise ProblemError(422, f"every: one of {', '.join(EVERY_S)}")
    return wanted


def span(connection: HTTPConnection, max_rows: int, default_s: float = 3600.0) -> Span:
    """Returns which part of the past is asked for; without `from` the last `default_s` before `to`.

    Raises:
        ProblemError: A time or the limit is wrong.
    """
    asked = connection.query_params
    to_ns = moment(asked["to"], "to") if asked.get("to") else time.time_ns() + 60 * 10**9
    from_ns = moment(asked["from"], "from") if asked.get("from") else to_ns - round(default_s * 1e9)
    if not 0 <= from_ns < to_ns <= _FAR_NS:
        raise ProblemError(422, "from must be before to")
    limit = asked.get("limit", str(min(_DEFAULT_ROWS, max_rows)))
    if not (limit.isdigit() and 1 <= int(limit[:9]) <= max_rows):
        raise ProblemError(422, f"limit: 1 to {max_rows}")
    return Span(from_ns, to_ns, int(limit), asked.get("cursor", ""))
