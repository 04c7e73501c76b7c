"""The reads of the API as SQL: one function a read, values apart from the text. No function decides who may ask.

Times are ns since 1970, from (inclusive) and to (exclusive). Pages follow the order (ts, rest of the row's identity): a
cursor is the last row's time and how many rows of exactly that time were given already, so a page never skips a row,
however many share a time. Where the newest come first (`Span.newest_first`), the same holds backwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.api.problems import ProblemError
from connectors.questdb.schema import last_sql

Query = tuple[str, list[object]]

EVERY_S = {"1s": 1, "10s": 10, "1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21600, "1d": 86400}
"""Intervals of roll-ups, in QuestDB's words, with their length in s."""
_LATEST_H = 24
_MINUTE_S = 60


@dataclass(frozen=True)
class Span:
    """Which part of the past, and how much of it at once."""

    from_ns: int
    to_ns: int
    limit: int
    cursor: str = ""
    newest_first: bool = False

    def bounds(self) -> tuple[int, int, int]:
        """Returns from, to, and how many rows to leave out, of what is left from where the page begins.

        Raises:
            ProblemError: The cursor is none of ours.
        """
        at, skip = self._place()
        return (self.from_ns, at + 1, skip) if self.newest_first else (at, self.to_ns, skip)

    def _place(self) -> tuple[int, int]:
        """Where the page begins: time, and rows of that time to leave out."""
        if not self.cursor:
            return self.to_ns - 1 if self.newest_first else self.from_ns, 0
        ts, _, skip = self.cursor.partition("-")
        if not (ts.isdigit() and skip.isdigit() and len(ts) < 20 and len(skip) < 10):
            raise ProblemError(422, "cursor: take it from `next` of the page before")
        return int(ts), int(skip)

    def next(self, rows: list[dict[str, Any]]) -> str | None:
        """Returns the cursor of the next page, or None when this one was not full."""
        return None if len(rows) < self.limit else self.behind(rows)

    def behind(self, rows: list[dict[str, Any]]) -> str:
        """Returns the cursor of a page that begins after these rows."""
        last = rows[-1]["ts_ns"]
        same = sum(row["ts_ns"] == last for row in rows)
        at, skip = self._place()
        return f"{last}-{same + (skip if last == at else 0)}"

    def order(self, *columns: str) -> str:
        """ORDER BY of the time, then of the rest of a row's identity; and which rows of them."""
        way = " DESC" if self.newest_first else ""
        skip = self.bounds()[2]
        by = ", ".join(f"{name}{way}" for name in ("ts", *columns))
        return f"ORDER BY {by} LIMIT {skip}, {skip + self.limit}"


Where = Mapping[str, str | tuple[str, ...]]
"""Columns and the value, or the values, that they must have."""


def _conditions(where: Where) -> tuple[str, list[object]]:
    """Conditions with a place for each value, and the values."""
    many = {name: (value,) if isinstance(value, str) else value for name, value in where.items()}
    text = "".join(f" AND {name} IN ({', '.join(['%s'] * len(values))})" for name, values in many.items())
    return text, [value for values in many.values() for value in values]


def _page(columns: str, table: str, where: Where, span: Span, order: str) -> Query:
    begin, end, _ = span.bounds()
    conditions, values = _conditions(where)
    sql = (
        f"SELECT cast(ts AS long) ts_ns, {columns} FROM {table} WHERE ts >= %s AND ts < %s{conditions} "  # noqa: S608  (constants)
        f"{span.order(*order.split(', '))}"
    )
    return sql, [begin, end, *values]


def latest_readings(tenant: str, now_ns: int, patient: str | None = None) -> Query:
    """The newest reading of every code of every patient (or of one) in the last day, suspect ones left out."""
    one = " AND patient = %s" if patient else ""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, device, code, value, unit, quality_pct, status FROM observations "  # noqa: S608  (constants)
        f"WHERE ts > %s AND tenant = %s AND suspect = false{one} LATEST ON ts PARTITION BY patient, code"
    )
    return sql, [now_ns - _LATEST_H * 3600 * 10**9, tenant, *([patient] if patient else [])]


