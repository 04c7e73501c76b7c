"""Tables and views in QuestDB: made from dataflows/contracts/tables.py at start, compared with it when they exist.

Existing tables are never altered silently: a missing column is added and said, anything else is reported in words. What
would break the promise that a row written twice is one row (types, keys, write-ahead log) is an error.
"""

import logging
from dataclasses import dataclass, field

from connectors.questdb.http import QuestDBHttp
from dataflows.contracts.tables import OBSERVATIONS, TABLES, Table
from dataflows.settings import QuestDBSettings

logger = logging.getLogger(__name__)

WIDE_CODES = (
    "hr",
    "pulse_rate",
    "spo2",
    "resp_rate",
    "temp",
    "sbp",
    "dbp",
    "map",
    "glucose",
    "weight",
    "etco2",
    "perfusion_index",
    "fio2",
    "o2_flow",
    "battery",
    "consciousness",
    "model_score",
)
"""Columns of the wide views: the codes of vitals.proto in lower case."""

_HOURS = {"HOUR": 1, "DAY": 24, "WEEK": 24 * 7}


class SchemaMismatchError(RuntimeError):
    """An existing table differs from its description in a way that would lose or double rows."""


@dataclass
class SchemaReport:
    """What `ensure_schema` did and found, in words."""

    created: list[str] = field(default_factory=list)
    added_columns: list[str] = field(default_factory=list)
    refilled: list[str] = field(default_factory=list)
    """Roll-ups that a change of their base had made invalid."""
    differences: list[str] = field(default_factory=list)
    """Differences that were left alone: the tables work, but not as the settings say."""


def ttl_hours(table: Table, settings: QuestDBSettings) -> int | None:
    """Returns how long a table keeps rows, or None for ever."""
    return {"waveforms": settings.waveform_ttl_h, "rows": settings.rows_ttl_d * 24, "ever": None}[table.keep]


def create_table_sql(table: Table, settings: QuestDBSettings) -> str:
    """Returns the idempotent statement that creates `table`."""
    columns = ", ".join(f'"{name}" {kind.value}' for name, kind in table.columns)
    hours = ttl_hours(table, settings)
    # The TTL must be whole partitions, so a daily table takes it in days.
    per_partition = _HOURS.get(table.partition_by, 24)
    ttl = "" if hours is None else f" TTL {-(-hours // per_partition) * per_partition} HOURS"
    keys = ", ".join(f'"{name}"' for name in table.dedup)
    return (
        f'CREATE TABLE IF NOT EXISTS "{table.name}" ({columns}) TIMESTAMP(ts) '
        f"PARTITION BY {table.partition_by}{ttl} WAL DEDUP UPSERT KEYS({keys})"
    )


def wide_view_sql(every: str, aggregate: str) -> str:
    """Returns the query of a wide view: one row per patient and interval, one column per code, suspect values left out.

    Args:
        every: QuestDB interval such as `1s` or `1m`.
        aggregate: `last` or `avg`.
    """
    columns = ", ".join(f"{aggregate}(CASE WHEN code = '{code}' THEN value END) {code}" for code in WIDE_CODES)
    return f"SELECT ts, tenant, patient, {columns} FROM {OBSERVATIONS.name} WHERE NOT suspect SAMPLE BY {every}"  # noqa: S608  (constants only)


def last_sql(table: str, keys: str, order: str) -> str:
    """Returns the query for the last row of each key; by a number, because two rows may share a timestamp."""
    numbered = f"SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY {order} DESC) back FROM {table}"  # noqa: S608  (constants only)
    return f"SELECT * FROM ({numbered}) WHERE back = 1"  # noqa: S608  (constants only)


VIEWS: dict[str, str] = {
    "vitals_wide": wide_view_sql("1s", "last"),
    "vitals_wide_1m": wide_view_sql("1m", "avg"),
    "thresholds_now": last_sql("thresholds", "tenant, patient, rule", "limits_version"),
    "alerts_now": f"SELECT * FROM ({last_sql('alerts', 'tenant, patient, alert_id', 'transition')}) "  # noqa: S608
    "WHERE state <> 'cleared'",
    "alarm_burden": "SELECT ts, tenant, rule, priority, kind, count() alerts, count_distinct(patient) patients "
    "FROM alerts WHERE event = 'raised' SAMPLE BY 1d",
}
"""Views for readers, by name."""


