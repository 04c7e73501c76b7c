"""What a dead execution had not committed must not come back as state."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, TestingSource, cluster_main

from connectors.local.recovery import claim, resume_epoch, roll_back

EACH_ITEM_AN_EPOCH = timedelta(0)


def total(state, value):
    state = (state or 0) + value
    return state, state


class Flow:
    """Sums by key, an epoch an item."""

    def __init__(self, folder, workers=1):
        init_db_dir(folder, 2)
        self.folder, self._workers, self._items = folder, workers, []

    def run(self, *items):
        """Adds to the input, runs until it ends or aborts, returns (key, sum) as they came out."""
        self._items += items
        out = []
        flow = Dataflow("sums")
        stream = op.input("in", flow, TestingSource(self._items, 1))
        op.output("out", op.stateful_map("sum", stream, total), TestingSink(out))
        config = RecoveryConfig(str(self.folder))
        cluster_main(
            flow, [], 0, epoch_interval=EACH_ITEM_AN_EPOCH, recovery_config=config, worker_count_per_proc=self._workers
        )
        return out

    def execute(self, sql, *values):
        """Runs SQL on every file of the store."""
        found = []
        for file in sorted(self.folder.glob("part-*.sqlite3")):
            with closing(sqlite3.connect(file)) as connection, connection:
                found += connection.execute(sql, values).fetchall()
        return found

    def die_ahead(self, key):
        """Leaves what a process leaves that was killed before the epoch was committed: a newer snapshot of a key."""
        newest = "SELECT snap_epoch, step_id, ser_change FROM snaps WHERE step_id LIKE '%sum%' AND state_key = ?"
        _, step, change = max(self.execute(newest, key))
        with closing(sqlite3.connect(self.folder / "part-0.sqlite3")) as connection, connection:
            connection.execute(
                "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)",
                (step, key, resume_epoch(self.folder), change.replace(b"K\x05", b"K\x63")),  # pickled 5 and 99
            )

    def uncommitted(self):
        """How many snapshots the next execution would have to forget."""
        return sum(
            n for (n,) in self.execute("SELECT count(*) FROM snaps WHERE snap_epoch >= ?", resume_epoch(self.folder))
        )


@pytest.fixture
def flow(tmp_path):
    return Flow(tmp_path)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_resume_epoch_is_the_one_that_bytewax_takes(tmp_path, workers):
    flow = Flow(tmp_path, workers)
    assert resume_epoch(flow.folder) == 1
    rounds = [[("a", 5)], [("b", 1), ("a", 2), ("b", 3)], [("a", 1)]]
    if workers == 1:  # where one of several aborts, the others wait for it for ever
        rounds.insert(2, [("a", 1), TestingSource.ABORT()])
    for items in rounds:
        flow.run(*items)
        expected = resume_epoch(flow.folder)
        flow.run(("c", 1))
        assert max(flow.execute("SELECT ex_num, resume_epoch FROM exs"))[1] == expected


def test_bytewax_takes_up_what_a_dead_execution_left_and_rolling_back_prevents_it(flow):
    assert flow.run(("a", 5), ("b", 1))[0] == ("a", 5)
    flow.die_ahead("a")
    # The next execution commits that epoch, does not touch the key and is killed as well: what the dead one left is now
    # the key's newest state.
    flow.run(("b", 1), ("b", 1), ("b", 1), TestingSource.ABORT())
    assert flow.run(("a", 1)) == [("a", 99 + 1)], "Bytewax mends this by now: roll_back can go"


def test_rolled_back_the_state_is_the_committed_one(flow):
    flow.run(("a", 5), ("b", 1))
    flow.die_ahead("a")
    assert roll_back(flow.folder) == 1
    flow.run(("b", 1), ("b", 1), ("b", 1), TestingSource.ABORT())
    roll_back(flow.folder)
    assert flow.run(("a", 1)) == [("a", 5 + 1)]


def test_a_flow_that_nobody_supervises_rolls_back_itself_and_two_do_not(flow):
    flow.run(("a", 5))
    flow.die_ahead("a")
    claim(["x:flow", "-w", "2"], {})
    assert flow.uncommitted() == 1
    claim(["x:flow", "-r", str(flow.folder)], {})
    assert flow.uncommitted() == 0
    flow.die_ahead("a")
    second = "import sys; from connectors.local.recovery import claim; claim(sys.argv, {})"
    subprocess.run([sys.executable, "-c", second, "-r", str(flow.folder)], check=True, timeout=60)
    assert flow.uncommitted() == 1, "the store was this process's"