def latest_frames(tenant: str, now_ns: int, patient: str | None = None) -> Query:
    """When each patient's waves last came, in the last day."""
    one = " AND patient = %s" if patient else ""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, device, signal, fs_hz, status, log_ns FROM waveforms "  # noqa: S608  (constants)
        f"WHERE ts > %s AND tenant = %s{one} LATEST ON ts PARTITION BY patient, signal"
    )
    return sql, [now_ns - _LATEST_H * 3600 * 10**9, tenant, *([patient] if patient else [])]


def latest_scores(tenant: str, now_ns: int, patient: str | None = None) -> Query:
    """The newest value of each score."""
    one = " AND patient = %s" if patient else ""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, score, value, state, parts FROM scores "  # noqa: S608  (constants)
        f"WHERE ts > %s AND tenant = %s{one} LATEST ON ts PARTITION BY patient, score"
    )
    return sql, [now_ns - _LATEST_H * 3600 * 10**9, tenant, *([patient] if patient else [])]


def observations(where: Where, span: Span) -> Query:
    """Readings as they were sent."""
    columns = "device, boot, signal, seq, code, value, unit, quality_pct, status, suspect, stored"
    return _page(columns, "observations", where, span, "device, boot, signal, seq, code")


def observations_at(tenant: str, ts_ns: int) -> Query:
    """Every reading of one moment."""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, device, boot, signal, seq, code, value, unit, suspect "
        "FROM observations WHERE ts = %s AND tenant = %s"
    )
    return sql, [ts_ns, tenant]


def waveforms_at(tenant: str, ts_ns: int) -> Query:
    """Every frame of a wave that begins at one moment."""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, device, boot, signal, seq, fs_hz, lsb, samples "
        "FROM waveforms WHERE ts = %s AND tenant = %s"
    )
    return sql, [ts_ns, tenant]


def devices(tenant: str, now_ns: int, patient: str) -> Query:
    """Devices that a patient wore in the last day."""
    return _worn("device", "patient", (now_ns - _LATEST_H * 3600 * 10**9, tenant, patient))


def wearers(tenant: str, now_ns: int, device: str) -> Query:
    """Patients who wore a device of this name in the last day."""
    return _worn("patient", "device", (now_ns - _LATEST_H * 3600 * 10**9, tenant, device))


def _worn(wanted: str, known: str, values: tuple[object, ...]) -> Query:
    each = [
        f"SELECT DISTINCT {wanted} FROM {table} WHERE ts > %s AND tenant = %s AND {known} = %s"  # noqa: S608  (constants)
        for table in ("observations", "waveforms")
    ]
    return " UNION ".join(each), [*values, *values]


def observation_rollup(where: dict[str, str], span: Span, every: str) -> Query:
    """Mean, least, greatest and count of each code in each interval; intervals without readings are absent."""
    if EVERY_S[every] < _MINUTE_S:
        return _rollup(("code", f"last(unit) unit, {_FINE.format('value')}", "observations"), where, span, every)
    return _rollup(("code", f"last(unit) unit, {_COARSE}", _rolled("observations", every)), where, span, every)


def rate_rollup(where: dict[str, str], span: Span, every: str) -> Query:
    """Heart rate by the R-R intervals of each lead."""
    if EVERY_S[every] < _MINUTE_S:
        return _rollup(("signal", _FINE.format("60000.0 / rr_ms"), "beats"), where, span, every)
    return _rollup(("signal", _COARSE, _rolled("rates", every)), where, span, every)


def _rolled(name: str, every: str) -> str:
    """The materialised view that an interval is made from."""
    return f"{name}_1h" if EVERY_S[every] >= 60 * _MINUTE_S else f"{name}_1m"


