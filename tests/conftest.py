import os

import pytest
from hypothesis import settings

from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import ensure_schema
from tests.servers import NatsServer, QuestDB

# A busy machine makes a slow example, not a wrong one. A run tries the same examples as the one before it, so that a
# failure is the change's own; `just fuzz` looks for examples that fail.
settings.register_profile("vitals", deadline=None, derandomize=not os.environ.get("VITALS_FUZZ"))
settings.load_profile("vitals")


@pytest.fixture(scope="session")
def questdb(tmp_path_factory):
    """One QuestDB for the session, tables made; tests keep apart by their own tenant or patients."""
    server = QuestDB(tmp_path_factory.mktemp("questdb")).start()
    ensure_schema(QuestDBHttp(server.settings, 60), server.settings)  # its first statements take their time
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