@dataclass(frozen=True)
class Rollup:
    """A materialised view: kept up to date by the server as rows come, late ones too, and kept longer than its base."""

    name: str
    base: str
    select: str
    every: str
    partition_by: str
    keep: str
    """The setting that says for how many days."""

    def sql(self) -> str:
        """Returns the query that it holds the result of."""
        return f"{self.select} SAMPLE BY {self.every}"

    def create_sql(self, settings: QuestDBSettings) -> str:
        """Returns the idempotent statement that creates it; whole partitions are kept."""
        days: int = getattr(settings, self.keep)
        count, unit = (-(-days // 30), "MONTHS") if self.partition_by == "MONTH" else (days, "DAYS")
        return (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {self.name} WITH BASE {self.base} REFRESH IMMEDIATE "
            f"AS ({self.sql()}) PARTITION BY {self.partition_by} TTL {count} {unit}"
        )


_READINGS = "last(unit) unit, sum(value) total, min(value) low, max(value) high, count() n FROM observations"
_RATES = "sum(60000.0 / rr_ms) total, min(60000.0 / rr_ms) low, max(60000.0 / rr_ms) high, count() n FROM beats"
_AGAIN = "sum(total) total, min(low) low, max(high) high, sum(n) n FROM"
# Sums and counts, not means: an hour's mean is that of its readings, not of its minutes. Over a base with DEDUP a
# materialised view may group by the base's keys alone.
ROLLUPS: dict[str, Rollup] = {
    rollup.name: rollup
    for rollup in (
        Rollup(
            "observations_1m",
            "observations",
            f"SELECT ts, tenant, patient, device, code, {_READINGS} WHERE suspect = false",
            "1m",
            "DAY",
            "rollup_1m_ttl_d",
        ),
        Rollup(
            "observations_1h",
            "observations_1m",
            f"SELECT ts, tenant, patient, device, code, last(unit) unit, {_AGAIN} observations_1m",
            "1h",
            "MONTH",
            "rollup_1h_ttl_d",
        ),
        Rollup(
            "rates_1m",
            "beats",
            f"SELECT ts, tenant, patient, device, signal, {_RATES} WHERE rr_ms > 0",
            "1m",
            "DAY",
            "rollup_1m_ttl_d",
        ),
        Rollup(
            "rates_1h",
            "rates_1m",
            f"SELECT ts, tenant, patient, device, signal, {_AGAIN} rates_1m",
            "1h",
            "MONTH",
            "rollup_1h_ttl_d",
        ),
    )
}
"""Roll-ups of readings, and of heart rate by R-R intervals."""
LOGGED = frozenset({*TABLES, *ROLLUPS})
"""What the server keeps a write-ahead log of, and may suspend."""


def ensure_schema(http: QuestDBHttp, settings: QuestDBSettings) -> SchemaReport:
    """Creates what is missing, adds missing columns, compares the rest. Safe at every start, by several programs.

    Raises:
        SchemaMismatchError: A table exists with other types or keys, or without its write-ahead log.
        QuestDBUnavailableError: The server does not answer or takes no statements.
    """
    report = SchemaReport()
    existing = {row["table_name"]: row for row in http.rows("SELECT * FROM tables()")}
    fatal: list[str] = []
    for table in TABLES.values():
        if table.name not in existing:
            http.execute(create_table_sql(table, settings))
            report.created.append(table.name)
            continue
        fatal += _compare(http, table, existing[table.name], settings, report)
    if fatal:
        raise SchemaMismatchError("; ".join(fatal))
    _ensure_rollups(http, settings, report)
    current = {row["view_name"]: row["view_sql"] for row in http.rows("SELECT * FROM views()")}
    for name, sql in VIEWS.items():
        if current.get(name) != sql:
            http.execute(f"CREATE OR REPLACE VIEW {name} AS ({sql})")
            report.created.append(name)
    for line in (*report.added_columns, *report.refilled, *report.differences):
        logger.warning("questdb schema: %s", line)
    return report


def _ensure_rollups(http: QuestDBHttp, settings: QuestDBSettings, report: SchemaReport) -> None:
    """Creates the roll-ups, and fills again one that a change of its base has made invalid (a TRUNCATE does)."""
    existing = {row["view_name"]: row for row in http.rows("SELECT * FROM materialized_views()")}
    for rollup in ROLLUPS.values():
        found = existing.get(rollup.name)
        if found is None:
            http.execute(rollup.create_sql(settings))
            report.created.append(rollup.name)
            continue
        if found["view_sql"] != rollup.sql():
            report.differences.append(f"{rollup.name} rolls up by another query: drop it to have it made again")
        if found["view_status"] == "invalid":
            http.execute(f"REFRESH MATERIALIZED VIEW {rollup.name} FULL")
            report.refilled.append(f"{rollup.name} was invalid ({found['invalidation_reason']}) and is filled again")


def _compare(
    http: QuestDBHttp, table: Table, found: dict[str, object], settings: QuestDBSettings, report: SchemaReport
) -> list[str]:
    """Compares one existing table with its description, adds missing columns, returns what cannot be lived with."""
    fatal: list[str] = []
    columns = {row["column"]: row for row in http.rows(f'SHOW COLUMNS FROM "{table.name}"')}
    for name, kind in table.columns:
        if name not in columns and name not in table.dedup:
            http.execute(f'ALTER TABLE "{table.name}" ADD COLUMN IF NOT EXISTS "{name}" {kind.value}')
            report.added_columns.append(f"{table.name}: added column {name} {kind.value}")
        elif name not in columns:
            fatal.append(f"{table.name}: key column {name} is missing")
        elif columns[name]["type"] != kind.value:
            fatal.append(f"{table.name}.{name} is {columns[name]['type']}, should be {kind.value}")
    described = {name for name, _ in table.columns}
    report.differences += [f"{table.name}: column {name} is not described" for name in columns.keys() - described]
    keys = {name for name, row in columns.items() if row["upsertKey"]}
    if not found["walEnabled"]:
        fatal.append(f"{table.name} has no write-ahead log")
    if not found["dedup"] or keys != set(table.dedup):
        fatal.append(f"{table.name} deduplicates by {sorted(keys)}, should by {sorted(table.dedup)}")
    if found["designatedTimestamp"] != "ts":
        fatal.append(f"{table.name}: designated timestamp is {found['designatedTimestamp']}, should be ts")
    if found["partitionBy"] != table.partition_by:
        report.differences.append(
            f"{table.name} is partitioned by {found['partitionBy']}, described as {table.partition_by}"
        )
    report.differences += _compare_ttl(table, found, settings)
    return fatal


def _compare_ttl(table: Table, found: dict[str, object], settings: QuestDBSettings) -> list[str]:
    value, unit = int(str(found["ttlValue"])), str(found["ttlUnit"])
    has = value * _HOURS[unit] if unit in _HOURS else None
    wanted = ttl_hours(table, settings) or 0
    if has is not None and has == wanted:
        return []
    return [f"{table.name} keeps rows for {value} {unit}, the settings say {wanted} HOUR (ALTER TABLE ... SET TTL)"]
