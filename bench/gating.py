"""What gating by quality suppresses and what it misses, on recorded signals.

`python -m bench.gating DIR [--json FILE]` with DIR the folder of recorded data. Each record goes through the validator,
the step `signals` and the judge as a bedside device would send it. The same findings are judged three times: with the
shipped rules, with rules that nothing gates, and with every rhythm rule gated by poor quality, too.

- PhysioNet/CinC Challenge 2015: alarms with a verdict. One is told when an alert of its kind stands in the last 20 s.
- MIT-BIH Noise Stress Test, record 118 with electrode motion from minute 5 on in turns of 2 min: what is told of the
  noisy record and not of the clean one is false, what is told of the clean one and not of the noisy one is missed.
- MIT-BIH Arrhythmia: alerts a day on records that are mostly clean.
- BIDMC, 26 recordings of 8 min in intensive care, leads and pleth. Nobody judged their alarms; beside them stand the
  heart rate and the pulse rate of the monitor. A rate alarm is contradicted when neither of them passes the limit (less
  a margin) in the seconds around it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.report import publish
from bench.rhythm_alarms import alarms
from bench.rhythm_live import RECENT_S, RULES, SECOND_NS, START_NS, as_channels, heard, output_of
from dataflows._native import Output
from dataflows.alerts.alert import Alert, Kind
from dataflows.alerts.rules import BUILTIN, Rule, RuleSet
from dataflows.monitor.judge import Judge

TOGETHER_S = 10.0
"""An alert of the clean record and one of the noisy one are the same when their onsets are so near."""
DAY_S = 86_400.0
ECG_LEADS = {"I", "II", "V", "MCL", "AVR"}
BEDSIDE_FS_HZ = 125.0
BESIDE_S = 10.0
"""A monitor's displayed rate averages over about ten seconds."""
MARGIN_PER_MIN = 5.0
RATE_LIMITS = {
    "bradycardia": (50, -1),
    "extreme_bradycardia": (40, -1),
    "tachycardia": (120, 1),
    "extreme_tachycardia": (140, 1),
}
"""Limits of the rate alarms, and which way they are passed."""


def _gated(change: Callable[[Rule], frozenset[str]]) -> RuleSet:
    return replace(BUILTIN, rules={name: replace(rule, gated_by=change(rule)) for name, rule in BUILTIN.rules.items()})


SETS = {
    "nothing gated": _gated(lambda _: frozenset()),
    "as shipped": BUILTIN,
    "all gated by poor quality, too": _gated(
        lambda rule: rule.gated_by | {"poor_quality"} if "lead_off" in rule.gated_by else rule.gated_by
    ),
}


@dataclass(frozen=True)
class Told:
    """A physiological alert of a record; s since its beginning."""

    rule: str
    onset_s: float
    from_s: float
    to_s: float


@dataclass(frozen=True)
class Heard:
    """What a rule set makes of a record."""

    told: list[Told]
    suppressed: Counter[str]
    technical: Counter[str]


def judged(output: Output, rules: RuleSet, seconds: float) -> Heard:
    """What a rule set makes of a record's findings."""
    found: dict[str, Told] = {}
    suppressed: Counter[str] = Counter()
    technical: Counter[str] = Counter()
    for one in Judge(rules, {}).on_output(output):
        if not isinstance(one, Alert):
            if one.table == "suppressed" and "quality" in one.row:
                suppressed[next(value for value in one.row if value in rules.rules)] += 1
            continue
        if one.kind is not Kind.PHYSIOLOGICAL:
            technical[one.rule] += one.transition == 0
            continue
        at_s = (one.log_ns - START_NS) / SECOND_NS
        known = found.get(one.alert_id)
        if known is None:
            onset_s = (one.onset_ns - START_NS) / SECOND_NS
            found[one.alert_id] = Told(one.rule, onset_s, at_s, seconds + 5)
        elif not one.condition:
            found[one.alert_id] = replace(known, to_s=min(known.to_s, at_s))
    return Heard(list(found.values()), suppressed, technical)


def challenge(folder: Path) -> Iterable[dict[str, Any]]:
    """True and false alarms that each rule set tells."""
    counts = {name: Counter[str]() for name in SETS}
    for alarm in alarms(folder):
        output, seconds = output_of(folder / alarm.record)
        for name, rules in SETS.items():
            told_of = judged(output, rules, seconds)
            recent = {one.rule for one in told_of.told if one.to_s >= seconds - RECENT_S}
            truth = "true" if alarm.truth else "false"
            counts[name][truth] += 1
            counts[name][f"{truth} told"] += bool(RULES[alarm.kind] & recent)
            counts[name]["suppressed"] += sum(told_of.suppressed.values())
            counts[name]["technical"] += sum(told_of.technical.values())
    for name, count in counts.items():
        yield {
            "data": "cinc2015",
            "rules": name,
            "true told": f"{count['true told']} of {count['true']}",
            "false told": f"{count['false told']} of {count['false']}",
            "conditions suppressed": count["suppressed"],
            "technical alerts": count["technical"],
        }


