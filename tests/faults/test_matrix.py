"""Every fault, one after another, under live traffic: nothing lost, nothing twice, and the bytes of a calm run."""

import sys

import pytest

from tests.faults.faults import FAULTS, leave_out, suspend
from tests.faults.ground import QUESTDB, Ground
from tests.servers import QuestDB
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture
def questdb_for_tests(tmp_path):
    """A QuestDB that can be made to fail."""
    server = QuestDB(tmp_path / "questdb", QUESTDB).start()
    yield server
    server.stop()


def test_no_fault_loses_or_doubles_anything(nats_server, questdb_for_tests, tmp_path):
    ground = Ground(nats_server, questdb_for_tests, tmp_path)
    for fault in FAULTS:
        verdict = ground.try_fault(fault)
        sys.stdout.write(f"{verdict}\n")
        assert (verdict.lost, verdict.doubled) == (0, 0), fault.name
    ground.finish()
    # Trends are read from roll-ups, which a full disk may leave behind without anybody's noticing.
    reader = ground.questdb.reader
    assert [state for state in reader.health() if state.suspended] == []

    def rolled_up() -> bool:
        readings, rates = (
            reader.query(f"SELECT sum(n) n FROM {name}").item() for name in ("observations_1m", "rates_1m")
        )
        return readings == reader.count("observations", "suspect = false") and rates == reader.count(
            "beats", "rr_ms > 0"
        )

    until(rolled_up, 60)
    found = {comparison.name: comparison for comparison in ground.differences()}
    assert {name: one for name, one in found.items() if one.differing} == {}
    assert found["alerts"].same > 5
    assert found["ALERTS"].same > 5
    assert found["waveforms"].same > 300


def test_what_a_database_cannot_apply_is_left_out_and_written_again(nats_server, questdb_for_tests, tmp_path):
    """The way out of docs/guarantees.md, "After a full disk", with what a suspended table holds in place of damage."""
    ground = Ground(nats_server, questdb_for_tests, tmp_path)
    ground.settle()
    suspend(ground)
    leave_out(ground, set())
    ground.settle()
    (note,) = ground.notes
    assert "observations" in note
    assert (ground.balance().totals["lost"], ground.doubled()) == (0, 0)
    ground.finish()
    found = {comparison.name: comparison for comparison in ground.differences()}
    assert {name: one for name, one in found.items() if one.differing} == {}
    assert found["observations"].same > 10
