"""Every fault, one after another, under live traffic: nothing lost, nothing twice, and the bytes of a calm run."""

import sys

import pytest

from tests.faults.faults import FAULTS
from tests.faults.ground import QUESTDB, Ground
from tests.servers import QuestDB

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


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
    found = {comparison.name: comparison for comparison in ground.differences()}
    assert {name: one for name, one in found.items() if one.differing} == {}
    assert found["alerts"].same > 5
    assert found["ALERTS"].same > 5
    assert found["waveforms"].same > 300
