import pytest

from connectors.questdb.http import QuestDBHttp, QuestDBUnavailableError
from connectors.questdb.schema import VIEWS, WIDE_CODES, SchemaMismatchError, create_table_sql, ensure_schema, ttl_hours
from dataflows.contracts import vitals_pb2
from dataflows.contracts.tables import BEATS, OBSERVATIONS, TABLES
from dataflows.settings import QuestDBSettings

pytestmark = pytest.mark.services


@pytest.fixture
def http(own_questdb):
    return QuestDBHttp(own_questdb.settings)


def test_every_table_is_made_as_described_and_a_second_start_changes_nothing(own_questdb, http):
    first = ensure_schema(http, own_questdb.settings)
    second = ensure_schema(http, own_questdb.settings)

    assert first.created == [*TABLES, *VIEWS]
    assert (second.created, second.added_columns, second.differences) == ([], [], [])
    for table in TABLES.values():
        columns = {row["column"]: row for row in http.rows(f"SHOW COLUMNS FROM {table.name}")}
        assert [(name, row["type"]) for name, row in columns.items()] == [(n, k.value) for n, k in table.columns]
        assert {name for name, row in columns.items() if row["upsertKey"]} == set(table.dedup)

    # Every column and every view can be named without quotes.
    for name in (*TABLES, *VIEWS):
        for column in http.rows(f"SHOW COLUMNS FROM {name}"):
            http.rows(f"SELECT {column['column']}, count() n FROM {name}")

    assert "TTL" not in create_table_sql(TABLES["alerts"], own_questdb.settings)
    assert ttl_hours(BEATS, own_questdb.settings) == own_questdb.settings.rows_ttl_d * 24

    # The same server, tables dropped one way and another: each difference is told, none is repaired in silence.
    http.execute("ALTER TABLE beats DROP COLUMN confidence")
    http.execute("ALTER TABLE quality SET TTL 1 DAY")
    http.execute("ALTER TABLE late_frames ADD COLUMN surprise DOUBLE")
    own_questdb.reader.wait_applied()
    report = ensure_schema(http, own_questdb.settings)
    assert report.added_columns == ["beats: added column confidence DOUBLE"]
    assert len(report.differences) == 2
    assert any("quality keeps rows for 1 DAY" in line for line in report.differences)
    assert "late_frames: column surprise is not described" in report.differences

    http.execute("ALTER TABLE observations DEDUP DISABLE")
    own_questdb.reader.wait_applied()
    http.execute("DROP TABLE beats")
    http.execute("CREATE TABLE beats (ts TIMESTAMP, tenant SYMBOL) TIMESTAMP(ts) PARTITION BY DAY BYPASS WAL")
    with pytest.raises(SchemaMismatchError) as caught:
        ensure_schema(http, own_questdb.settings)
    text = str(caught.value)
    assert "observations deduplicates by" in text
    assert "beats has no write-ahead log" in text
    assert "beats.ts is TIMESTAMP, should be TIMESTAMP_NS" in text
    assert "key column patient is missing" in text


def test_statements_are_the_documented_ones():
    sql = create_table_sql(OBSERVATIONS, QuestDBSettings(rows_ttl_d=7))
    assert sql.startswith('CREATE TABLE IF NOT EXISTS "observations" ("ts" TIMESTAMP_NS, "tenant" SYMBOL')
    assert "PARTITION BY DAY TTL 168 HOURS WAL DEDUP UPSERT KEYS" in sql


def test_an_absent_server_is_named():
    http = QuestDBHttp(QuestDBSettings(http_url="http://127.0.0.1:1"))
    with pytest.raises(QuestDBUnavailableError, match=r"127\.0\.0\.1:1 does not answer"):
        ensure_schema(http, QuestDBSettings())


def test_an_address_without_a_host_is_refused():
    with pytest.raises(ValueError, match="must look like"):
        QuestDBHttp(QuestDBSettings(http_url="localhost:9000"))


def test_the_wide_views_have_a_column_for_every_code_of_the_contract():
    codes = [name.removeprefix("CODE_").lower() for name, number in vitals_pb2.Code.items() if number]
    assert list(WIDE_CODES) == codes
