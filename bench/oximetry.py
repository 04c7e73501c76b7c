"""SpO2 events, indices and alarms of recordings, beside pobm and psgscoring, in one run.

    python bench/oximetry.py ../shared/data/vitals --json oximetry.json --plot oximetry.png

DIR holds the data sets osv_healthy, uw_hypoxemia and bidmc (any of them), or any CSV with columns `t` and `spo2`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.oximetry_data import UW_OXIMETERS, Recording, recordings
from bench.oximetry_nights import Kind, night, pairs
from bench.oximetry_peers import Scorer, defects, scorers
from dataflows.detectors import DesaturationDetector, SpO2Alarm, SpO2Bank, SpO2Limits, SpO2Series

LIMITS = (90.0, 88.0, 85.0)
DELAYS_S = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0)
SETTINGS = (10.0, 25.0, 50.0, 100.0)
NIGHTS = 6
PATIENT = "spo2_no_data"  # the only rule that is not about the patient


def score(recording: Recording) -> dict[str, Any]:
    """Events, indices and default alarms of one recording."""
    series = SpO2Series(recording.fs_hz)
    events, alarms = series.push(recording.values)
    events += series.flush()[0]
    night_ = series.night()
    raised = defaultdict[str, int](int)
    for alarm in alarms:
        raised[alarm.rule] += alarm.raised
    scored = [event for event in events if event.kind != "provisional"]
    return {
        "group": recording.group,
        "hours": len(recording.values) / recording.fs_hz / 3600,
        "valid_hours": night_.valid_h,
        "no_reading": int(np.isfinite(recording.values).sum() - round(valid(recording).sum())),
        "odi3": night_.odi3,
        "odi4": night_.odi4,
        "t90_pct": night_.t90_pct,
        "t88_pct": night_.t88_pct,
        "t85_pct": night_.t85_pct,
        "burden_pct_min_per_h": night_.burden_pct_min_per_h,
        "alarms": dict(raised),
        "events": [
            {
                "onset_s": event.onset_s,
                "nadir_s": event.nadir_s,
                "end_s": event.end_s,
                "drop": event.drop,
                "baseline": event.baseline,
                "nadir": event.nadir,
                "kind": event.kind,
            }
            for event in scored
        ],
    }


def valid(recording: Recording) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which samples are readings."""
    return (recording.values >= 50) & (recording.values <= 100)


def alarms_of(recording: Recording, limits: SpO2Limits) -> list[SpO2Alarm]:
    """What began or ended under these limits."""
    return SpO2Series(recording.fs_hz, limits=limits).push(recording.values)[1]


def only(low: tuple[float, float] | None = None, sat_seconds: tuple[float, float] | None = None) -> SpO2Limits:
    """One rule and no other."""
    return SpO2Limits(low=low, very_low=None, rapid_drop_pct=None, sat_seconds=sat_seconds)


def alarm_rates(found: list[Recording]) -> list[dict[str, Any]]:
    """Alarms per 24 valid hours of each data set, by limit and delay and by SatSeconds setting."""
    rows = []
    for group in sorted({recording.group for recording in found}):
        members = [recording for recording in found if recording.group == group]
        hours = sum(valid(recording).sum() / recording.fs_hz / 3600 for recording in members)
        rules = [(f"< {limit:g} for {delay:g} s", only((limit, delay))) for limit in LIMITS for delay in DELAYS_S]
        rules += [
            (f"SatSeconds {setting:g} at {limit:g}", only(sat_seconds=(limit, setting)))
            for limit in LIMITS
            for setting in SETTINGS
        ]
        for rule, limits in rules:
            count = sum(alarm.raised and alarm.rule != PATIENT for one in members for alarm in alarms_of(one, limits))
            rows.append(
                {"group": group, "rule": rule, "alarms": count, "per_24h": 24 * count / hours if hours else 0.0}
            )
    return rows


