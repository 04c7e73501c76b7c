"""Rows of the flow as frames of the lake: int16 samples instead of physical units, one order, each identity once."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from connectors.questdb.frames import table_frame
from dataflows.contracts.tables import TABLES, WAVEFORMS
from dataflows.monitor.rows import Row, told

INVALID = np.iinfo(np.int16).min
"""The count that stands for a sample that the device marked as invalid."""
_NAMES = [name for name, _ in WAVEFORMS.columns]
_SAMPLES, _LSB = _NAMES.index("samples"), _NAMES.index("lsb")
_ORDER = ("tenant", "patient", "device", "boot", "signal", "code", "rule", "ts")


def counts(samples: npt.ArrayLike, lsb: float) -> npt.NDArray[np.int16]:
    """Returns the counts of a frame as the device sent them.

    Exact: a physical value is `count * lsb` in double precision, whose error is far below half a count.

    Args:
        samples: Physical units, NaN where invalid, 1-D.
        lsb: Physical units per count.
    """
    steps = np.rint(np.asarray(samples, np.float64) / lsb)
    return np.where(np.isnan(steps), INVALID, steps).astype(np.int16)


def compact(table: str, rows: Sequence[Row]) -> list[Row]:
    """Returns rows as a writer keeps them until they are written: a quarter of the memory for samples."""
    if table != WAVEFORMS.name:
        return [told(row) for row in rows]
    return [
        (*told(row[:_SAMPLES]), counts(row[_SAMPLES], row[_LSB]), *told(row[_SAMPLES + 1 :])) for row in rows
    ]  # fmt: skip


def frame_of(table: str, rows: list[Row]) -> pl.DataFrame:
    """Returns compacted rows as the frame that is written.

    NaN becomes null, as in the database. Of rows with one identity the last counts, as in the database.
    """
    frame = table_frame(table, rows, samples=pl.Int16()).with_columns(pl.col(pl.Float64).fill_nan(None))
    return ordered(table, frame)


def ordered(table: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Returns each identity once, patient by patient in the order of time: what lies together compresses together."""
    order = [name for name in _ORDER if name in frame.columns]
    return frame.unique(TABLES[table].dedup, keep="last", maintain_order=True).sort(order, maintain_order=True)
