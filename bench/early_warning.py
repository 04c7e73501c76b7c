"""Early warning on charted patients: plain limits, MEWS, NEWS2 and the patient's own trends, alert by alert.

`python bench/early_warning.py DIR [--json FILE]` with DIR the folder of recorded data. Every detector is the streaming
one with its shipped limits, fed reading by reading; only maximum ages and slots are those of hourly charts. No limit
was chosen on these patients, except in the rows that say so: there it was chosen on one half of the patients of
Challenge 2019 and is reported on the other half, and on MIMIC-IV.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
from alert_scoring import Alert, Course, figures
from early_warning_data import HOUR_NS, Stay, challenge2019, mimic4_demo
from report import publish

from dataflows.alerts.finding import Context, Finding, Scorer
from dataflows.scores import table, trends
from dataflows.scores.combined import Combined
from dataflows.scores.early_warning import EarlyWarning
from dataflows.scores.table import ScoreRule, ScoreTable
from dataflows.scores.trends import Signal, Trends

CHART_AGE_S = 4 * 3600
"""A charted value stands for four hours, the longest interval of NEWS2 for a patient who scores."""
TOTALS = range(3, 11)
FACTORS = (0.75, 1.0, 1.5, 2.0)
TARGETS_PCT = (15.0, 25.0)
"""Matched rows: limits with which so many days of patients who did not deteriorate have an alert."""
MONITOR_LIMITS = {"hr": (50, 120), "resp_rate": (8, 30), "spo2": (90, 101), "sbp": (90, 160)}
"""Alarm limits as bedside monitors leave the factory."""


def charted(name: str) -> ScoreTable:
    """The shipped table, with ages for hourly charts and a rule per total for the matched rows."""
    shipped = table.load(name)
    parameters = tuple(
        msgspec.structs.replace(one, max_age_s=max(one.max_age_s, CHART_AGE_S), median_s=0)
        for one in shipped.parameters
    )
    ladder = tuple(ScoreRule(rule=f"{name}>={limit}", kind="total", limit=limit) for limit in TOTALS)
    return msgspec.structs.replace(shipped, parameters=parameters, rules=(*shipped.rules, *ladder))


def hourly() -> list[Signal]:
    """The shipped signals with a value an hour: slopes over six hours, the same changes that matter."""
    return [msgspec.structs.replace(one, slot_s=3600, window_s=6 * 3600, least=8) for one in trends.load()]


def context(factor: float = 1.0) -> Context:
    """A patient with the shipped limits, or with those of trends scaled."""
    overrides = {f"{one.code}_{kind}": one.change * factor for one in trends.load() for kind in ("trend", "shift")}
    return Context("bench", "p", 1, frozenset(), {} if factor == 1.0 else overrides, 0)


def findings(scorer: Scorer, stay: Stay, patient: Context) -> Iterator[Finding]:
    """What a scorer says of a stay, deadlines first, as the judge asks it."""
    for reading in stay.readings:
        while (due := scorer.deadline()) is not None and due[0] <= reading.log_ns:
            yield from (one for one in scorer.on_deadline(due[0], patient) if isinstance(one, Finding))
        yield from (one for one in scorer.on_reading(reading, patient) if isinstance(one, Finding))
    while (due := scorer.deadline()) is not None and due[0] <= stay.end_ns:
        yield from (one for one in scorer.on_deadline(due[0], patient) if isinstance(one, Finding))


def alerts(found: Iterable[Finding], end_ns: int) -> dict[str, list[Alert]]:
    """Raised and ended, per rule."""
    standing: dict[str, int] = {}
    done: dict[str, list[Alert]] = {}
    for one in found:
        if one.raised:
            standing.setdefault(one.rule, one.log_ns)
        else:
            done.setdefault(one.rule, []).append((standing.pop(one.rule), one.log_ns))
    for rule, begun in standing.items():
        done.setdefault(rule, []).append((begun, max(end_ns, begun + 1)))
    return done


def plain(stay: Stay) -> list[Alert]:
    """Plain limits of a monitor on each signal, without delay or hysteresis."""
    found: list[Alert] = []
    for code, (low, high) in MONITOR_LIMITS.items():
        begun = None
        for one in stay.readings:
            if one.code != code:
                continue
            if not low <= one.value <= high:
                begun = one.log_ns if begun is None else begun
            elif begun is not None:
                found.append((begun, one.log_ns))
                begun = None
        if begun is not None:
            found.append((begun, max(stay.end_ns, begun + 1)))
    return found


def together(news: Sequence[Finding], moved: Sequence[Finding], rule: str) -> Iterator[Finding]:
    """What NEWS2, at the limit of the given rule, and trends say together."""
    combined = Combined()
    for one in sorted([*news, *moved], key=lambda found: found.log_ns):
        if one.rule == rule:
            yield from combined.on_outcomes([msgspec.structs.replace(one, rule="news2_medium")], context())
        elif one.rule != "news2_medium":
            yield from combined.on_outcomes([one], context())


def detectors(stay: Stay, tables: Sequence[ScoreTable], signals: Sequence[Signal]) -> dict[str, list[Alert]]:
    """Alerts of every detector in one stay, by detector."""
    found: dict[str, list[Alert]] = {"monitor limits": plain(stay)}
    for one in tables:
        news = list(findings(EarlyWarning(one), stay, context()))
        found |= alerts(news, stay.end_ns)
    for factor in FACTORS:
        moved = list(findings(Trends(signals), stay, context(factor)))
        single = alerts(moved, stay.end_ns)
        for kind in ("trend", "shift"):
            found[f"{kind} x{factor:g}"] = [one for rule, some in single.items() if rule.endswith(kind) for one in some]
        found[f"trend or shift x{factor:g}"] = found[f"trend x{factor:g}"] + found[f"shift x{factor:g}"]
        found[f"two signals x{factor:g}"] = alerts(together([], moved, ""), stay.end_ns).get("several_trends", [])
        if factor == 1.0:
            for limit in TOTALS:
                both = alerts(together(news, moved, f"news2>={limit}"), stay.end_ns)
                found[f"news2>={limit} with trend"] = both.get("news2_with_trend", [])
    return found


SHIPPED = {
    "monitor limits": "monitor limits",
    "mews_high": "MEWS >= 5",
    "news2_single_3": "NEWS2 single 3",
    "news2_medium": "NEWS2 >= 5",
    "news2_high": "NEWS2 >= 7",
    "news2_rise": "NEWS2 rise of 2",
    "trend x1": "trend",
    "shift x1": "shift",
    "trend or shift x1": "trend or shift",
    "two signals x1": "two signals move the wrong way",
    "news2>=5 with trend": "NEWS2 >= 5 with trend or shift",
}
FAMILIES = {
    "MEWS": [f"mews>={limit}" for limit in TOTALS],
    "NEWS2": [f"news2>={limit}" for limit in TOTALS],
    "trend": [f"trend x{factor:g}" for factor in FACTORS],
    "trend or shift": [f"trend or shift x{factor:g}" for factor in FACTORS],
    "two signals": [f"two signals x{factor:g}" for factor in FACTORS],
    "NEWS2 with trend": [f"news2>={limit} with trend" for limit in TOTALS],
}


def courses(stays: Iterable[tuple[Stay, dict[str, list[Alert]]]], detector: str) -> list[Course]:
    """The courses of one detector."""
    return [Course(stay.start_ns, stay.end_ns, stay.event_ns, found.get(detector, [])) for stay, found in stays]


def first_half(stay: Stay) -> bool:
    """Which half of the patients a stay belongs to, by its name alone."""
    return crc32(stay.name.encode()) % 2 == 0


def quiet_pct(stays: Iterable[tuple[Stay, dict[str, list[Alert]]]], detector: str) -> float:
    """Share of quiet days with an alert."""
    return float(figures(courses(stays, detector))["quiet windows with alert %"])


def measure(folder: Path) -> dict[str, Any]:
    """Runs both data sets and returns the rows of the table."""
    begun, readings = time.process_time(), 0
    tables, signals = [charted("mews"), charted("news2")], hourly()
    rows: list[dict[str, Any]] = []
    sets: dict[str, list[tuple[Stay, dict[str, list[Alert]]]]] = {}
    for name, stays in (("challenge2019", challenge2019(folder)), ("mimic4_demo", mimic4_demo(folder))):
        sets[name] = []
        for stay in stays:
            readings += len(stay.readings)
            sets[name].append((stay, detectors(stay, tables, signals)))
        rows += [
            {"data": name, "detector": label, **figures(courses(sets[name], detector))}
            for detector, label in SHIPPED.items()
        ]
    halves = [[one for one in sets["challenge2019"] if first_half(one[0]) is half] for half in (True, False)]
    quiet = {one: quiet_pct(halves[0], one) for members in FAMILIES.values() for one in members}
    for target in TARGETS_PCT:
        for members in FAMILIES.values():
            chosen = min(members, key=lambda one, target=target: abs(quiet[one] - target))
            for name, stays_of in (("challenge2019, other half", halves[1]), ("mimic4_demo", sets["mimic4_demo"])):
                label = f"for {target:g} % of quiet days: {chosen}"
                rows.append({"data": name, "detector": label, **figures(courses(stays_of, chosen))})
    days = sum((stay.end_ns - stay.start_ns) / (24 * HOUR_NS) for some in sets.values() for stay, _ in some)
    counts = {name: len(some) for name, some in sets.items()}
    seconds = time.process_time() - begun
    return {"rows": rows, "stays": counts, "readings": readings, "patient_days": days, "cpu_s": round(seconds, 1)}


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    publish(measure(options.folder), options.json)


if __name__ == "__main__":
    main()
