"""Reading the lake with polars: the files of a table that count at this moment, as one lazy frame."""

from pathlib import Path

import polars as pl

from connectors.lake.layout import ENDING, READY, SCHEMA, Facts
from connectors.lake.rows import INVALID
from connectors.questdb.frames import table_frame


def current(root: Path, table: str) -> list[Path]:
    """Returns the files of a table; of a merge that is under way the merged file, not what it replaces."""
    base = root / table / f"schema={SCHEMA}"
    found = set(base.glob(f"date=*/bucket=*/*{ENDING}"))
    for ready in sorted(base.glob(f"date=*/bucket=*/*{READY}")):
        found -= {ready.with_name(name) for name in Facts.of(ready).sources}
        found.add(ready)
    return sorted(found)


def scan(root: Path, table: str) -> pl.LazyFrame:
    """Returns a table of the lake.

    Columns are those of `dataflows.contracts.tables`, in files of before a column was added it is null; `samples` are
    int16 counts, to be multiplied by `lsb`, and -32768 where the device marked a sample as invalid.
    """
    expected = table_frame(table, [], samples=pl.Int16())
    paths = current(root, table)
    if not paths:
        return expected.lazy()
    found = pl.scan_parquet(paths, hive_partitioning=False, missing_columns="insert", schema=expected.schema)
    return found.select(expected.columns)


def physical(waveforms: pl.LazyFrame) -> pl.LazyFrame:
    """Returns waveforms with samples in physical units, null where invalid."""
    valid = pl.when(pl.element() != INVALID).then(pl.element().cast(pl.Float64))
    return waveforms.with_columns(pl.col("samples").list.eval(valid) * pl.col("lsb"))
