"""A patient's report as one HTML file without scripts: figures, trends, alerts with the strip of their moment.

Sizes are millimetres, so a strip prints at 25 mm/s and 10 mm/mV. Times are UTC, and the page says so.
"""

from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import polars as pl

from connectors.burden import burden
from connectors.export.drawing import STRIP_S, clock, gain_of, strip, trend
from connectors.export.record import PatientRecord
from connectors.export.style import PAGE
from connectors.lake.rows import INVALID

_BEFORE_S = 2.0
"""Part of a strip that lies before the alert's onset."""
MOST_STRIPS = 40
_NS = 1_000_000_000


@dataclass(frozen=True)
class Range:
    """A range of a vital sign whose share of the time is told."""

    code: str
    name: str
    low: float
    high: float
    source: str


_NEWS2 = "NEWS2, 0 points (RCP 2017)"
RANGES = (
    Range("hr", "Heart rate, /min", 51, 90, _NEWS2),
    Range("pulse_rate", "Pulse rate, /min", 51, 90, _NEWS2),
    Range("heart_rate", "Heart rate by ECG, /min", 51, 90, _NEWS2),
    Range("spo2", "SpO2, %", 96, 100, _NEWS2 + ", scale 1"),
    Range("resp_rate", "Respiration, /min", 12, 20, _NEWS2),
    Range("sbp", "Systolic pressure, mmHg", 111, 219, _NEWS2),
    Range("temp", "Temperature, Cel", 36.1, 38.0, _NEWS2),
    Range("glucose", "Glucose, mg/dL", 70, 180, "time in range (Battelino 2019)"),
)
"""What is shown as a trend, and when it is in range."""


def html(record: PatientRecord) -> str:
    """Returns the report."""
    title = f"{record.patient}, {clock(record.from_ns / 1e9)} to {clock(record.to_ns / 1e9)} UTC"
    body = "".join(
        [
            f"<h1>Patient {escape(record.patient)}</h1>",
            f"<p>{escape(record.tenant)}; {clock(record.from_ns / 1e9)} to {clock(record.to_ns / 1e9)}, all times UTC. "
            "Made by software for review; not a diagnosis.</p>",
            _ranges(record),
            _burden(record),
            _trends(record),
            _alerts(record),
        ]
    )
    return PAGE.format(title=escape(title), body=body)


def series(record: PatientRecord, code: str) -> pl.DataFrame:
    """Columns ts_s and value of a code, by time: readings, else what detectors derived; suspect ones are left out."""
    found = record["observations"].filter((pl.col("code") == code) & ~pl.col("suspect").fill_null(value=False))
    if found.is_empty():
        # Of several leads the one with most values: two at once would be no series.
        found = record["derived"].filter(pl.col("code") == code)
        found = found.filter(pl.col("signal").is_in(found["signal"].mode().sort().head(1).implode()))
    moment = (pl.col("ts").cast(pl.Int64) / 1e9).alias("ts_s")
    return found.select(moment, "value").drop_nulls().drop_nans().unique("ts_s", keep="last").sort("ts_s")


def in_range(frame: pl.DataFrame, wanted: Range) -> float | None:
    """Returns the share of the time in range: a reading holds until the next one, at most three usual pauses."""
    if frame.height < 2:
        return None
    times, values = frame["ts_s"].to_numpy(), frame["value"].to_numpy()
    pauses = np.diff(times)
    held = np.append(np.minimum(pauses, 3 * np.median(pauses)), np.median(pauses))
    inside = (values >= wanted.low) & (values <= wanted.high)
    return float(held[inside].sum() / held.sum())


def _ranges(record: PatientRecord) -> str:
    rows = []
    for wanted in RANGES:
        frame = series(record, wanted.code)
        share = in_range(frame, wanted)
        if share is None:
            continue
        low, middle, high = np.quantile(frame["value"].to_numpy(), (0.0, 0.5, 1.0))
        cells = (wanted.name, f"{frame.height}", f"{low:.4g}", f"{middle:.4g}", f"{high:.4g}")
        limits = f"{wanted.low:g} to {wanted.high:g}"
        rows.append(_row(*cells, f"{100 * share:.1f} %", limits, wanted.source))
    head = "<th>Vital sign<th>Readings<th>Lowest<th>Median<th>Highest<th>Time in range<th>Range<th>Its source"
    return f"<h2>Time in range</h2><table><tr>{head}</tr>{''.join(rows)}</table>" if rows else ""


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>"


