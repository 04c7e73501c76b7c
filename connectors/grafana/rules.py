"""Prometheus alert rules for the pipeline itself: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules.

Patients' alerts are the flow's; these say that the flow, its storage or its watch needs somebody.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class PipelineRule:
    """One rule: a name, a condition, how long it must hold, how grave it is, and what to do."""

    name: str
    expr: str
    hold: str
    severity: str
    text: str


RULES = (
    PipelineRule("VitalsPipelineSilent", "vitals_pipeline_silent == 1", "0s", "page",
                 "No partition moves: alarms do not come. Look at /status of `vitals run`."),
    PipelineRule("VitalsFlowDown", "vitals_supervisor_flow_up == 0", "30s", "page",
                 "The flow's processes are not running; its log says why."),
    PipelineRule("VitalsMetricsAbsent", "absent(vitals_supervisor_flow_up)", "1m", "page",
                 "`vitals run` does not answer on its health port."),
    PipelineRule("VitalsFlowRestarts", "increase(vitals_supervisor_restarts_total[10m]) > 3", "0s", "ticket",
                 "The flow keeps dying; /status has the reason."),
    PipelineRule("VitalsLag", "max(nats_lag_seconds) > 10", "1m", "page",
                 "Messages wait for more than 10 s: alarms are late by as much."),
    PipelineRule("VitalsUnaccounted", "vitals_ledger_unaccounted > 0", "1m", "page",
                 "Messages became nothing, or two things: `vitals ledger` names them."),
    PipelineRule("VitalsRejects",
                 'sum(rate(vitals_frames_total{result="rejected"}[5m])) > 0.01 * sum(rate(vitals_received_total[5m]))',
                 "5m", "ticket", "More than 1 % of the messages are refused: `vitals rejected` shows them."),
    PipelineRule("VitalsStorageAway", "vitals_questdb_circuit_open == 1", "2m", "ticket",
                 "QuestDB takes no rows; they wait in SPILL. Alarms go on."),
    PipelineRule("VitalsStorageSlow", 'sum(rate(vitals_questdb_rows_total{result="spilled"}[10m])) > 0',
                 "30m", "ticket",
                 "Rows have gone to SPILL for half an hour: QuestDB does not keep up."),
    PipelineRule("VitalsDrainerAbsent", "absent(vitals_spill_waiting_messages)", "5m", "ticket",
                 "The drainer of SPILL does not answer (run.drainer_port): rows that wait are not written."),
    PipelineRule("VitalsSpillWaits", "vitals_spill_waiting_messages > 0", "30m", "ticket",
                 "Rows have waited in SPILL for half an hour: the drainer's log says which table."),
    PipelineRule("VitalsTableSuspended", "vitals_questdb_suspended_tables > 0", "1m", "ticket",
                 "A table acknowledges rows and does not show them: `vitals doctor` says what to do."),
)  # fmt: skip


def document() -> dict[str, Any]:
    """Returns the file of rules."""
    listed = [
        {
            "alert": rule.name,
            "expr": rule.expr,
            "for": rule.hold,
            "labels": {"severity": rule.severity},
            "annotations": {"summary": rule.text},
        }
        for rule in RULES
    ]
    return {"groups": [{"name": "vitals", "rules": listed}]}
