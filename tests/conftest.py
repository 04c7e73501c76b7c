import fcntl
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from connectors.local import ports
from connectors.questdb.schema import ensure_schema
from tests.servers import NatsServer, QuestDB

# A busy machine makes a slow example, not a wrong one. A run tries the same examples as the one before it, so that a
# failure is the change's own; `just fuzz` looks for examples that fail.
settings.register_profile("vitals", deadline=None, derandomize=not os.environ.get("VITALS_FUZZ"))
settings.load_profile("vitals")


def pytest_configure():
    """Gives each worker ports of its own: one that is free now is bound seconds later, when a JVM has started."""
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        step = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        ports.CANDIDATES = ports.CANDIDATES[int(worker.removeprefix("gw")) :: step]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item):
    """Runs a test that is marked `alone` while the other workers (also of another run) wait, and others side by side.

    Who wants to be alone keeps the door shut until those who are at work have finished: nobody overtakes it.
    """
    names = [Path(tempfile.gettempdir(), f"vitals-tests-{os.getuid()}-{name}") for name in ("door", "room")]
    with names[0].open("w") as door, names[1].open("w") as room:
        fcntl.flock(door, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture(scope="session")
def questdb(tmp_path_factory):
    """One QuestDB for the session, tables made; tests keep apart by their own tenant or patients."""
    server = QuestDB(tmp_path_factory.mktemp("questdb")).start()
    ensure_schema(server.http, server.settings)  # its first statements take their time
    yield server
    server.stop()


@pytest.fixture
def own_questdb(tmp_path):
    """A QuestDB for one test, to be killed, paused or made read-only; its tables are made by whoever writes."""
    server = QuestDB(tmp_path / "questdb").start()
    yield server
    server.stop()


@pytest.fixture
def nats_server(tmp_path):
    """A nats-server for one test, to be killed or paused."""
    server = NatsServer(tmp_path / "nats").start()
    yield server
    server.stop()