_FINE = "avg({0}) mean, min({0}) low, max({0}) high, count() n"
_COARSE = "sum(total) / sum(n) mean, min(low) low, max(high) high, sum(n) n"
_LEFT_OUT = {"observations": " AND suspect = false", "beats": " AND rr_ms > 0"}
"""What the materialised views leave out as well."""


def _rollup(select: tuple[str, str, str], where: dict[str, str], span: Span, every: str) -> Query:
    by, values, table = select
    begin, end, _ = span.bounds()
    # An interval is given whole, or a minute would depend on the second at which somebody asks.
    begin -= begin % (EVERY_S[every] * 10**9)
    conditions = "".join(f" AND {name} = %s" for name in where) + _LEFT_OUT.get(table, "")
    sql = (
        f"SELECT cast(ts AS long) ts_ns, {by}, {values} FROM {table} "  # noqa: S608  (constants)
        f"WHERE ts >= %s AND ts < %s{conditions} SAMPLE BY {every} ALIGN TO CALENDAR "
        f"{span.order(by)}"
    )
    return sql, [begin, end, *where.values()]


def waveforms(where: Where, span: Span) -> Query:
    """Frames of a wave with their samples in physical units."""
    columns = "device, boot, signal, seq, fs_hz, lsb, status, stored, first_sample, samples"
    return _page(columns, "waveforms", where, span, "device, boot, seq")


def beats(where: dict[str, str], span: Span) -> Query:
    """R peaks."""
    columns = "device, signal, sample_index, detector, rr_ms, confidence, label"
    return _page(columns, "beats", where, span, "device, boot, signal, sample_index, detector")


def scores(where: dict[str, str], span: Span) -> Query:
    """Scores with their parts."""
    return _page("device, score, value, state, parts", "scores", where, span, "device, score")


def alert_history(where: dict[str, str], span: Span) -> Query:
    """Every transition of alerts, in order."""
    return _page("body", "alerts", where, span, "alert_id, transition")


def alerts_changed(where: dict[str, str], span: Span) -> Query:
    """Alerts with a transition in a span, each once, in the order of its last one there."""
    begin, end, _ = span.bounds()
    conditions, values = _conditions(where)
    # The span is one thing, where the page begins in it another: an alert's place is that of its last transition.
    sql = (
        "SELECT cast(ts AS long) ts_ns, cast(alert_id AS string) alert_id FROM (SELECT alert_id, max(ts) ts "  # noqa: S608  (constants)
        f"FROM alerts WHERE ts >= %s AND ts < %s{conditions} GROUP BY alert_id) WHERE ts >= %s AND ts < %s "
        f"{span.order('alert_id')}"
    )
    return sql, [span.from_ns, span.to_ns, *values, begin, end]


def alerts_now(tenant: str, alert_ids: Sequence[str]) -> Query:
    """Every transition of some alerts, each alert's last one at the end."""
    places = ", ".join(["%s"] * len(alert_ids))
    sql = f"SELECT body FROM alerts WHERE tenant = %s AND alert_id IN ({places}) ORDER BY transition"  # noqa: S608  (constants)
    return sql, [tenant, *alert_ids]


def alert_transitions(tenant: str, alert_id: str) -> Query:
    """Every transition of one alert."""
    sql = "SELECT cast(ts AS long) ts_ns, body FROM alerts WHERE tenant = %s AND alert_id = %s ORDER BY transition"
    return sql, [tenant, alert_id]


def burden_alerts(tenant: str, span: Span) -> Query:
    """What the alarm burden is made of: transitions of a span."""
    sql = (
        "SELECT log_ns, tenant, patient, cast(alert_id AS string) alert_id, transition, rule, priority, kind, event, "  # noqa: S608  (constants)
        f"state, notify, reason, body FROM alerts WHERE tenant = %s AND ts >= %s AND ts < %s LIMIT {span.limit}"
    )
    return sql, [tenant, span.from_ns, span.to_ns]


