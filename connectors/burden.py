"""The alarm burden: what a ward was told, how often, how fast it answered, and what it was spared.

Read from ALERTS or from the table `alerts`: a transition is a row with log_ns, tenant, patient, alert_id, rule,
priority, kind, event, notify. The figures are those that alarm committees ask for (Drew 2014; Joint Commission
NPSG.06.01.01): alerts per patient-day by rule and priority, technical share, time to acknowledge, escalations, time in
alarm, the patients with most of them.
"""

from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

DAY_NS = 86_400_000_000_000


@dataclass(frozen=True)
class Burden:
    """Figures of a period."""

    patients: int
    patient_days: float
    alerts: int
    per_patient_day: float
    pages: int
    pages_per_patient_day: float
    technical_share: float
    escalations: int
    escalated_share: float
    acknowledged_share: float
    ack_median_s: float | None
    ack_p90_s: float | None
    in_alarm_share: float
    """Part of the patient-time in which at least one alert stood."""
    repeats: int
    """Findings that standing alerts took in without telling anybody again."""
    suppressed: dict[str, int]
    """Conditions of which nobody was told, by reason."""
    suppressed_by_rule: dict[str, int]
    by_priority: dict[str, int]
    by_rule: list[dict[str, Any]]
    """Of each rule and priority: alerts raised, those a patient-day; of the rule: pages, escalations."""
    top_patients: list[dict[str, Any]]
    top_tenth_share: float
    """Alerts of the tenth of the patients who have most."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def burden(
    transitions: pl.DataFrame,
    suppressed: pl.DataFrame,
    stood: pl.DataFrame,
    *,
    patients: int,
    from_ns: int,
    to_ns: int,
) -> Burden:
    """Returns the figures of a period.

    Args:
        transitions: Columns log_ns, tenant, patient, alert_id, rule, priority, kind, event, notify, repeats.
        suppressed: Columns rule, reason.
        stood: Alerts that stood when it began: columns tenant, patient, alert_id.
        patients: How many patients were monitored, with or without alerts.
        from_ns: Begin of the period, log time.
        to_ns: Its end; what stands then counts until then.
    """
    days = max(patients, 1) * (to_ns - from_ns) / DAY_NS
    raised = transitions.filter(pl.col("event") == "raised")
    count, pages = raised.height, transitions.filter(pl.col("notify")).height
    first_ack = _first(transitions, "acknowledged").join(_first(raised, "raised"), on="alert_id", how="inner")
    waits_s = ((first_ack["acknowledged"] - first_ack["raised"]) / 1e9).sort()
    escalated = transitions.filter(pl.col("event") == "escalated")
    by_patient = (
        raised.group_by("tenant", "patient").len("alerts").sort(["alerts", "patient"], descending=[True, False])
    )
    tenth = max(1, round(max(patients, by_patient.height) / 10))
    return Burden(
        patients=patients,
        patient_days=round(days, 4),
        alerts=count,
        per_patient_day=round(count / days, 4),
        pages=pages,
        pages_per_patient_day=round(pages / days, 4),
        technical_share=_share(raised.filter(pl.col("kind") == "technical").height, count),
        escalations=escalated.height,
        escalated_share=_share(escalated["alert_id"].n_unique(), raised["alert_id"].n_unique()),
        acknowledged_share=_share(first_ack.height, raised["alert_id"].n_unique()),
        ack_median_s=None if waits_s.is_empty() else round(float(waits_s.quantile(0.5, "linear") or 0.0), 3),
        ack_p90_s=None if waits_s.is_empty() else round(float(waits_s.quantile(0.9, "linear") or 0.0), 3),
        in_alarm_share=_share(_in_alarm_ns(transitions, stood, from_ns, to_ns), max(patients, 1) * (to_ns - from_ns)),
        repeats=int(transitions.group_by("alert_id").agg(pl.col("repeats").max())["repeats"].sum() or 0),
        suppressed=dict(suppressed.group_by("reason").len().sort("reason").rows()),
        suppressed_by_rule=dict(
            suppressed.group_by("rule").len("n").sort(["n", "rule"], descending=[True, False]).rows()
        ),
        by_priority={name: raised.filter(pl.col("priority") == name).height for name in ("high", "medium", "low")},
        by_rule=_by_rule(transitions, suppressed, days),
        top_patients=by_patient.head(10).to_dicts(),
        top_tenth_share=_share(int(by_patient.head(tenth)["alerts"].sum()), count),
    )


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _by_rule(transitions: pl.DataFrame, suppressed: pl.DataFrame, days: float) -> list[dict[str, Any]]:
    """A row for each rule and priority with which it was raised, most alerts first."""
    pages = transitions.filter(pl.col("notify")).group_by("rule").len("pages")
    escalations = transitions.filter(pl.col("event") == "escalated").group_by("rule").len("escalations")
    raised = transitions.filter(pl.col("event") == "raised").group_by("rule", "priority", "kind").len("alerts")
    # A rule that alerts with two priorities has its other figures once, in the row with more alerts.
    first = pl.int_range(pl.len()).over("rule") == 0
    rows = raised.sort(["alerts", "rule", "priority"], descending=[True, False, False])
    for counts in (pages, escalations):
        name = counts.columns[1]
        rows = rows.join(counts, on="rule", how="left", maintain_order="left")
        rows = rows.with_columns(pl.when(first).then(pl.col(name).fill_null(0)).otherwise(0).alias(name))
    return rows.with_columns((pl.col("alerts") / days).round(4).alias("per_patient_day")).to_dicts()


def _first(transitions: pl.DataFrame, event: str) -> pl.DataFrame:
    """When each alert first saw an event. An acknowledgement may clear at once what has latched."""
    kept = transitions.filter(
        (pl.col("event") == event) | ((event == "acknowledged") & (pl.col("reason") == "acknowledged"))
    )
    return kept.group_by("alert_id").agg(pl.col("log_ns").min().alias(event))


def _in_alarm_ns(transitions: pl.DataFrame, stood: pl.DataFrame, from_ns: int, to_ns: int) -> int:
    """Time of each patient in which at least one alert stood, added up."""
    before = stood.select(
        pl.lit(from_ns, pl.Int64).alias("log_ns"),
        "tenant",
        "patient",
        "alert_id",
        pl.lit(-1, pl.Int64).alias("transition"),
        state=pl.lit(""),
    )
    within = transitions.sort("log_ns", "transition").select(before.columns)
    total = 0
    for _, one in pl.concat([before, within]).group_by(["tenant", "patient"], maintain_order=True):
        standing: set[str] = set()
        since_ns = 0
        for log_ns, alert_id, state in one.select("log_ns", "alert_id", "state").iter_rows():
            before_it = bool(standing)
            if state == "cleared":
                standing.discard(alert_id)
            else:
                standing.add(alert_id)
            if standing and not before_it:
                since_ns = log_ns
            elif before_it and not standing:
                total += log_ns - since_ns
        total += to_ns - since_ns if standing else 0
    return total