def induced(found: list[Recording]) -> list[dict[str, Any]]:
    """Each stretch of 30 s and more below 90 % in the induced hypoxaemia: was it alarmed, and how soon?"""
    rows: list[dict[str, Any]] = []
    for recording in (one for one in found if one.group == "uw_hypoxemia"):
        subject, oximeter = recording.name.rsplit("/", 1)
        alarms = alarms_of(recording, SpO2Limits())
        for start, end in below(recording, 90.0, 30.0):
            row: dict[str, Any] = {
                "subject": subject.rsplit("/", 1)[-1],
                "oximeter": UW_OXIMETERS[oximeter.replace("oximeter_", "SpO2 ")],
                "start_s": start,
                "lowest": float(np.nanmin(recording.values[int(start) : int(end) + 1])),
            }
            for rule in ("spo2_below_90", "spo2_below_85", "spo2_rapid_desaturation", "spo2_sat_seconds"):
                row[rule] = first_active(alarms, rule, start, end)
            delays = [row[rule] for rule in row if rule.startswith("spo2_") and row[rule] is not None]
            row["alarmed_after_s"] = min(delays) if delays else None
            rows.append(row)
    for row in rows:
        others = [other for other in rows if other["subject"] == row["subject"]]
        again = any(other["oximeter"] == row["oximeter"] and other["start_s"] < row["start_s"] for other in others)
        row["after_first_oximeter_s"] = None if again else row["start_s"] - min(one["start_s"] for one in others)
    return rows


def below(recording: Recording, limit: float, shortest_s: float) -> list[tuple[float, float]]:
    """Stretches whose readings are all below the limit."""
    stretches = list[tuple[float, float]]()
    start: int | None = None
    last = 0
    readings = np.flatnonzero(valid(recording))
    for at in readings.tolist():
        if recording.values[at] < limit:
            start, last = (at if start is None else start), at
        elif start is not None:
            stretches.append((start / recording.fs_hz, last / recording.fs_hz))
            start = None
    if start is not None:
        stretches.append((start / recording.fs_hz, last / recording.fs_hz))
    return [(first, end) for first, end in stretches if end - first >= shortest_s]


def first_active(alarms: list[SpO2Alarm], rule: str, start: float, end: float) -> float | None:
    """Seconds from the start of the stretch until the alarm is raised; 0 where it still is from before."""
    since: float | None = None
    for alarm in alarms:
        if alarm.rule != rule or alarm.decided_s > end + 1:
            continue
        if alarm.raised:
            since = alarm.decided_s
        elif alarm.decided_s < start:
            since = None
    return None if since is None else max(0.0, since - start)


def agreement(found: list[Recording], tools: dict[str, Scorer]) -> list[dict[str, Any]]:
    """Events of each scorer on each data set, and F1 of each pair of scorers."""
    rows = []
    for group in sorted({recording.group for recording in found}):
        members = [one for one in found if one.group == group and one.fs_hz == 1.0]
        events = {tool: [scorer(one.values, one.fs_hz, 3.0) for one in members] for tool, scorer in tools.items()}
        hours = sum(valid(one).sum() / 3600 for one in members)
        for tool, intervals in events.items():
            row: dict[str, Any] = {"group": group, "scorer": tool, "events": sum(map(len, intervals))}
            row["odi3"] = row["events"] / hours if hours else 0.0
            for other, others in events.items():
                hits = sum(pairs(mine, theirs) for mine, theirs in zip(intervals, others, strict=True))
                total = sum(map(len, intervals)) + sum(map(len, others))
                row[f"F1 {other}"] = 2 * hits / total if total else None
            rows.append(row)
    return rows