def burden_stood(tenant: str, span: Span) -> Query:
    """Alerts that stood when a span began."""
    last = last_sql("alerts WHERE tenant = %s AND ts < %s", "patient, alert_id", "transition")
    sql = f"SELECT tenant, patient, cast(alert_id AS string) alert_id FROM ({last}) WHERE state <> 'cleared'"  # noqa: S608
    return sql, [tenant, span.from_ns]


def burden_suppressed(tenant: str, span: Span) -> Query:
    """Conditions of a span of which nobody was told, by rule and reason."""
    sql = (
        "SELECT rule, reason, count() n FROM suppressed WHERE tenant = %s AND ts >= %s AND ts < %s "
        "GROUP BY rule, reason"
    )
    return sql, [tenant, span.from_ns, span.to_ns]


def monitored(tenant: str, span: Span) -> Query:
    """Patients of whom anything came in a span."""
    tables = ("observations", "waveforms", "alerts")
    each = [f"SELECT DISTINCT patient FROM {table} WHERE tenant = %s AND ts >= %s AND ts < %s" for table in tables]  # noqa: S608  (constants)
    return " UNION ".join(each), [tenant, span.from_ns, span.to_ns] * len(tables)


def commands(where: dict[str, str], span: Span) -> Query:
    """What people and programs asked for, newest first, and what became of it."""
    conditions = "".join(f" AND {name} = %s" for name in where)
    sql = (
        "SELECT cast(ts AS long) ts_ns, name, actor, argument, result, reason, log_seq "  # noqa: S608  (constants)
        "FROM commands "
        f"WHERE ts >= %s AND ts < %s{conditions} ORDER BY ts DESC LIMIT {span.limit}"
    )
    return sql, [span.from_ns, span.to_ns, *where.values()]


def limits(tenant: str, patient: str) -> Query:
    """The limits of a patient as they are now, as far as a command changed any."""
    sql = (
        "SELECT cast(ts AS long) ts_ns, rule, limit_value, clear_value, delay_s, severe_value, unit, priority, "
        "profile, source, limits_version version, actor, log_seq FROM thresholds WHERE tenant = %s AND patient = %s "
        "LATEST ON ts PARTITION BY rule"
    )
    return sql, [tenant, patient]


def clocks(tenant: str) -> Query:
    """The present clock segment of every device's signal."""
    sql = (
        "SELECT cast(ts AS long) ts_ns, patient, device, signal, offset_ns, reason, uncertainty_ns, drift_ppm "
        "FROM clock_segments WHERE tenant = %s LATEST ON ts PARTITION BY patient, device, signal"
    )
    return sql, [tenant]


_LEDGER = "cast(ts AS long) ts_ns, patient, device, signal, received, stored, late, duplicate, rejected"
_LEDGER_RECENT_S = 150


def ledger(tenant: str, now_ns: int, limit: int) -> Query:
    """What became of every signal's frames since it was first heard of: the last word on each, in the last day."""
    sql = (
        f"SELECT {_LEDGER} FROM (SELECT * FROM ledger WHERE ts > %s AND tenant = %s "  # noqa: S608  (constants)
        f"LATEST ON ts PARTITION BY patient, device, signal) ORDER BY patient, device, signal LIMIT {limit}"
    )
    return sql, [now_ns - _LATEST_H * 3600 * 10**9, tenant]


def ledger_recent(tenant: str, now_ns: int) -> Query:
    """The rows of the last minutes (there is one a minute), by time: how fast the counts grow."""
    sql = f"SELECT {_LEDGER} FROM ledger WHERE ts > %s AND tenant = %s ORDER BY ts"  # noqa: S608  (constants)
    return sql, [now_ns - _LEDGER_RECENT_S * 10**9, tenant]


TABLE_STATE: Query = ("SELECT * FROM wal_tables()", [])
"""How far each table's log is applied; a suspended table takes rows and shows none."""