def _burden(record: PatientRecord) -> str:
    alerts = record["alerts"].with_columns(repeats=pl.lit(0))
    span = {"patients": 1, "from_ns": record.from_ns, "to_ns": record.to_ns}
    found = burden(alerts, record["suppressed"], alerts.clear(), **span)  # a record knows nothing of before its span
    rules = "".join(
        _row(_words(row["rule"]), row["priority"], row["kind"], str(row["alerts"]), f"{row['per_patient_day']:.4g}")
        for row in found.by_rule
    )
    answered = "" if found.ack_median_s is None else f", median {found.ack_median_s:.0f} s to the acknowledgement"
    spared = sum(found.suppressed.values())
    words = (
        f"{found.alerts} alerts, {found.pages} pages; {100 * found.technical_share:.0f} % technical; "
        f"{100 * found.acknowledged_share:.0f} % acknowledged{answered}; an alert stood for "
        f"{100 * found.in_alarm_share:.1f} % of the time; told to nobody: {spared}."
    )
    head = "<th>Rule<th>Priority<th>Kind<th>Alerts<th>A day"
    table = f"<table><tr>{head}</tr>{rules}</table>" if rules else ""
    return f"<h2>Alarm burden</h2><p>{words}</p>{table}"


def _trends(record: PatientRecord) -> str:
    span_s = (record.from_ns / 1e9, record.to_ns / 1e9)
    parts = []
    for wanted in RANGES:
        frame = series(record, wanted.code)
        if frame.height >= 2:
            drawn = trend(frame["ts_s"].to_numpy(), frame["value"].to_numpy(), span_s)
            parts.append(f"<figure><figcaption>{escape(wanted.name)}</figcaption>{drawn}</figure>")
    return f"<h2>Trends</h2>{''.join(parts)}" if parts else ""


def _alerts(record: PatientRecord) -> str:
    raised = record["alerts"].filter(pl.col("event") == "raised").sort("onset_ns")
    parts = []
    for row in raised.head(MOST_STRIPS).iter_rows(named=True):
        value = "" if row["value"] is None else f", {row['value']:.4g} (limit {_number(row['limit_value'])})"
        what = f"{row['priority']} {_words(row['rule'])}{value}, {row['device']} {row['signal']}"
        words = f"{clock(row['onset_ns'] / 1e9)} {what}"
        parts.append(f"<figure><figcaption>{escape(words)}</figcaption>{_strip(record, row)}</figure>")
    left_out = raised.height - len(parts)
    note = f"<p>{left_out} more alerts are in the tables of the export.</p>" if left_out else ""
    said = (
        f"Strips at 25 mm/s, ECG at 10 mm/mV where it fits; they begin {_BEFORE_S:g} s before the onset; "
        "ticks on top are R peaks."
    )
    return f"<h2>Alerts</h2><p>{said}</p>{''.join(parts) or '<p>None.</p>'}{note}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: Any) -> str:
    return "none" if value is None else f"{value:.4g}"


def _strip(record: PatientRecord, alert: dict[str, Any]) -> str:
    """The strip of an alert's own signal, else of the patient's first wave; a note where nothing was recorded."""
    begin = alert["onset_ns"] - round(_BEFORE_S * _NS)
    end = begin + round(STRIP_S * _NS)
    moment = pl.col("ts").cast(pl.Int64)
    near = record["waveforms"].filter((moment >= begin - 10 * _NS) & (moment < end)).sort("ts")
    own = near.filter((pl.col("signal") == alert["signal"]) & (pl.col("device") == alert["device"]))
    frames = own if not own.is_empty() else near.filter(pl.col("signal").is_in(near["signal"].sort().head(1).implode()))
    if frames.is_empty():
        return '<p class="none">no wave was recorded at this moment</p>'
    fs_hz, signal = float(frames["fs_hz"][0]), str(frames["signal"][0])
    samples = np.full(round(STRIP_S * fs_hz), np.nan)
    for ts, lsb, some in frames.select(moment, "lsb", "samples").iter_rows():
        counts = np.asarray(some, np.float64)
        values = np.where(counts == INVALID, np.nan, counts * lsb)
        at = round((ts - begin) * fs_hz / 1e9)
        first, last = max(at, 0), min(at + values.size, samples.size)
        if first < last:
            samples[first:last] = values[first - at : last - at]
    if np.isnan(samples).all():
        return '<p class="none">no wave was recorded at this moment</p>'
    inside = (pl.col("signal") == signal) & (moment >= begin) & (moment < end)
    beats = record["beats"].filter(inside).select(moment)["ts"].to_numpy()
    in_mv = signal.startswith("ecg")
    gain = f", {gain_of(samples):g} mm/mV" if in_mv else ""
    drawn = strip(samples, fs_hz, in_mv=in_mv, marks=(beats - begin) / 1e9)
    return f'<p class="lead">{escape(signal)}{gain}</p>{drawn}'
