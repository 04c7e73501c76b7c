"""The tables of QuestDB: one description that the DDL, the rows and the readers share.

A row is a tuple of values in the order of its table's columns, `ts` first (ns since 1970, UTC). Observations are
narrow, one row per code: a wide upsert would overwrite what an earlier frame wrote. A row is a function of the frame
and its clock segment alone, so writing it twice changes nothing (DEDUP). No column is a keyword of SQL (`sample` is one
of QuestDB's), so that readers need no quotes.
"""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Column types, by their QuestDB names."""

    TIMESTAMP = "TIMESTAMP_NS"
    SYMBOL = "SYMBOL"
    LONG = "LONG"
    DOUBLE = "DOUBLE"
    DOUBLES = "DOUBLE[]"
    BOOLEAN = "BOOLEAN"
    UUID = "UUID"
    VARCHAR = "VARCHAR"


@dataclass(frozen=True)
class Table:
    """One table: columns in row order, the identity of a row, and how long it is kept."""

    name: str
    columns: tuple[tuple[str, Kind], ...]
    dedup: tuple[str, ...]
    partition_by: str
    keep: str
    """`waveforms`, `rows` or `ever`: which retention setting applies."""


_FRAME = (
    ("ts", Kind.TIMESTAMP),
    ("tenant", Kind.SYMBOL),
    ("patient", Kind.SYMBOL),
    ("device", Kind.SYMBOL),
    ("boot", Kind.LONG),
    ("signal", Kind.SYMBOL),
    ("seq", Kind.LONG),
)
_FRAME_KEY = ("ts", "tenant", "patient", "device", "boot", "signal", "seq")

OBSERVATIONS = Table(
    "observations",
    (
        *_FRAME,
        ("code", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("unit", Kind.SYMBOL),
        ("quality_pct", Kind.LONG),
        ("status", Kind.LONG),
        ("suspect", Kind.BOOLEAN),
        ("stored", Kind.BOOLEAN),
        ("averaging_s", Kind.DOUBLE),
        ("first_sample", Kind.LONG),
        ("device_ns", Kind.LONG),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "code"),
    "DAY",
    "rows",
)
WAVEFORMS = Table(
    "waveforms",
    (
        *_FRAME,
        ("fs_hz", Kind.DOUBLE),
        ("lsb", Kind.DOUBLE),
        ("status", Kind.LONG),
        ("stored", Kind.BOOLEAN),
        ("first_sample", Kind.LONG),
        ("samples", Kind.DOUBLES),
        ("device_ns", Kind.LONG),
        ("log_ns", Kind.LONG),
    ),
    _FRAME_KEY,
    "HOUR",
    "waveforms",
)
BEATS = Table(
    "beats",
    (
        *_FRAME,
        ("sample_index", Kind.LONG),
        ("detector", Kind.SYMBOL),
        ("rr_ms", Kind.DOUBLE),
        ("confidence", Kind.DOUBLE),
        ("label", Kind.SYMBOL),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "sample_index", "detector"),
    "DAY",
    "rows",
)
DESATURATIONS = Table(
    "desaturations",
    (
        *_FRAME,
        ("kind", Kind.SYMBOL),
        ("detector", Kind.SYMBOL),
        ("nadir_ns", Kind.LONG),
        ("end_ns", Kind.LONG),
        ("baseline_pct", Kind.DOUBLE),
        ("nadir_pct", Kind.DOUBLE),
        ("drop_pct", Kind.DOUBLE),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "kind", "detector"),
    "DAY",
    "rows",
)
ALERTS = Table(
    "alerts",
    (
        *_FRAME,
        ("alert_id", Kind.UUID),
        ("transition", Kind.LONG),
        ("rule", Kind.SYMBOL),
        ("priority", Kind.SYMBOL),
        ("state", Kind.SYMBOL),
        ("onset_ns", Kind.LONG),
        ("value", Kind.DOUBLE),
        ("limit_value", Kind.DOUBLE),
        ("log_ns", Kind.LONG),
        ("log_seq", Kind.LONG),
        ("body", Kind.VARCHAR),
        ("event", Kind.SYMBOL),
        ("kind", Kind.SYMBOL),
        ("notify", Kind.BOOLEAN),
        ("level", Kind.LONG),
        ("actor", Kind.VARCHAR),
        ("reason", Kind.VARCHAR),
        ("limits_version", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "alert_id", "transition"),
    "MONTH",
    "ever",
)
QUALITY = Table(
    "quality",
    (
        *_FRAME,
        ("reason", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("first_sample", Kind.LONG),
        ("samples", Kind.LONG),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "reason", "first_sample"),
    "DAY",
    "rows",
)
DERIVED = Table(
    "derived",
    (
        *_FRAME,
        ("code", Kind.SYMBOL),
        ("scope", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("unit", Kind.SYMBOL),
        ("window_s", Kind.DOUBLE),
        ("quality", Kind.DOUBLE),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "code", "scope"),
    "DAY",
    "rows",
)
"""What detectors make of a stretch of signal that ends at `ts`: heart rate, variability, respiration, SpO2 indices."""
WITHHELD = Table(
    "withheld",
    (
        *_FRAME,
        ("rule", Kind.SYMBOL),
        ("witness", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("limit_value", Kind.DOUBLE),
        ("evidence", Kind.VARCHAR),
        ("log_ns", Kind.LONG),
    ),
    (*_FRAME_KEY, "rule"),
    "MONTH",
    "ever",
)
"""Rhythm findings that another signal of the patient contradicted, and that were therefore not announced."""
LATE_FRAMES = Table(
    "late_frames",
    (
        *_FRAME,
        ("reason", Kind.SYMBOL),
        ("lag_ms", Kind.DOUBLE),
        ("log_ns", Kind.LONG),
        ("log_seq", Kind.LONG),
    ),
    _FRAME_KEY,
    "DAY",
    "rows",
)
CLOCK_SEGMENTS = Table(
    "clock_segments",
    (
        *_FRAME,
        ("first_sample", Kind.LONG),
        ("offset_ns", Kind.LONG),
        ("reason", Kind.SYMBOL),
        ("uncertainty_ns", Kind.LONG),
        ("drift_ppm", Kind.DOUBLE),
        ("log_ns", Kind.LONG),
    ),
    _FRAME_KEY,
    "MONTH",
    "ever",
)
SCORES = Table(
    "scores",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("device", Kind.SYMBOL),
        ("score", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("state", Kind.SYMBOL),
        ("parts", Kind.VARCHAR),
        ("limits_version", Kind.LONG),
        ("sample_ns", Kind.LONG),
        ("log_ns", Kind.LONG),
        ("log_seq", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "device", "score"),
    "DAY",
    "rows",
)
TRENDS = Table(
    "trends",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("code", Kind.SYMBOL),
        ("value", Kind.DOUBLE),
        ("baseline", Kind.DOUBLE),
        ("spread", Kind.DOUBLE),
        ("ewma", Kind.DOUBLE),
        ("cusum_up", Kind.DOUBLE),
        ("cusum_down", Kind.DOUBLE),
        ("slope_per_h", Kind.DOUBLE),
        ("slope_low", Kind.DOUBLE),
        ("slope_high", Kind.DOUBLE),
        ("confidence", Kind.DOUBLE),
        ("in_alarm", Kind.BOOLEAN),
        ("log_ns", Kind.LONG),
        ("log_seq", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "code"),
    "DAY",
    "rows",
)
AUDIT = Table(
    "audit",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("device", Kind.SYMBOL),
        ("what", Kind.SYMBOL),
        ("actor", Kind.VARCHAR),
        ("outcome", Kind.SYMBOL),
        ("detail", Kind.VARCHAR),
        ("event_id", Kind.UUID),
    ),
    ("ts", "tenant", "patient", "what", "event_id"),
    "MONTH",
    "ever",
)
SUPPRESSED = Table(
    "suppressed",
    (
        *_FRAME,
        ("rule", Kind.SYMBOL),
        ("reason", Kind.SYMBOL),
        ("onset_ns", Kind.LONG),
        ("held_ns", Kind.LONG),
        ("value", Kind.DOUBLE),
        ("limit_value", Kind.DOUBLE),
        ("log_seq", Kind.LONG),
    ),
    (*_FRAME_KEY, "rule", "onset_ns"),
    "DAY",
    "rows",
)
LATE_FINDINGS = Table(
    "late_findings",
    (
        *_FRAME,
        ("alert_id", Kind.UUID),
        ("rule", Kind.SYMBOL),
        ("code", Kind.SYMBOL),
        ("raised", Kind.BOOLEAN),
        ("sample_ns", Kind.LONG),
        ("value", Kind.DOUBLE),
        ("limit_value", Kind.DOUBLE),
        ("limits_version", Kind.LONG),
        ("log_ns", Kind.LONG),
        ("log_seq", Kind.LONG),
    ),
    (*_FRAME_KEY, "rule", "raised"),
    "DAY",
    "rows",
)
COMMANDS = Table(
    "commands",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("name", Kind.SYMBOL),
        ("actor", Kind.VARCHAR),
        ("idempotency_key", Kind.VARCHAR),
        ("argument", Kind.VARCHAR),
        ("result", Kind.SYMBOL),
        ("reason", Kind.VARCHAR),
        ("log_seq", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "log_seq"),
    "MONTH",
    "ever",
)
THRESHOLDS = Table(
    "thresholds",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("rule", Kind.SYMBOL),
        ("limit_value", Kind.DOUBLE),
        ("clear_value", Kind.DOUBLE),
        ("delay_s", Kind.DOUBLE),
        ("severe_value", Kind.DOUBLE),
        ("unit", Kind.SYMBOL),
        ("priority", Kind.SYMBOL),
        ("profile", Kind.SYMBOL),
        ("source", Kind.SYMBOL),
        ("limits_version", Kind.LONG),
        ("actor", Kind.VARCHAR),
        ("log_seq", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "rule", "limits_version"),
    "MONTH",
    "ever",
)

CONTEXTS = Table(
    "contexts",
    (
        ("ts", Kind.TIMESTAMP),
        ("tenant", Kind.SYMBOL),
        ("patient", Kind.SYMBOL),
        ("ward", Kind.SYMBOL),
        ("age_band", Kind.SYMBOL),
        ("oxygen", Kind.SYMBOL),
        ("placement", Kind.VARCHAR),
        ("actor", Kind.VARCHAR),
        ("log_seq", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "log_seq"),
    "MONTH",
    "ever",
)
"""What is known of a patient beside measurements, each time that somebody said so."""

LEDGER = Table(
    "ledger",
    (
        *_FRAME,
        ("received", Kind.LONG),
        ("stored", Kind.LONG),
        ("late", Kind.LONG),
        ("duplicate", Kind.LONG),
        ("rejected", Kind.LONG),
        ("log_ns", Kind.LONG),
    ),
    ("ts", "tenant", "patient", "device", "signal"),
    "DAY",
    "rows",
)
"""What became of a signal's frames since its patient was first heard of, told each minute of log time."""

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        OBSERVATIONS,
        WAVEFORMS,
        BEATS,
        DESATURATIONS,
        ALERTS,
        QUALITY,
        DERIVED,
        WITHHELD,
        LATE_FRAMES,
        CLOCK_SEGMENTS,
        LEDGER,
        SCORES,
        TRENDS,
        AUDIT,
        SUPPRESSED,
        LATE_FINDINGS,
        COMMANDS,
        THRESHOLDS,
        CONTEXTS,
    )
}
