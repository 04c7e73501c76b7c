"""Charted patients who deteriorated or not: PhysioNet Challenge 2019 (sepsis), MIMIC-IV demo (ventilation, death).

Values that no patient can have are left out by the limits of the validator's vocabulary, as ingest would.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dataflows.alerts.finding import RecordedReading

HOUR_NS = 3_600_000_000_000
START_NS = 1_600_000_000 * 1_000_000_000 // HOUR_NS * HOUR_NS
LIMITS = {
    "hr": (1, 300),
    "spo2": (50, 100),
    "temp": (25, 45),
    "sbp": (1, 300),
    "resp_rate": (1, 120),
    "fio2": (20, 100),
    "o2_flow": (0, 100),
    "consciousness": (0, 4),
}
LABEL_LEAD_H = 6
"""SepsisLabel begins 6 h before the onset of sepsis (Reyna 2019)."""


@dataclass(frozen=True)
class Stay:
    """One stay: readings in time order, and when the patient deteriorated, if so."""

    name: str
    readings: list[RecordedReading]
    start_ns: int
    end_ns: int
    event_ns: int | None


def _stay(name: str, values: list[tuple[int, str, float]], end_ns: int, event_ns: int | None) -> Stay | None:
    kept = [(at, code, value) for at, code, value in values if LIMITS[code][0] <= value <= LIMITS[code][1]]
    if event_ns is not None:
        kept, end_ns = [one for one in kept if one[0] < event_ns], event_ns
    if not kept:
        return None
    kept.sort(key=lambda one: one[0])
    readings = [
        RecordedReading(code=code, value=value, ts_ns=at, log_ns=at, log_seq=number, seq=number)
        for number, (at, code, value) in enumerate(kept)
    ]
    return Stay(name, readings, kept[0][0], end_ns, event_ns)


def challenge2019(folder: Path) -> Iterator[Stay]:
    """Hourly charts of Challenge 2019, set B; the event is the onset of sepsis."""
    names = {"HR": "hr", "O2Sat": "spo2", "Temp": "temp", "SBP": "sbp", "Resp": "resp_rate", "FiO2": "fio2"}
    table = pl.read_parquet(folder / "vitals" / "challenge2019" / "training_setB_partial.parquet")
    for (name,), rows in table.partition_by("patient", as_dict=True).items():
        hours = rows["hour"].to_list()
        values = [
            (START_NS + hour * HOUR_NS, code, value * 100 if code == "fio2" else value)
            for column, code in names.items()
            for hour, value in zip(hours, rows[column].to_list(), strict=True)
            if value is not None
        ]
        labelled = [hour for hour, label in zip(hours, rows["SepsisLabel"].to_list(), strict=True) if label]
        event_ns = START_NS + (labelled[0] + LABEL_LEAD_H) * HOUR_NS if labelled else None
        stay = _stay(str(name), values, START_NS + (hours[-1] + 1) * HOUR_NS, event_ns)
        if stay is not None:
            yield stay


def mimic4_demo(folder: Path) -> Iterator[Stay]:
    """Charts of the MIMIC-IV demo; the event is ventilation that begins 4 h into the chart or later, or death."""
    place = folder / "vitals" / "mimic4_demo_clif"
    values = _mimic_values(place)
    ends = _mimic_events(place)
    for name, found in sorted(values.items()):
        first_ns, last_ns = min(found)[0], max(found)[0]
        events = [at for at in ends.get(name, ()) if at >= first_ns + 4 * HOUR_NS and at <= last_ns + 24 * HOUR_NS]
        stay = _stay(name, found, last_ns, min(events, default=None))
        if stay is not None:
            yield stay


def _ns(column: str) -> pl.Expr:
    return pl.col(column).dt.epoch("us") * 1000


def _mimic_values(place: Path) -> dict[str, list[tuple[int, str, float]]]:
    names = {"heart_rate": "hr", "spo2": "spo2", "temp_c": "temp", "sbp": "sbp", "respiratory_rate": "resp_rate"}
    vitals = pl.read_parquet(place / "clif_vitals.parquet").filter(pl.col("vital_category").is_in(list(names)))
    found: dict[str, list[tuple[int, str, float]]] = {}
    for name, at, category, value in vitals.select(
        "hospitalization_id", _ns("recorded_dttm"), "vital_category", "vital_value"
    ).iter_rows():
        if value is not None:
            found.setdefault(name, []).append((at, names[category], value))
    support = pl.read_parquet(place / "clif_respiratory_support.parquet")
    for name, at, fio2, flow in support.select(
        "hospitalization_id", _ns("recorded_dttm"), "fio2_set", "lpm_set"
    ).iter_rows():
        if name in found and fio2 is not None:
            found[name].append((at, "fio2", fio2 * 100))
        if name in found and flow is not None:
            found[name].append((at, "o2_flow", flow))
    coma = pl.read_parquet(place / "clif_patient_assessments.parquet").filter(
        pl.col("assessment_category") == "gcs_total"
    )
    for name, at, gcs in coma.select("hospitalization_id", _ns("recorded_dttm"), "numerical_value").iter_rows():
        if name in found and gcs is not None:
            found[name].append((at, "consciousness", 0.0 if gcs == 15 else 1.0))
    return found


def _mimic_events(place: Path) -> dict[str, list[int]]:
    events: dict[str, list[int]] = {}
    support = pl.read_parquet(place / "clif_respiratory_support.parquet").filter(pl.col("device_category") == "IMV")
    for name, at in support.group_by("hospitalization_id").agg(_ns("recorded_dttm").min()).iter_rows():
        events.setdefault(name, []).append(at)
    stays = pl.read_parquet(place / "clif_hospitalization.parquet")
    for name, at in (
        stays.filter(pl.col("discharge_category") == "Expired")
        .select("hospitalization_id", _ns("discharge_dttm"))
        .iter_rows()
    ):
        events.setdefault(name, []).append(at)
    return events
