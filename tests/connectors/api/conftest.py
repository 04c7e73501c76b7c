import pytest

from tests.connectors.api.served import Served, replayed
from tests.servers import NatsServer


@pytest.fixture(scope="session")
def pipeline(questdb, tmp_path_factory):
    """NATS, QuestDB and what the flow made of a minute of the recorded sample."""
    folder = tmp_path_factory.mktemp("api")
    nats = NatsServer(folder / "nats").start()
    whole = replayed(nats, questdb, folder)
    yield whole
    whole.close()
    nats.stop()


@pytest.fixture(scope="session")
def served(pipeline):
    """The API on it, open on loopback."""
    server = Served(pipeline.settings).start()
    yield server
    server.stop()