def variants() -> list[dict[str, Any]]:
    """The standard profile on nights made otherwise."""
    rows = []
    for name, kind in {
        "as above": Kind(40.0),
        "dips up to 2.5 points": Kind(40.0, deepest_dip=2.5),
        "no artefacts": Kind(40.0, artefacts=False),
        "0.1 % display": Kind(40.0, digit=0.1),
        "16 s averaging": Kind(40.0, averaging_s=16),
        "no averaging": Kind(40.0, averaging_s=1),
        "falls of 6 to 15 s": Kind(40.0, fall_s=(6, 15), hold_s=(1, 5), rise_s=(3, 8)),
    }.items():
        (row,) = synthetic({"standard": scorers()[0]["standard"]}, {30.0: kind})
        rows.append({"nights": name} | {key: row[key] for key in ("se", "ppv", "f1", "odi_error_per_h")})
    return rows


def synthetic(tools: dict[str, Scorer], kinds: dict[float, Kind]) -> list[dict[str, Any]]:
    """Sensitivity, positive predictive value and F1 on nights of known truth, and the speed on the same."""
    rows = []
    for rate, kind in kinds.items():
        nights = [night(kind, seed) for seed in range(NIGHTS)]
        samples = sum(len(values) for values, _ in nights)
        for tool, scorer in tools.items():
            hits = events = truths = 0
            seconds = math.inf
            for attempt in range(2):
                begin = time.process_time()
                scored = [scorer(values, 1.0, 3.0) for values, _ in nights]
                seconds = min(seconds, time.process_time() - begin)
                if attempt == 0:
                    for intervals, (_, falls) in zip(scored, nights, strict=True):
                        truth = [(float(fall.start_s), float(fall.end_s)) for fall in falls]
                        hits += pairs(truth, intervals)
                        events, truths = events + len(intervals), truths + len(truth)
            rows.append(
                {
                    "falls_per_h": rate,
                    "scorer": tool,
                    "se": hits / truths,
                    "ppv": hits / events if events else None,
                    "f1": 2 * hits / (events + truths),
                    "odi_error_per_h": (events - truths) / (8 * NIGHTS),
                    "samples_per_s": samples / seconds,
                }
            )
    return rows


def speed() -> list[dict[str, Any]]:
    """CPU time of one core: the detector alone, everything for one series, and a bank of 1,000."""
    values = np.concatenate([night(Kind(40.0), seed)[0] for seed in range(20)])
    matrix = np.tile(values[:28_800].reshape(1, -1), (1000, 1))

    def bank(chunk: int, until: int) -> None:
        rows = SpO2Bank(len(matrix))
        for at in range(0, until, chunk):
            rows.push(matrix[:, at : at + chunk])

    cases: dict[str, tuple[Callable[[], object], int]] = {
        "DesaturationDetector": (lambda: DesaturationDetector().push(values), len(values)),
        "SpO2Series: ODI3, ODI4, T90, burden, alarms": (lambda: SpO2Series().push(values), len(values)),
        "SpO2Bank of 1,000, 8 h at once": (lambda: bank(28_800, 28_800), matrix.size),
        "SpO2Bank of 1,000, 10 s at a time": (lambda: bank(10, 1_440), 1_440 * len(matrix)),
    }
    rows = []
    for case, (run, samples) in cases.items():
        best = math.inf
        for _ in range(3):
            begin = time.process_time()
            run()
            best = min(best, time.process_time() - begin)
        rows.append({"case": case, "samples_per_s": samples / best})
    return rows


def sizes() -> list[dict[str, Any]]:
    """Bytes of a snapshot, taken each minute of a night with 30 falls an hour."""
    rows = []
    for name, one in (("DesaturationDetector", DesaturationDetector()), ("SpO2Series", SpO2Series())):
        bytes_ = []
        for minute in np.split(night(Kind(40.0), 0)[0], 480):
            one.push(minute)
            bytes_.append(len(one.snapshot()))
        rows.append({"snapshot of": name, "median bytes": float(np.median(bytes_)), "largest": max(bytes_)})
    return rows


