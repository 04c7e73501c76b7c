"""A table or a roll-up that takes rows and shows none is named, with the statement that mends it."""

import pytest

from connectors.cli.doctor import questdb_findings
from connectors.questdb.schema import ensure_schema
from dataflows.settings import Settings
from tests.servers import QuestDB
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def suspendable(tmp_path):
    """A server that suspends what it is told to."""
    server = QuestDB(tmp_path / "questdb", {"dev.mode.enabled": "true"}).start()
    ensure_schema(server.http, server.settings)
    yield server
    server.stop()


def test_what_is_suspended_is_named_and_mended_by_what_is_said(suspendable):
    http, settings = suspendable.http, Settings(questdb=suspendable.settings)

    def problems():
        return {found.what: found.text for found in questdb_findings(settings) if found.state == "problem"}

    assert problems() == {}

    def suspended():
        """QuestDB forgets a suspension that meets a transaction being applied: it is said until it holds."""
        for kind, name in (("TABLE", "beats"), ("MATERIALIZED VIEW", "rates_1m")):
            if f"table {name}" not in problems():
                http.execute(f"ALTER {kind} {name} SUSPEND WAL")
        return problems().keys() == {"table beats", "table rates_1m"}

    until(suspended, poll_s=0.5)
    found = problems()
    for text in found.values():
        http.execute(text.partition("mend the cause, then ")[2])
    assert problems() == {}
