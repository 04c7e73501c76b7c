import pytest

from connectors.questdb.http import QuestDBHttp, QuestDBUnavailableError
from connectors.questdb.schema import (
    ROLLUPS,
    VIEWS,
    WIDE_CODES,
    SchemaMismatchError,
    create_table_sql,
    ensure_schema,
    ttl_hours,
)
from dataflows.contracts import vitals_pb2
from dataflows.contracts.tables import BEATS, OBSERVATIONS, TABLES
from dataflows.settings import QuestDBSettings
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def http(own_questdb):
    return own_questdb.http


def test_every_table_is_made_as_described_and_a_second_start_changes_nothing(own_questdb, http):
    first = ensure_schema(http, own_questdb.settings)
    second = ensure_schema(http, own_questdb.settings)

    assert first.created == [*TABLES, *ROLLUPS, *VIEWS]
    assert (second.created, second.added_columns, second.differences) == ([], [], [])
    for table in TABLES.values():
        columns = {row["column"]: row for row in http.rows(f"SHOW COLUMNS FROM {table.name}")}
        assert [(name, row["type"]) for name, row in columns.items()] == [(n, k.value) for n, k in table.columns]
        assert {name for name, row in columns.items() if row["upsertKey"]} == set(table.dedup)

    # Every column and every view can be named without quotes.
    for name in (*TABLES, *ROLLUPS, *VIEWS):
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


def test_rollups_follow_late_rows_and_are_filled_again_after_a_truncate(own_questdb, http):
    ensure_schema(http, own_questdb.settings)

    def insert(minute, value, seq):
        http.execute(
            "INSERT INTO observations(ts, tenant, patient, device, boot, signal, seq, code, value, unit, suspect) "
            "VALUES "
            f"(dateadd('m', {minute}, '2026-01-01T00:00:00.000000000Z'::timestamp_ns), 'm', 'p', 'd', 1, 'numeric', "
            f"{seq}, 'hr', {value}, '/min', false)"
        )

    def rolled(name):
        return [(row["total"], row["low"], row["high"], row["n"]) for row in http.rows(f"SELECT * FROM {name}")]

    for seq, (minute, value) in enumerate([(0, 60.0), (0, 80.0), (1, 70.0), (61, 90.0)]):
        insert(minute, value, seq)
    insert(0, 100.0, 9)  # late: its minute and hour are rolled up again
    insert(0, 100.0, 9)  # and twice, which DEDUP makes one
    until(lambda: rolled("observations_1m") == [(240.0, 60.0, 100.0, 3), (70.0, 70.0, 70.0, 1), (90.0, 90.0, 90.0, 1)])
    until(lambda: rolled("observations_1h") == [(310.0, 60.0, 100.0, 4), (90.0, 90.0, 90.0, 1)])

    http.execute("TRUNCATE TABLE observations")
    own_questdb.reader.wait_applied()
    insert(5, 50.0, 20)
    until(lambda: ensure_schema(http, own_questdb.settings) and rolled("observations_1m") == [(50.0, 50.0, 50.0, 1)])
