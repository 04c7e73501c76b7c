"""The sink that writes the lake: every row of the log in exactly one file, whenever the flow is killed.

A writer numbers its files. Its recovery state is the number that comes next, and Bytewax commits it with the epoch
whose rows the files hold. After a kill, files from that number on are of an epoch that is done again: the start removes
them, and the same rows get the same names again. Rows wait in memory until the epoch's end or until there are many.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from prometheus_client import Counter, Histogram

from connectors.jetstream.connection import native_options
from connectors.lake import retention
from connectors.lake.layout import Facts, FileName, files, folder, folders, write
from connectors.lake.merge import finish, merge, small
from connectors.lake.rows import compact, frame_of
from dataflows._native import Publisher, partition_of
from dataflows.contracts.tables import TABLES
from dataflows.monitor.rows import Row, RowSource
from dataflows.monitor.state import refusing
from dataflows.settings import LakeSettings, Settings

VERSION = 1
_DAY_NS = 86_400 * 10**9
LEVEL = 3
"""Of zstd, for files that will be merged soon."""
FILES = Counter("vitals_lake_files", "Files (expired: days) of the lake by what was done to them", ["what"])
ROWS = Counter("vitals_lake_rows", "Rows written to the lake", ["table"])
WRITE_SECONDS = Histogram(
    "vitals_lake_write_seconds",
    "Time to write an epoch's files, merges apart",
    buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
)


class State(msgspec.Struct, array_like=True):
    """Recovery state of a writer.

    Attributes:
        version: Of this structure.
        log: Which log the numbers belong to.
        number: Of the next file.
        known_ns: Log time up to which rows may stand in files that an earlier writer left, whose state is lost.
    """

    version: int
    log: str
    number: int
    known_ns: int


class LakePartition(StatefulSinkPartition[RowSource, bytes]):
    """The writer of one bucket.

    Args:
        settings: Where and how large.
        bucket: Number of the bucket.
        log: Which log it is.
        resume: Recovery state.
    """

    def __init__(self, settings: LakeSettings, bucket: int, log: str, resume: bytes | None) -> None:
        self._settings = settings
        self._root = settings.root.absolute()
        self._bucket = bucket
        self._log = log
        self._rows: dict[str, list[Row]] = {}
        self._waiting = 0
        self._touched: set[Path] = set()
        self._log_ns = self._looked_day = 0
        retention.finish(self._root, bucket)
        for place in folders(self._root, bucket):
            finish(place)
            self._touched.add(place)
        self._number, self._known_ns = self._begin() if resume is None else self._resume(resume)
        self._safe = self._told = self._number

    def _begin(self) -> tuple[int, int]:
        """Without a state: after the files that are there, whose rows are not written again."""
        mine = [(name.number, path) for name, path in self._files() if name.log == self._log]
        following = max((number for number, _ in mine), default=-1) + 1
        return following, max((Facts.of(path).last_log_ns for _, path in mine), default=0)

    def _resume(self, resume: bytes) -> tuple[int, int]:
        """With a state: what was written after it will be written again."""
        state = _read_state(resume, self._log)
        for name, path in self._files():
            if name.log == self._log and name.number >= state.number:
                path.unlink()
                FILES.labels("removed").inc()
        return state.number, state.known_ns

    def _files(self) -> Iterable[tuple[FileName, Path]]:
        for place in folders(self._root, self._bucket):
            yield from files(place)

    def write_batch(self, values: list[RowSource]) -> None:
        """Takes rows; writes them when there are many."""
        for value in values:
            for table, rows in value.rows():
                self._rows.setdefault(table, []).extend(compact(table, rows))
                self._waiting += len(rows)
        if self._waiting >= self._settings.file_rows:
            self._write()

    def snapshot(self) -> bytes:
        """Writes what waits, merges what is small, and returns the number of the next file."""
        started = time.perf_counter()
        self._write()
        WRITE_SECONDS.observe(time.perf_counter() - started)
        self._merge()
        self._remove_old()
        # What is returned now is durable at the next snapshot but one at the latest.
        self._safe, self._told = self._told, self._number
        return msgspec.msgpack.encode(State(VERSION, self._log, self._number, self._known_ns))

    def close(self) -> None:
        """Writes what waits, on finite input."""
        self._write()

    def _write(self) -> None:
        rows, self._rows, self._waiting = self._rows, {}, 0
        for table, some in rows.items():
            frame = frame_of(table, some).with_columns(pl.col("ts").dt.strftime("%Y-%m-%d").alias("date"))
            for (date,), day in frame.group_by(["date"], maintain_order=True):
                self._write_day(table, str(date), day.drop("date"))

    def _write_day(self, table: str, date: str, frame: pl.DataFrame) -> None:
        place = folder(self._root, table, date, self._bucket)
        moment = pl.col("log_ns") if "log_ns" in frame.columns else pl.col("ts").cast(pl.Int64)
        facts = Facts(*frame.select(moment.min().alias("first"), moment.max().alias("last")).row(0))
        if facts.first_log_ns <= self._known_ns:
            frame = _unknown(table, frame, [path for name, path in files(place) if name.log == self._log])
            if frame.is_empty():
                return
        self._log_ns = max(self._log_ns, facts.last_log_ns)
        write(frame, place / str(FileName(self._log, self._bucket, self._number)), facts, LEVEL)
        self._number += 1
        self._touched.add(place)
        FILES.labels("written").inc()
        ROWS.labels(table).inc(frame.height)

    def _merge(self) -> None:
        """Merges in folders that were written to; files that may have to be written again are left alone."""
        for place in sorted(self._touched):
            sources = small(place, self._safe, self._log, self._settings.merge_bytes)
            if len(sources) >= self._settings.merge_files:
                merge(place, sources)
                FILES.labels("merged").inc()
                self._touched.discard(place)

    def _remove_old(self) -> None:
        """Removes days that are kept no longer, when log time has come to another day, or at the first look."""
        if (today := self._log_ns // _DAY_NS) == self._looked_day:
            return
        self._looked_day = today
        for place in list(retention.old(self._root, self._bucket, self._settings, self._log_ns)):
            retention.remove(self._root, self._bucket, place, self._log_ns)
            self._touched.discard(place)
            FILES.labels("expired").inc()


def _unknown(table: str, frame: pl.DataFrame, there: list[Path]) -> pl.DataFrame:
    """Returns the rows that no file of the folder holds."""
    keys = TABLES[table].dedup
    for path in there:
        frame = frame.join(pl.read_parquet(path, columns=list(keys)), on=keys, how="anti", nulls_equal=True)
    return frame


def _read_state(data: bytes, log: str) -> State:
    try:
        state = msgspec.msgpack.decode(data, type=State)
    except msgspec.MsgspecError as error:
        message = f"the state of a lake's writer cannot be read: {error}"
        raise ValueError(message) from error
    if state.version != VERSION:
        message = f"the state of a lake's writer has version {state.version}, this program reads version {VERSION}"
        raise ValueError(message)
    if state.log != log:
        message = "it belongs to a stream that was deleted since; the stream of now is another one"
        raise ValueError(message)
    return state


class LakeSink(FixedPartitionedSink[RowSource, bytes]):
    """Sink of everything with rows, keyed by `tenant/patient`.

    Args:
        settings: Where the lake is, and the log whose partitions its buckets are.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def list_parts(self) -> list[str]:
        """Names of the writers, one a bucket."""
        return [f"lake/p{bucket}" for bucket in range(self._settings.streams.partitions)]

    def part_fn(self, item_key: str) -> int:
        """Bucket of a patient: its partition of the log."""
        tenant, _, patient = item_key.partition("/")
        return partition_of(tenant, patient, self._settings.streams.partitions)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LakePartition:
        """Brings the bucket's files to the recovery state.

        Raises:
            JetStreamError: No server or no such stream.
            StateRefusedError: The recovery state cannot be read, or is of a stream that is gone.
        """
        publisher = Publisher(native_options(self._settings.nats, f"{step_id} {for_part}"))
        created_ns, _, _ = publisher.stream_state(self._settings.streams.vitals)
        publisher.close()
        with refusing(step_id):
            bucket = int(for_part.rpartition("/p")[2])
            return LakePartition(self._settings.lake, bucket, f"{created_ns // 1_000_000_000:x}", resume_state)
