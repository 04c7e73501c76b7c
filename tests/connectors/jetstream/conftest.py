import pytest

from tests.connectors.jetstream.tools import Admin


@pytest.fixture
def admin(nats_server):
    admin = Admin(nats_server.url)
    yield admin
    admin.close()
