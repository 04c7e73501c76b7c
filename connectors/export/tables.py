"""A patient's rows as CSV or Parquet, a file a table."""

from pathlib import Path

import polars as pl

from connectors.export.record import PatientRecord


def write_tables(record: PatientRecord, folder: Path, form: str) -> list[Path]:
    """Writes every table that has rows.

    Args:
        record: What to write.
        folder: Where.
        form: `csv` (times in ISO 8601, samples as counts with blanks between them) or `parquet`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, frame in record.tables.items():
        if frame.is_empty():
            continue
        path = folder / f"{name}.{form}"
        if form == "parquet":
            frame.write_parquet(path)
        else:
            lists = [column for column, kind in frame.schema.items() if isinstance(kind, pl.List)]
            texts = [pl.col(column).cast(pl.List(pl.String)).list.join(" ") for column in lists]
            frame.with_columns(texts).write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
        written.append(path)
    return written
