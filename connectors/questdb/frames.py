"""Rows as polars frames with the columns of their table."""

import polars as pl

from dataflows.contracts.tables import TABLES, Kind
from dataflows.monitor.rows import Row

_TYPES: dict[Kind, pl.DataType] = {
    Kind.TIMESTAMP: pl.Datetime("ns", "UTC"),
    Kind.LONG: pl.Int64(),
    Kind.DOUBLE: pl.Float64(),
    Kind.DOUBLES: pl.List(pl.Float64()),
    Kind.BOOLEAN: pl.Boolean(),
}


def table_frame(name: str, rows: list[Row]) -> pl.DataFrame:
    """Returns rows of a table as a polars frame with the table's columns."""
    schema = {column: _TYPES.get(kind, pl.String()) for column, kind in TABLES[name].columns}
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)
