"""Where a row lies in the lake, what its file is called, and what the file says of itself.

`<root>/<table>/schema=<n>/date=<UTC day of ts>/bucket=<k>/<log>-p<k>-<number>.parquet`. The bucket is the partition of
the log that holds the patient (FNV-1a of tenant and patient), so one writer owns a folder and no two meet in it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

SCHEMA = 1
"""Version of the columns. An added column keeps it, it is null in older files; anything else changes it."""
ENDING = ".parquet"
TEMPORARY = ".tmp"
READY = ".ready"
"""Ending of a merged file while the files that it replaces are still there; it holds their rows, so it counts."""
_GROUP, _WAVE_GROUP = 100_000, 4_096
"""Rows of a row group. Files are in the order of patients, so whoever wants one of them skips the other groups."""
_NAME = re.compile(r"(?P<log>[0-9a-f]+)-p(?P<bucket>\d+)-(?P<number>\d{10})\.parquet")
_ROLES = {"schema": "vitals.schema", "first": "vitals.first_log_ns", "last": "vitals.last_log_ns"}
_SOURCES = "vitals.sources"


@dataclass(frozen=True, order=True)
class FileName:
    """What a file is called.

    Attributes:
        log: Which log: the stream's creation time in hexadecimal seconds. A stream made anew numbers from 1 again.
        bucket: Partition of the log.
        number: Of the file, by its writer; the writer's recovery state says which number comes next.
    """

    log: str
    bucket: int
    number: int

    def __str__(self) -> str:
        return f"{self.log}-p{self.bucket}-{self.number:010}{ENDING}"

    @classmethod
    def of(cls, path: Path) -> "FileName | None":
        """Returns the name of a file of the lake; None for another file."""
        match = _NAME.fullmatch(path.name)
        return match and cls(match["log"], int(match["bucket"]), int(match["number"]))


@dataclass(frozen=True)
class Facts:
    """What a file's footer says beside its columns.

    Attributes:
        first_log_ns: Least log time of its rows.
        last_log_ns: Greatest log time of its rows.
        sources: Names of the files that a merged file replaces.
    """

    first_log_ns: int
    last_log_ns: int
    sources: tuple[str, ...] = ()

    def metadata(self) -> dict[str, str]:
        """As key and value of the Parquet footer."""
        return {
            _ROLES["schema"]: str(SCHEMA),
            _ROLES["first"]: str(self.first_log_ns),
            _ROLES["last"]: str(self.last_log_ns),
            _SOURCES: ",".join(self.sources),
        }

    @classmethod
    def of(cls, path: Path) -> "Facts":
        """Reads them from a file."""
        found: Mapping[str, str] = pl.read_parquet_metadata(path)
        sources = tuple(filter(None, found[_SOURCES].split(",")))
        return cls(int(found[_ROLES["first"]]), int(found[_ROLES["last"]]), sources)


def folder(root: Path, table: str, date: str, bucket: int) -> Path:
    """Returns where rows of a day and bucket lie."""
    return root / table / f"schema={SCHEMA}" / f"date={date}" / f"bucket={bucket}"


def folders(root: Path, bucket: int) -> Iterator[Path]:
    """Yields every folder of a bucket, of all tables and days."""
    yield from sorted(root.glob(f"*/schema={SCHEMA}/date=*/bucket={bucket}"))


def table_of(place: Path) -> str:
    """Returns the table whose rows lie in a folder."""
    return place.parents[2].name


def files(place: Path) -> list[tuple[FileName, Path]]:
    """Returns the finished files of a folder in the order of writing."""
    named = ((FileName.of(path), path) for path in place.glob(f"*{ENDING}"))
    return sorted((name, path) for name, path in named if name is not None)


def write(frame: pl.DataFrame, path: Path, facts: Facts, level: int) -> None:
    """Writes a file whole or not at all, and durably: under another name, synced, then renamed.

    Args:
        frame: Its rows.
        path: Its name.
        facts: For the footer.
        level: Of zstd.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:
        frame.write_parquet(
            file,
            compression="zstd",
            compression_level=level,
            row_group_size=_WAVE_GROUP if "samples" in frame.columns else _GROUP,
            metadata=facts.metadata(),
        )
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def sync(place: Path) -> None:
    """Makes renames and removals in a folder survive a loss of power."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