def table(title: str, rows: list[dict[str, Any]]) -> None:
    """Prints rows under their columns."""
    print(f"\n{title}")
    if not rows:
        print("  nothing")
        return
    columns = list(rows[0])
    cells = [columns, *([text(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(columns))]
    for line in cells:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def text(value: object) -> str:
    """A cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    return str(value)


def groups(scored: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a data set, and what its desaturations look like."""
    rows = []
    for group in sorted({one["group"] for one in scored.values()}):
        members = [one for one in scored.values() if one["group"] == group]
        events = [event for one in members for event in one["events"]]
        busiest = sorted((len(one["events"]) for one in members), reverse=True)
        rules = sorted({rule for one in members for rule in one["alarms"]})
        valid_h = sum(one["valid_hours"] for one in members)
        rows.append(
            {
                "group": group,
                "recordings": len(members),
                "valid_h": valid_h,
                "outside 50..100": sum(one["no_reading"] for one in members),
                "events3": len(events),
                "odi3": len(events) / valid_h if valid_h else None,
                "in the busiest 5": sum(busiest[:5]),
                "none in": sum(count == 0 for count in busiest),
                "median drop": float(np.median([event["drop"] for event in events])) if events else None,
                "nadir < 90": sum(event["nadir"] < 90 for event in events),
                "sustained": sum(event["kind"] == "sustained" for event in events),
                "default alarms": ", ".join(
                    f"{rule} {sum(one['alarms'].get(rule, 0) for one in members)}" for rule in rules
                )
                or "none",
            }
        )
    return rows


def machine() -> dict[str, Any]:
    """What ran it."""
    versions = {name: importlib.metadata.version(name) for name in ("numpy", "pobm", "psgscoring") if installed(name)}
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    } | versions


def installed(name: str) -> bool:
    """Whether a distribution is there."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def main() -> int:
    """Runs everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("root", type=Path, metavar="DIR", help="data sets, a folder of CSV files or one CSV file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables here as well")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw an induced desaturation and its alarms")
    parser.add_argument("--quick", action="store_true", help="the recordings only: no peers, no synthetic nights")
    arguments = parser.parse_args()
    if not arguments.root.exists():
        parser.error(f"there is no {arguments.root}")
    found, skipped = recordings(arguments.root)
    scored = {one.name: score(one) for one in found}
    result: dict[str, Any] = {"machine": machine(), "recordings": scored, "skipped": skipped}
    table("Recordings", groups(scored))
    result["alarms_per_24h"] = alarm_rates(found)
    result["induced"] = induced(found)
    if not arguments.quick:
        tools, result["peers_missing"] = scorers()
        result["agreement"] = agreement(found, tools)
        result["synthetic"] = synthetic(tools, {rate: Kind(rate / 0.75) for rate in (5.0, 30.0, 60.0)})
        result["variants"] = variants()
        result["defects"] = defects(tools)
        result["speed"], result["sizes"] = speed(), sizes()
    for title, key in (
        ("Alarms per 24 valid hours, by rule", "alarms_per_24h"),
        ("Induced hypoxaemia: stretches of 30 s and more below 90 %, seconds to each alarm", "induced"),
        ("Agreement of scorers, threshold 3 points", "agreement"),
        (f"Synthetic nights ({NIGHTS} x 8 h, 1 % display, 4 s averaging, artefacts)", "synthetic"),
        ("The standard profile at 30 falls an hour, on nights made otherwise", "variants"),
        ("What each scorer counts where the truth is plain", "defects"),
        ("Speed on one core", "speed"),
        ("State", "sizes"),
    ):
        if key in result:
            table(title, [row for row in result[key] if row.get("alarms", 1)])
    for line in [*skipped, *result.get("peers_missing", [])]:
        print(line, file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(finite(result), indent=1), encoding="utf-8")
    if arguments.plot:
        from bench.oximetry_plot import plot

        plot(found, arguments.plot)
    return 0


def finite(value: Any) -> Any:
    """The same with null in place of NaN, which is no JSON."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


if __name__ == "__main__":
    raise SystemExit(main())
