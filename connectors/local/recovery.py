"""The flow's recovery store: made once, checked at every start, refused in words when it cannot be continued.

Bytewax keeps state in SQLite files whose number is fixed when they are made. Beside them lies a stamp that says what
wrote them, because Bytewax itself would start on files of another log or version and misread or miss state.
"""

import argparse
import fcntl
import json
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

from bytewax.recovery import init_db_dir

from dataflows.monitor.state import StateRefusedError
from dataflows.settings import Settings

PARTITIONS = 2
"""SQLite files of a new store."""
FORMAT = 1
_FIRST_EPOCH = 1
_LOCK = "lock"
_STAMP = "vitals-recovery.json"
_POSITIONS = "SELECT state_key, snap_epoch, ser_change FROM snaps WHERE step_id LIKE '%.log' AND snap_epoch < ?"
_SOURCE, _NEXT_SEQ_AT = b"VPRT", 14
_NEXT_SEQ_AND_LOG_NS = struct.Struct("<Qq")
"""Kind of the source's snapshot, and where in it these two stand (native/src/puller/log.rs)."""


@dataclass(frozen=True)
class Position:
    """How far a partition of the log is done.

    Attributes:
        seq: Sequence up to which nothing will be done again.
        log_ns: Log time there, ns since 1970.
    """

    seq: int
    log_ns: int


def resume_epoch(folder: Path) -> int:
    """Returns the epoch at which Bytewax will resume: the first that some worker of the last execution did not finish.

    The store is read as Bytewax reads it: of the execution with the highest number, each worker's last frontier, and
    the epoch at which it began where a worker has none yet.
    """
    executions: list[tuple[int, int, int]] = []
    frontiers: dict[tuple[int, int], int] = {}
    for file in _files(folder):
        with closing(sqlite3.connect(file)) as connection:
            executions += connection.execute("SELECT ex_num, worker_count, resume_epoch FROM exs")
            for ex_num, worker, frontier in connection.execute(
                "SELECT ex_num, worker_index, worker_frontier FROM fronts"
            ):
                frontiers[ex_num, worker] = max(frontier, frontiers.get((ex_num, worker), 0))
    if not executions:
        return _FIRST_EPOCH
    ex_num, workers, began = max(executions)
    return min(max(began, frontiers.get((ex_num, worker), 0)) for worker in range(workers))


def roll_back(folder: Path) -> int:
    """Deletes the snapshots of epochs that were not committed, and returns how many there were.

    Bytewax 0.21 leaves them. It snapshots only what an epoch touched, so an execution that commits the same epoch
    without touching a key leaves the dead execution's snapshot as that key's newest: after the next crash the key has a
    state from beyond the source's position. A sink then believes that it has looked already, and writes twice
    (tests/connectors/local/test_recovery.py).
    """
    epoch, forgotten = resume_epoch(folder), 0
    for file in _files(folder):
        with closing(sqlite3.connect(file)) as connection, connection:
            forgotten += connection.execute("DELETE FROM snaps WHERE snap_epoch >= ?", (epoch,)).rowcount
    return forgotten


_claimed: list[TextIO] = []
"""Locks that this process holds to its end."""


