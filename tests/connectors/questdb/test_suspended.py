"""A table or a roll-up that takes rows and shows none is named, with the statement that mends it."""

import pytest

from connectors.cli.doctor import questdb_findings
from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import ensure_schema
from dataflows.settings import Settings
from tests.servers import QuestDB

pytestmark = pytest.mark.services


@pytest.fixture
def suspendable(tmp_path):
    """A server that suspends what it is told to."""
    server = QuestDB(tmp_path / "questdb", {"dev.mode.enabled": "true"}).start()
    ensure_schema(QuestDBHttp(server.settings, 60), server.settings)
    yield server
    server.stop()


def test_what_is_suspended_is_named_and_mended_by_what_is_said(suspendable):
    http, settings = QuestDBHttp(suspendable.settings), Settings(questdb=suspendable.settings)

    def problems():
        return {found.what: found.text for found in questdb_findings(settings) if found.state == "problem"}

    assert problems() == {}
    http.execute("ALTER TABLE beats SUSPEND WAL")
    http.execute("ALTER MATERIALIZED VIEW rates_1m SUSPEND WAL")
    found = problems()
    assert found.keys() == {"table beats", "table rates_1m"}
    for text in found.values():
        http.execute(text.partition("mend the cause, then ")[2])
    assert problems() == {}
