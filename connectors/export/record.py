"""What is exported: the rows of one patient in a span, from QuestDB, from the lake or from the file runner alike."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from connectors.lake.read import scan
from connectors.lake.rows import counts
from connectors.questdb.frames import table_frame
from connectors.questdb.reads import QuestDBReader
from dataflows.contracts.tables import TABLES

TABLES_OF_A_PATIENT = tuple(name for name in TABLES if name not in {"audit", "ledger"})
"""What tells of the patient; the rest tells of the pipeline."""
INT16 = pl.Int16()


class ExportError(ValueError):
    """The record cannot be exported; says why."""


@dataclass(frozen=True)
class PatientRecord:
    """The rows of one patient.

    Attributes:
        tenant: Organisation.
        patient: Pseudonym.
        from_ns: Begin of the span, inclusive, ns since 1970.
        to_ns: Its end, exclusive.
        tables: Each table in the order of `ts`; `samples` are int16 counts, -32768 where invalid.
    """

    tenant: str
    patient: str
    from_ns: int
    to_ns: int
    tables: Mapping[str, pl.DataFrame]

    @property
    def empty(self) -> bool:
        """Whether there is nothing."""
        return all(frame.is_empty() for frame in self.tables.values())

    def __getitem__(self, table: str) -> pl.DataFrame:
        """The rows of a table; an empty frame with its columns where there are none."""
        found = self.tables.get(table)
        return table_frame(table, [], samples=INT16) if found is None else found


def _record(
    who: tuple[str, str], span_ns: tuple[int, int], read: Callable[[str], pl.DataFrame], names: tuple[str, ...]
) -> PatientRecord:
    tables = {}
    for name in names:
        frame = read(name)
        tables[name] = frame.unique(TABLES[name].dedup, keep="last", maintain_order=True).sort("ts")
    return PatientRecord(*who, *span_ns, tables)


def from_questdb(
    reader: QuestDBReader, who: tuple[str, str], span_ns: tuple[int, int], names: tuple[str, ...] = TABLES_OF_A_PATIENT
) -> PatientRecord:
    """Reads a patient from QuestDB.

    Args:
        reader: Where.
        who: Tenant and patient.
        span_ns: From (inclusive) and to (exclusive), ns since 1970.
        names: Which tables.

    Raises:
        QuestDBUnavailableError: It does not answer.
        QueryError: There are no tables yet.
    """
    tenant, patient = (name.replace("'", "''") for name in who)

    def read(name: str) -> pl.DataFrame:
        columns = ", ".join(f'"{column}"' for column, _ in TABLES[name].columns)
        sql = (
            f"SELECT {columns} FROM \"{name}\" WHERE tenant = '{tenant}' AND patient = '{patient}' "  # noqa: S608  (quoted above)
            f"AND ts >= {span_ns[0]} AND ts < {span_ns[1]}"
        )
        found = reader.query(sql)
        if name != "waveforms":
            return found.cast(table_frame(name, []).schema)
        samples = [counts(one, lsb) for one, lsb in found.select("samples", "lsb").iter_rows()]
        found = found.with_columns(pl.Series("samples", samples, pl.List(INT16)))
        return found.cast(table_frame(name, [], samples=INT16).schema)

    return _record(who, span_ns, read, names)


def from_lake(
    root: Path, who: tuple[str, str], span_ns: tuple[int, int], names: tuple[str, ...] = TABLES_OF_A_PATIENT
) -> PatientRecord:
    """Reads a patient from the data lake; arguments as `from_questdb`."""
    moment = pl.col("ts").cast(pl.Int64)

    def read(name: str) -> pl.DataFrame:
        wanted = (pl.col("tenant") == who[0]) & (pl.col("patient") == who[1]) & (moment >= span_ns[0])
        return scan(root, name).filter(wanted & (moment < span_ns[1])).collect()

    return _record(who, span_ns, read, names)