def claim(arguments: Sequence[str], environment: Mapping[str, str]) -> None:
    """Rolls the store of a plain `python -m bytewax.run` back; one that is supervised was rolled back already.

    The first process that loads the graph does it and keeps the store's lock to its end: no process works before all of
    them have loaded it.

    Args:
        arguments: Command line, where Bytewax takes the store's folder from first.
        environment: Where it takes it from otherwise.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-r", "--recovery-directory", default=environment.get("BYTEWAX_RECOVERY_DIRECTORY"))
    named = parser.parse_known_args(list(arguments))[0].recovery_directory
    folder = Path(named or "")
    if not named or not _files(folder):
        return
    lock = (folder / _LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return
    _claimed.append(lock)
    roll_back(folder)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.sqlite3"))


class RecoveryStore:
    """A folder with the state of a flow.

    Args:
        folder: Where it lies.
        settings: The log that the state belongs to.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._snapshot_interval_s = settings.stack.snapshot_interval_s
        self._expected: dict[str, object] = {
            "format": FORMAT,
            "bytewax": version("bytewax"),
            "log": settings.streams.vitals,
            "log_partitions": settings.streams.partitions,
        }

    def files(self) -> list[Path]:
        """SQLite files that are there."""
        return _files(self.folder)

    def prepare(self) -> bool:
        """Makes the store where there is none, else checks that the flow may continue on it.

        Returns:
            Whether it was made now.

        Raises:
            StateRefusedError: It is damaged, incomplete, or belongs to another version or log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.files():
            # Bytewax's stub leaves the return type out.
            init_db_dir(self.folder, PARTITIONS)  # type: ignore[no-untyped-call]
            (self.folder / _STAMP).write_text(json.dumps(self._expected | {"partitions": PARTITIONS}) + "\n")
            return True
        problem = self._stamp_problem() or next(filter(None, map(self._file_problem, self.files())), "")
        if problem:
            message = (
                f"the recovery store in {self.folder} {problem}. Run what wrote it, or move the folder away: the flow "
                "then starts from the stream's first message, and the sinks leave out what is written already"
            )
            raise StateRefusedError(message)
        return False

    def roll_back(self) -> int:
        """Forgets what the last execution had not committed; to be called before each start, while no process runs.

        Returns:
            Number of snapshots that were forgotten.
        """
        return roll_back(self.folder)

    def _stamp_problem(self) -> str:
        """Returns in words how the stamp differs from this flow; "" where it does not."""
        stamp = self.folder / _STAMP
        try:
            found = json.loads(stamp.read_text())
        except FileNotFoundError:
            return "has no stamp that says which log and version it belongs to"
        except ValueError:
            return f"has an unreadable stamp {stamp.name}"
        for name, expected in self._expected.items():
            if found.get(name) != expected:
                return f"is of {name} {found.get(name)!r}, this flow is of {expected!r}"
        return self._count_problem(int(found.get("partitions", 0)))

    def _file_problem(self, file: Path) -> str:
        """Returns in words what is wrong with a file; "" where nothing is."""
        try:
            with closing(sqlite3.connect(file)) as connection:
                verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                (count,) = connection.execute("SELECT part_count FROM parts LIMIT 1").fetchone() or (0,)
        except sqlite3.Error as error:
            return f"is damaged: {file.name}: {error}"
        return f"is damaged: {file.name}: {verdict}" if verdict != "ok" else self._count_problem(int(count))

    def _count_problem(self, made_with: int) -> str:
        there = len(self.files())
        return "" if made_with == there else f"was made with {made_with} files, {there} are there"

    def positions(self) -> dict[int, Position]:
        """Returns how far each partition of the log is done; empty without a store."""
        newest: dict[int, tuple[int, Position]] = {}
        before_epoch = resume_epoch(self.folder)
        for file in self.files():
            with closing(sqlite3.connect(file)) as connection:
                for key, epoch, change in connection.execute(_POSITIONS, (before_epoch,)):
                    at = (change or b"").find(_SOURCE)
                    partition = int(key.rpartition("/p")[2])
                    if at >= 0 and epoch >= newest.get(partition, (0,))[0]:
                        next_seq, log_ns = _NEXT_SEQ_AND_LOG_NS.unpack_from(change, at + _NEXT_SEQ_AT)
                        newest[partition] = (epoch, Position(next_seq - 1, log_ns))
        return {partition: position for partition, (_, position) in newest.items()}

    def environment(self) -> dict[str, str]:
        """Returns what a process of the flow needs in its environment."""
        return {
            "BYTEWAX_RECOVERY_DIRECTORY": str(self.folder),
            "BYTEWAX_SNAPSHOT_INTERVAL": str(self._snapshot_interval_s),
            # Nobody copies the recovery files elsewhere, so nothing has to be kept for that.
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL": "0",
        }

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps a second supervisor off the store for the time of a `with`.

        Raises:
            StateRefusedError: Another one has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                message = f"another flow runs on the recovery store in {self.folder}: two would write each alert twice"
                raise StateRefusedError(message) from None
            yield
