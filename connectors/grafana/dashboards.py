"""The two dashboards: a ward (what patients do) and operations (what the pipeline does).

They are for looking back and for walls: alarms and live strips are the dashboard's of this project (docs/dashboard.md).
"""

from connectors.grafana.panels import Json, Panel, Source, dashboard, variable

_MINE = "tenant = ${tenant:sqlstring} AND patient = ${patient:sqlstring} AND $__timeFilter(ts)"
_WARD = "tenant = ${tenant:sqlstring} AND $__timeFilter(ts)"
_TENANTS = "SELECT DISTINCT tenant FROM observations WHERE ts > dateadd('d', -1, now())"
_PATIENTS = (
    "SELECT DISTINCT patient FROM observations WHERE ts > dateadd('d', -1, now()) AND tenant = ${tenant:sqlstring}"
)


def _trend(title: str, *codes: str, unit: str = "short") -> Panel:
    wanted = ", ".join(f"'{code}'" for code in codes)
    sql = (
        f"SELECT ts time, code, sum(total) / sum(n) mean FROM observations_1m WHERE {_MINE} "  # noqa: S608  (constants)
        f"AND code IN ({wanted}) SAMPLE BY $__interval ALIGN TO CALENDAR"
    )
    return Panel(title, sql=sql, unit=unit)


def ward(source: Source) -> Json:
    """Trends, scores and alerts of a patient, and who has most alerts."""
    alerts = (
        "SELECT ts time, patient, rule, priority, event, state, value, limit_value FROM alerts "  # noqa: S608  (constants)
        f"WHERE {_WARD} ORDER BY ts DESC LIMIT 200"
    )
    most = (
        "SELECT patient, count() alerts FROM alerts "  # noqa: S608  (constants)
        f"WHERE {_WARD} AND event = 'raised' GROUP BY patient ORDER BY alerts DESC LIMIT 20"
    )
    rates = (
        "SELECT ts time, signal, sum(total) / sum(n) mean FROM rates_1m "  # noqa: S608  (constants)
        f"WHERE {_MINE} SAMPLE BY $__interval ALIGN TO CALENDAR"
    )
    scores = f"SELECT ts time, score, value FROM scores WHERE {_MINE} ORDER BY ts"  # noqa: S608  (constants)
    rules = (
        "SELECT ts time, rule, count() raised FROM alerts "  # noqa: S608  (constants)
        f"WHERE {_WARD} AND event = 'raised' SAMPLE BY $__interval ALIGN TO CALENDAR"
    )
    panels = [
        _trend("Heart and pulse rate, /min", "hr", "pulse_rate"),
        Panel("Heart rate by R-R intervals, /min", sql=rates),
        _trend("SpO2", "spo2", unit="percent"),
        _trend("Respiration, /min", "resp_rate"),
        _trend("Blood pressure, mmHg", "sbp", "dbp", "map"),
        Panel("Scores", sql=scores),
        Panel("Transitions of alerts, newest first", "table", sql=alerts, width=24),
        Panel("Patients with most alerts", "table", sql=most),
        Panel("Alerts raised, by rule", sql=rules),
    ]
    variables = [variable("tenant", _TENANTS, source), variable("patient", _PATIENTS, source)]
    return dashboard("vitals-ward", "Vitals: ward", panels, variables, source)


def _counted(title: str, table: str, by: str) -> Panel:
    sql = (
        f"SELECT ts time, {by}, count() n FROM {table} WHERE $__timeFilter(ts) "  # noqa: S608  (constants)
        "SAMPLE BY $__interval ALIGN TO CALENDAR"
    )
    return Panel(title, sql=sql)


def operations(source: Source) -> Json:
    """Lag, losses, storage, restarts; late frames, quality, clocks."""
    clocks = (
        "SELECT patient, device, signal, offset_ns / 1000000000.0 offset_s, "
        "uncertainty_ns / 1000000000.0 uncertainty_s, drift_ppm, reason "
        "FROM clock_segments LATEST ON ts PARTITION BY tenant, patient, device, signal"
    )
    tables = (
        "SELECT name, suspended, sequencerTxn - writerTxn behind, errorMessage FROM wal_tables() ORDER BY behind DESC"
    )
    panels = [
        Panel("Lag of the log, s", expr="nats_lag_seconds", unit="s", legend="{{partition}}"),
        Panel("Messages waiting", expr="nats_pending_messages", legend="{{partition}}"),
        Panel("Flow up", "stat", expr="vitals_supervisor_flow_up", width=4),
        Panel("Pipeline silent", "stat", expr="vitals_pipeline_silent", width=4),
        Panel("Unaccounted messages (must be 0)", "stat", expr="vitals_ledger_unaccounted", width=4),
        Panel("Restarts in an hour", "stat", expr="increase(vitals_supervisor_restarts_total[1h])", width=4),
        Panel("Circuit to QuestDB open", "stat", expr="vitals_questdb_circuit_open", width=4),
        Panel("Rows not acknowledged", "stat", expr="vitals_questdb_outstanding_rows", width=4),
        Panel("Frames a second", expr="sum by (result) (rate(vitals_frames_total[1m]))", legend="{{result}}"),
        Panel("Rows a second", expr="sum by (result) (rate(vitals_questdb_rows_total[1m]))", legend="{{result}}"),
        _counted("Frames stored", "waveforms", "signal"),
        _counted("Late frames", "late_frames", "reason"),
        _counted("Poor signals", "quality", "reason"),
        _counted("Conditions that nobody was told", "suppressed", "reason"),
        Panel("Tables", "table", sql=tables),
        Panel("Clocks of devices", "table", sql=clocks),
    ]
    return dashboard("vitals-operations", "Vitals: operations", panels, [], source)
