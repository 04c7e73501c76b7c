"""Rows on their way to the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Row = tuple[Any, ...]
"""Values in the column order of the row's table (`dataflows.contracts.tables`), `ts` first."""


def told(row: Row) -> Row:
    """The row as the database keeps it: an empty word is none (QuestDB makes null of an empty symbol)."""
    return tuple(None if value == "" else value for value in row)


class RowSource(Protocol):
    """Whatever has rows for the database."""

    def rows(self) -> Sequence[tuple[str, Sequence[Row]]]:
        """Table names, each with its rows."""
        ...


@dataclass(frozen=True)
class StoredRows:
    """Rows that came from another process of the cluster."""

    tables: list[tuple[str, list[Row]]]

    def rows(self) -> list[tuple[str, list[Row]]]:
        """Table names, each with its rows."""
        return self.tables
