"""Merging: many small files of a folder become one, and no row is ever lost or counted twice, whenever it is killed.

The merged file is written under the ending `.ready`, with the names of its sources in its footer; then the sources go;
then it takes the last source's name. Killed in between, the next start does the rest (`finish`), and readers
(`connectors.lake.read`) take the ready file in place of its sources meanwhile.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from connectors.lake.layout import READY, TEMPORARY, Facts, FileName, files, sync, table_of, write
from connectors.lake.rows import ordered

logger = logging.getLogger(__name__)
LEVEL = 12
"""Of zstd, for merged files: they are written once and read for years."""


def small(place: Path, before: int, log: str, largest_bytes: int) -> list[tuple[FileName, Path]]:
    """Returns the files of a folder that a merge may take.

    Args:
        place: The folder.
        before: Number from which on files may have to be written again.
        log: Only files of this log.
        largest_bytes: Larger ones stay as they are.
    """
    return [
        (name, path)
        for name, path in files(place)
        if name.log == log and name.number < before and path.stat().st_size <= largest_bytes
    ]


def merge(place: Path, sources: Sequence[tuple[FileName, Path]]) -> Path:
    """Puts one file in the place of several; returns it."""
    table = table_of(place)
    facts = [Facts.of(path) for _, path in sources]
    rows = pl.concat((pl.read_parquet(path) for _, path in sources), how="diagonal")
    target = sources[-1][1]
    ready = target.with_name(target.name + READY)
    merged = Facts(
        min(one.first_log_ns for one in facts),
        max(one.last_log_ns for one in facts),
        tuple(path.name for _, path in sources),
    )
    write(ordered(table, rows), ready, merged, LEVEL)
    _take_over(ready, merged)
    return target


def finish(place: Path) -> None:
    """Ends what a killed writer left half done in a folder."""
    for path in place.glob(f"*{TEMPORARY}"):
        path.unlink()
    for path in place.glob(f"*{READY}"):
        logger.info("%s: finishing a merge", path)
        _take_over(path, Facts.of(path))


def _take_over(ready: Path, facts: Facts) -> None:
    target = ready.with_name(ready.name.removesuffix(READY))
    for name in facts.sources:
        if name != target.name:
            ready.with_name(name).unlink(missing_ok=True)
    ready.replace(target)
    sync(ready.parent)
