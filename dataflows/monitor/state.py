"""Snapshots that this program cannot read: refused in words, never misread."""

from collections.abc import Iterator
from contextlib import contextmanager


class StateRefusedError(ValueError):
    """A recovery state is damaged or of a version that this program does not know; starting again will not help."""


@contextmanager
def refusing(step: str) -> Iterator[None]:
    """Turns a `ValueError` while a snapshot is read into a `StateRefusedError` that says what to do.

    Raises:
        StateRefusedError: The snapshot cannot be read.
    """
    try:
        yield
    except ValueError as error:
        message = (
            f"the recovery state of step {step} cannot be used: {error}. Run the version that wrote it, or move the "
            "recovery folder away: the flow then starts from the stream's first message, and nothing is doubled"
        )
        raise StateRefusedError(message) from error