def _apart(some: list[Told], others: list[Told]) -> int:
    """How many of some have no partner of the same rule among the others."""

    def partner(one: Told) -> bool:
        same = (other for other in others if other.rule == one.rule)
        return any(other.onset_s - TOGETHER_S <= one.to_s and one.onset_s <= other.to_s + TOGETHER_S for other in same)

    return sum(not partner(one) for one in some)


def noise(folder: Path) -> Iterable[dict[str, Any]]:
    """Alerts of record 118 with noise against those without."""
    clean, seconds = output_of(folder / "mitdb" / "118")
    truth = {name: judged(clean, rules, seconds) for name, rules in SETS.items()}
    for snr in ("24", "18", "12", "06", "00", "_6"):
        output, seconds = output_of(folder / "nstdb" / f"118e{snr}")
        for name, rules in SETS.items():
            told_of = judged(output, rules, seconds)
            yield {
                "data": f"118e{snr}",
                "rules": name,
                "told": len(told_of.told),
                "not of the clean record": _apart(told_of.told, truth["nothing gated"].told),
                "missed": _apart(truth["nothing gated"].told, told_of.told),
                "conditions suppressed": sum(told_of.suppressed.values()),
                "technical alerts": sum(told_of.technical.values()),
            }


def arrhythmia(folder: Path) -> Iterable[dict[str, Any]]:
    """Alerts a day on the whole MIT-BIH Arrhythmia Database."""
    days = 0.0
    told = {name: Counter[str]() for name in SETS}
    suppressed = {name: Counter[str]() for name in SETS}
    technical = {name: Counter[str]() for name in SETS}
    for header in sorted((folder / "mitdb").glob("*.hea")):
        output, seconds = output_of(header.with_suffix(""))
        days += seconds / DAY_S
        for name, rules in SETS.items():
            told_of = judged(output, rules, seconds)
            told[name].update(one.rule for one in told_of.told)
            suppressed[name] += told_of.suppressed
            technical[name] += told_of.technical
    for name in SETS:
        yield {
            "data": "mitdb",
            "rules": name,
            "told a day": sum(told[name].values()) / days,
            "suppressed a day": sum(suppressed[name].values()) / days,
            "technical a day": sum(technical[name].values()) / days,
            "told": dict(told[name].most_common()),
            "suppressed": dict(suppressed[name].most_common()),
        }


def contradicted(one: Told, rates: np.ndarray) -> bool | None:
    """Whether the monitor's own rates (a row a second) speak against a rate alarm; None where nobody can tell."""
    if one.rule not in RATE_LIMITS:
        return None
    limit, sign = RATE_LIMITS[one.rule]
    around = rates[max(0, int(one.onset_s - BESIDE_S)) : int(one.from_s + BESIDE_S) + 1]
    known = around[np.isfinite(around) & (around > 0)]
    return None if not known.size else bool((sign * known).max() < sign * limit - MARGIN_PER_MIN)


def bedside(folder: Path) -> Iterable[dict[str, Any]]:
    """Alerts of intensive-care recordings beside what the monitor itself showed."""
    days, counts = 0.0, {name: Counter[str]() for name in SETS}
    told, suppressed = ({name: Counter[str]() for name in SETS} for _ in range(2))
    for path in sorted((folder / "signals_parquet").glob("*_Signals.parquet")):
        waves = pl.read_parquet(path)
        units = {name: "mV" if name in ECG_LEADS else "NU" for name in waves.columns}
        signals = [(name, unit, waves[name].to_numpy()) for name, unit in units.items()]
        output, seconds = heard(as_channels(signals, BEDSIDE_FS_HZ))
        numerics = pl.read_csv(folder / path.name.replace("Signals.parquet", "Numerics.csv"), null_values=["NaN", ""])
        rates = numerics.rename(str.strip).select(pl.col("HR", "PULSE").cast(pl.Float64)).to_numpy()
        days += seconds / DAY_S
        for name, rules in SETS.items():
            found = judged(output, rules, seconds)
            told[name].update(one.rule for one in found.told)
            suppressed[name] += found.suppressed
            counts[name]["technical"] += sum(found.technical.values())
            for verdict in (contradicted(one, rates) for one in found.told):
                counts[name]["rate alarms"] += verdict is not None
                counts[name]["contradicted"] += bool(verdict)
    for name in SETS:
        yield {
            "data": "bidmc",
            "rules": name,
            "hours": days * 24,
            "told": sum(told[name].values()),
            "told a day": sum(told[name].values()) / days,
            "rate alarms": counts[name]["rate alarms"],
            "contradicted by the monitor": counts[name]["contradicted"],
            "suppressed": dict(suppressed[name].most_common()),
            "technical alerts": counts[name]["technical"],
            "by rule": dict(told[name].most_common()),
        }


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    ecg = options.folder / "ecg"
    for name, rows in (
        ("challenge", challenge(ecg / "cinc2015")),
        ("noise", noise(ecg)),
        ("arrhythmia", arrhythmia(ecg)),
        ("bedside", bedside(options.folder / "vitals" / "bidmc")),
    ):
        file = options.json and options.json.with_name(f"{options.json.stem}_{name}{options.json.suffix}")
        publish({"rows": list(rows)}, file)


if __name__ == "__main__":
    main()
