"""Removal of old days: a day of a bucket is there or gone, never in between, and what is gone is on record.

The folder is first renamed away from its table, at once for every reader; then the manifest is told; then its files go.
Killed in between, the next start does the rest. Which days are old is decided by log time, not by the wall clock.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from connectors.lake.layout import Facts, files, folders, sync, table_of
from dataflows.contracts.tables import TABLES
from dataflows.settings import LakeSettings

logger = logging.getLogger(__name__)
LEAVING = ".removing"
"""Folder of days that no reader sees any more and whose files are still there."""
MANIFEST = "manifest"


def manifest(root: Path, bucket: int) -> Path:
    """Returns the record of what was removed from a bucket: a line of JSON a day and table."""
    return root / MANIFEST / f"removed-p{bucket}.jsonl"


def old(root: Path, bucket: int, settings: LakeSettings, log_ns: int) -> Iterator[Path]:
    """Yields the folders of a bucket that are kept no longer."""
    keep = {"waveforms": settings.waveforms_keep_d, "rows": settings.rows_keep_d}
    today = datetime.fromtimestamp(log_ns // 10**9, UTC).date()
    for place in folders(root, bucket):
        table = TABLES.get(table_of(place))
        days = 0 if table is None else keep.get(table.keep, 0)
        if days and place.parent.name < f"date={today - timedelta(days=days)}":
            yield place


def remove(root: Path, bucket: int, place: Path, log_ns: int) -> None:
    """Removes a folder of a bucket."""
    day = place.parent
    leaving = root / LEAVING / f"{table_of(place)}.{day.parent.name}.{day.name}.{place.name}"
    leaving.parent.mkdir(exist_ok=True)
    if leaving.exists():  # of a start that did not come to its end; its line is on record
        shutil.rmtree(leaving)
    place.rename(leaving)
    sync(day)
    sync(leaving.parent)
    _finish(root, bucket, leaving, log_ns)
    if not any(day.iterdir()):
        day.rmdir()


def finish(root: Path, bucket: int, log_ns: int = 0) -> None:
    """Ends the removals of a bucket that a killed writer left half done."""
    for leaving in sorted((root / LEAVING).glob(f"*.bucket={bucket}")):
        logger.info("%s: finishing a removal", leaving)
        _finish(root, bucket, leaving, log_ns)


def _finish(root: Path, bucket: int, leaving: Path, log_ns: int) -> None:
    entry = _entry(leaving, log_ns)
    record = manifest(root, bucket)
    known = record.read_text().splitlines() if record.exists() else []
    # What was told before the kill is not told again: the names of files come once.
    if entry["files"] and not any(json.loads(line)["files"] == entry["files"] for line in known if line.endswith("}")):
        record.parent.mkdir(exist_ok=True)
        with record.open("a") as file:
            # A line that was cut off by a loss of power stays what it is: a line of its own.
            file.write(("" if not known or known[-1].endswith("}") else "\n") + json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        sync(record.parent)
    shutil.rmtree(leaving)


def _entry(leaving: Path, log_ns: int) -> dict[str, object]:
    table, schema, date, bucket = leaving.name.split(".")
    found = [path for _, path in files(leaving)]
    facts = [Facts.of(path) for path in found]
    return {
        "table": table,
        "schema": int(schema.partition("=")[2]),
        "date": date.partition("=")[2],
        "bucket": int(bucket.partition("=")[2]),
        "files": [path.name for path in found],
        "rows": sum(pl.scan_parquet(path).select(pl.len()).collect().item() for path in found),
        "bytes": sum(path.stat().st_size for path in found),
        "first_log_ns": min((one.first_log_ns for one in facts), default=0),
        "last_log_ns": max((one.last_log_ns for one in facts), default=0),
        "removed_log_ns": log_ns,
    }
