"""Rows as polars frames with the columns of their table."""

import polars as pl

from dataflows.contracts.tables import TABLES, Kind
from dataflows.monitor.rows import Row

_SAMPLES = pl.Float64()
_TYPES: dict[Kind, pl.DataType] = {
    Kind.TIMESTAMP: pl.Datetime("ns", "UTC"),
    Kind.LONG: pl.Int64(),
    Kind.DOUBLE: pl.Float64(),
    Kind.BOOLEAN: pl.Boolean(),
}


def table_frame(name: str, rows: list[Row], samples: pl.DataType = _SAMPLES) -> pl.DataFrame:
    """Returns rows of a table as a polars frame with the table's columns.

    Args:
        name: The table.
        rows: In the order of its columns.
        samples: Type of a sample in them: float64 for physical units, int16 for counts.
    """
    types = _TYPES | {Kind.DOUBLES: pl.List(samples)}
    schema = {column: types.get(kind, pl.String()) for column, kind in TABLES[name].columns}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)
