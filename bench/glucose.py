"""Glucose alarms and figures on sensors of 91 people: HUPA-UCM (type 1), Hall 2018 (mixed), PhysioCGM (type 1).

`python bench/glucose.py DIR [--json FILE]` with DIR the folder of recorded data. The streaming monitor is fed reading
by reading with its shipped limits; nothing was chosen on these people. Recordings are as harmonised by Glucose-ML;
those of HUPA-UCM are interpolated from 15 to 5 minutes, which flatters everything that looks ahead.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import time
import zipfile
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import Any

from alert_scoring import wilson
from report import publish

from dataflows.alerts.finding import Context, Finding, RecordedReading
from dataflows.scores.glucose import MG_DL_PER_MMOL_L, parse
from dataflows.scores.glucose_monitor import GlucoseMonitor
from dataflows.scores.glucose_summary import DAY_NS, Day, summarise

SETS = ("HUPA-UCM", "Hall_2018", "PhysioCGM")
CONTEXT = Context("bench", "p", 1, frozenset(), {}, 0)
MINUTE_NS = 60_000_000_000
HORIZON_NS = 20 * MINUTE_NS
LATER_NS = 60 * MINUTE_NS
Series = list[tuple[int, int]]
"""(ns, whole mg/dL), ascending."""


def persons(folder: Path, name: str) -> Iterator[tuple[str, Series, float | None]]:
    """Name, series and laboratory HbA1c of each person of a set."""
    place = folder / "glucose" / name
    with (place / f"{name}-metadata.csv").open(encoding="utf-8-sig", newline="") as file:
        hba1c = {row["person_id"]: row["hba1c_%"] for row in csv.DictReader(file)}
    with zipfile.ZipFile(place / f"{name}-from-Glucose-ML.zip") as whole:
        for member in sorted(whole.namelist()):
            if "extracted" not in member or not member.endswith(".csv") or "__MACOSX" in member:
                continue
            lines = csv.reader(io.TextIOWrapper(whole.open(member), "utf-8-sig"))
            next(lines)
            found: dict[int, int] = {}
            for stamp, value, *_ in lines:
                mg_dl = parse(value)
                if mg_dl is not None:
                    at = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
                    found[round(at.timestamp()) * 1_000_000_000] = mg_dl
            person = Path(member).stem
            known = hba1c.get(person, "")
            yield person, sorted(found.items()), float(known) if known else None


def readings(series: Series, unit: str = "mg/dL") -> list[RecordedReading]:
    """The series as readings; in mmol/L rounded to tenths, as a device shows them, and converted as ingest does."""
    return [
        RecordedReading(
            code="glucose",
            value=float(mg_dl) if unit == "mg/dL" else round(mg_dl / MG_DL_PER_MMOL_L, 1) * MG_DL_PER_MMOL_L,
            ts_ns=ts_ns,
            log_ns=ts_ns,
            log_seq=at,
            seq=at,
        )
        for at, (ts_ns, mg_dl) in enumerate(series)
    ]


def told(events: list[RecordedReading]) -> list[Finding]:
    """What the streaming monitor says."""
    monitor = GlucoseMonitor()
    return [one for event in events for one in monitor.on_reading(event, CONTEXT) if isinstance(one, Finding)]


@dataclass(frozen=True)
class Ahead:
    """Falls below 54, minutes by which warnings preceded them, warnings, and those followed by a value below 70."""

    onsets: int
    leads: list[float]
    warned: int
    useful: int


def predicted(series: Series, findings: list[Finding]) -> Ahead:
    """Predictions of a low against falls below 54 (first reading of each, after an hour without any)."""
    warned = [one.sample_ns for one in findings if one.rule == "glucose_predicted_low" and one.raised]
    onsets = [
        ts_ns
        for (before_ns, _), (ts_ns, mg_dl) in itertools.pairwise(series)
        if mg_dl < 54 and ts_ns - before_ns <= HORIZON_NS and not _any(series, ts_ns - LATER_NS, ts_ns, below=54)
    ]
    episodes = _standing(findings, "glucose_predicted_low")
    leads = []
    for onset in onsets:
        first = [begun for begun, ended in episodes if begun < onset and ended >= onset - HORIZON_NS]
        if first:
            leads.append(min(60.0, (onset - max(first)) / MINUTE_NS))
    useful = sum(_any(series, at, at + LATER_NS, below=70) for at in warned)
    return Ahead(len(onsets), leads, len(warned), useful)


def _any(series: Series, from_ns: int, to_ns: int, *, below: int) -> bool:
    return any(mg_dl < below for _, mg_dl in series[bisect_left(series, (from_ns,)) : bisect_left(series, (to_ns,))])


def _standing(findings: list[Finding], rule: str) -> list[tuple[int, int]]:
    done: list[tuple[int, int]] = []
    begun: int | None = None
    for one in findings:
        if one.rule != rule:
            continue
        if one.raised:
            begun = one.sample_ns if begun is None else begun
        elif begun is not None:
            done.append((begun, one.sample_ns))
            begun = None
    return [*done, (begun, 2**63)] if begun is not None else done


def days_of(series: Series) -> list[Day]:
    """Daily sums."""
    found: dict[int, Day] = {}
    for ts_ns, mg_dl in series:
        found.setdefault(ts_ns // DAY_NS, Day(ts_ns // DAY_NS)).push(ts_ns, mg_dl)
    return [found[number] for number in sorted(found)]


def measure(folder: Path, name: str) -> dict[str, Any]:
    """One row of the table."""
    rates: dict[str, int] = {}
    gaps, shares, cvs = [], [], []
    onsets, warned, useful, count, days, same = 0, 0, 0, 0, 0.0, 0
    leads: list[float] = []
    people, cpu_s = 0, 0.0
    for _, series, hba1c in persons(folder, name):
        people += 1
        count += len(series)
        events = readings(series)
        begun = time.process_time()
        found = told(events)
        cpu_s += time.process_time() - begun
        sums = days_of(series)
        days += sum(day.covered for day in sums) / 96
        begins: set[tuple[str, int]] = {(one.rule, one.onset) for one in found if one.raised}
        for rule, _ in begins:
            rates[rule] = rates.get(rule, 0) + 1
        molar = {(one.rule, one.onset) for one in told(readings(series, "mmol/L")) if one.raised}
        same += {one for one in begins if "below" in one[0]} == {one for one in molar if "below" in one[0]}
        ahead = predicted(series, found)
        onsets, warned, useful = onsets + ahead.onsets, warned + ahead.warned, useful + ahead.useful
        leads += ahead.leads
        figures = summarise(sums, len(sums))
        if figures is not None:
            shares.append(figures.in_range_pct)
            cvs.append(figures.cv_pct)
            if hba1c is not None:
                gaps.append(figures.gmi_pct - hba1c)
    per_day = {f"{rule} a day": round(rates.get(rule, 0) / days, 3) for rule in RULES}
    return {
        "data": name,
        "people": people,
        "days": round(days),
        **per_day,
        "falls < 54": onsets,
        "predicted %": round(100 * len(leads) / onsets, 1) if onsets else float("nan"),
        "95 %": wilson(len(leads), onsets),
        "median lead min": median(leads) if leads else float("nan"),
        "warnings with < 70 in 1 h %": round(100 * useful / warned, 1) if warned else float("nan"),
        "TIR % median": round(median(shares), 1),
        "CV % median": round(median(cvs), 1),
        "GMI - HbA1c mean": round(mean(gaps), 2) if gaps else float("nan"),
        "GMI - HbA1c abs": round(mean(abs(gap) for gap in gaps), 2) if gaps else float("nan"),
        "same lows in mmol/L": f"{same}/{people}",
        "us a reading": round(1e6 * cpu_s / count, 1),
    }


RULES = (
    "glucose_below_54",
    "glucose_below_70",
    "glucose_level_2_event",
    "glucose_hypo_prolonged",
    "glucose_predicted_low",
    "glucose_above_250",
    "glucose_above_400",
    "glucose_falling_fast",
    "glucose_rising_fast",
)


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    publish({"rows": [measure(options.folder, name) for name in SETS]}, options.json)


if __name__ == "__main__":
    main()
