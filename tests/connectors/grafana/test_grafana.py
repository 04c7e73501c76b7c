"""Every generated query runs on a live QuestDB, every metric that is named is one that the processes export."""

import importlib
import json
import re
import shutil
import subprocess

import psycopg
import pytest
from prometheus_client import REGISTRY

from connectors.grafana.files import provision
from connectors.grafana.panels import SOURCES
from connectors.grafana.rules import RULES
from dataflows.settings import Settings

MACROS = {
    "$__timeFilter(ts)": "ts BETWEEN '2026-01-01T00:00:00Z' AND '2027-01-01T00:00:00Z'",
    "$__interval": "1m",
    "${tenant:sqlstring}": "'main'",
    "${patient:sqlstring}": "'p1'",
}


@pytest.fixture(params=sorted(SOURCES))
def written(request, tmp_path):
    """The files by name, and the data source that was chosen."""
    paths = provision(Settings(), tmp_path, request.param, "http://127.0.0.1:9090")
    files = {str(path.relative_to(tmp_path)): json.loads(path.read_text()) for path in paths}
    return files, SOURCES[request.param]


def dashboards(files):
    return [content for name, content in files.items() if name.startswith("dashboards/")]


def expanded(sql):
    for macro, value in MACROS.items():
        sql = sql.replace(macro, value)
    assert "$" not in sql
    return sql


@pytest.mark.services
def test_every_query_runs_as_the_reader_and_has_the_columns_of_its_panel(written, questdb):
    files, _ = written
    settings = questdb.settings
    count = 0
    with psycopg.connect(
        settings.pg_dsn,
        user=settings.reader,
        password=settings.reader_password.get_secret_value(),
        autocommit=True,
        cursor_factory=psycopg.ClientCursor,
    ) as connection:
        for board in dashboards(files):
            for one in board["templating"]["list"]:
                assert len(connection.execute(expanded(one["query"])).description) == 1
                count += 1
            for panel in board["panels"]:
                for target in panel["targets"]:
                    if "rawSql" not in target:
                        continue
                    columns = [column.name for column in connection.execute(expanded(target["rawSql"])).description]
                    if panel["type"] == "timeseries":
                        assert columns[0] == "time", panel["title"]
                        assert len(columns) == 3
                    count += 1
    assert count >= 17


def test_dashboards_have_the_shape_that_grafana_reads(written):
    files, source = written
    known = {one["uid"]: one["type"] for one in files["provisioning/datasources/vitals.yaml"]["datasources"]}
    uids = [board["uid"] for board in dashboards(files)]
    assert len(set(uids)) == len(uids) == 2
    for board in dashboards(files):
        assert board["schemaVersion"] >= 36
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(set(numbers)) == len(numbers)
        taken = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells
            for target in panel["targets"]:
                reference = target["datasource"]
                assert known[reference["uid"]] == reference["type"]
                assert ("rawSql" in target) == (reference["uid"] == source.uid)
                assert target.get("rawSql") or target.get("expr")


def test_no_password_is_in_a_file(written):
    files, _ = written
    assert '"password": "$VITALS_READER_PASSWORD"' in json.dumps(files)
    assert '"reader"' not in json.dumps([one["secureJsonData"] for one in _sources(files) if "secureJsonData" in one])


def _sources(files):
    return files["provisioning/datasources/vitals.yaml"]["datasources"]


def exported():
    """Names of samples at /metrics of `vitals run`, those of its own process and of the flow's, and of its drainer."""
    for module in ("local.supervisor", "local.watch", "local.unaccounted", "questdb.drainer"):
        importlib.import_module(f"connectors.{module}")
    importlib.import_module("dataflows.vitals")
    names = set()
    for metric in REGISTRY.collect():
        names |= {metric.name + ending for ending in (["_total"] if metric.type == "counter" else [""])}
    return names


def test_every_metric_that_is_named_exists_with_its_labels(written):
    files, _ = written
    expressions = [rule.expr for rule in RULES]
    for board in dashboards(files):
        expressions += [target["expr"] for panel in board["panels"] for target in panel["targets"] if "expr" in target]
    named = {name for text in expressions for name in re.findall(r"\b(?:vitals|nats)_[a-z_]+\b", text)}
    assert len(named) >= 11
    assert named <= exported()
    results = {sample.labels["result"] for one in REGISTRY.collect() if one.name == "vitals_frames"
               for sample in one.samples if "result" in sample.labels}  # fmt: skip
    assert "rejected" in results


def test_rules_have_what_prometheus_asks_for(written):
    files, _ = written
    (group,) = files["prometheus/vitals.rules.yaml"]["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) == len(RULES)
    for rule in group["rules"]:
        assert re.fullmatch(r"\d+[smh]", rule["for"])
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["expr"].count("(") == rule["expr"].count(")")


UP = {"vitals_supervisor_flow_up": "1x60", "vitals_spill_waiting_messages": "0x60"}
"""What is there while all is well."""
FIRING = {
    "VitalsPipelineSilent": {"vitals_pipeline_silent": "1x60"},
    "VitalsFlowDown": {"vitals_supervisor_flow_up": "0x60"},
    "VitalsMetricsAbsent": {"vitals_supervisor_flow_up": None},
    "VitalsFlowRestarts": {"vitals_supervisor_restarts_total": "0+1x60"},
    "VitalsLag": {'nats_lag_seconds{partition="p0"}': "0x60", 'nats_lag_seconds{partition="p1"}': "11x60"},
    "VitalsUnaccounted": {"vitals_ledger_unaccounted": "1x60"},
    "VitalsRejects": {
        'vitals_frames_total{result="rejected"}': "0+2x60",
        'vitals_received_total{signal="ecg_ii"}': "0+60x60",
        'vitals_received_total{signal="numeric"}': "0+60x60",
    },
    "VitalsStorageAway": {"vitals_questdb_circuit_open": "1x60"},
    "VitalsStorageSlow": {'vitals_questdb_rows_total{result="spilled"}': "0+1x60"},
    "VitalsDrainerAbsent": {"vitals_spill_waiting_messages": None},
    "VitalsSpillWaits": {"vitals_spill_waiting_messages": "3x60"},
    "VitalsTableSuspended": {"vitals_questdb_suspended_tables": "1x60"},
}


def rule_test(series, firing):
    """A test in Prometheus's own form: what of the rules fires after three quarters of an hour."""
    present = {name: values for name, values in (UP | series).items() if values is not None}
    asked = [
        {
            "eval_time": "45m",
            "alertname": rule.name,
            "exp_alerts": [{"exp_labels": {"severity": rule.severity}, "exp_annotations": {"summary": rule.text}}]
            if rule.name == firing
            else [],
        }
        for rule in RULES
    ]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in present.items()],
        "alert_rule_test": asked,
    }


PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (`apt install prometheus`)")
def test_prometheus_fires_each_rule_by_what_it_is_for_and_by_nothing_else(tmp_path):
    provision(Settings(), tmp_path, "postgres", "http://127.0.0.1:9090")
    assert FIRING.keys() == {rule.name for rule in RULES}
    quiet = {
        "vitals_pipeline_silent": "0x60",
        "nats_lag_seconds": "9x60",
        "vitals_supervisor_restarts_total": "0x10 1x50",
        'vitals_frames_total{result="rejected"}': "0+1x60",
        "vitals_received_total": "0+101x60",
        "vitals_questdb_circuit_open": "0x60",
    }
    tests = [rule_test(series, rule) for rule, series in FIRING.items()]
    file = tmp_path / "tests.yaml"
    rules = {"rule_files": [str(tmp_path / "prometheus/vitals.rules.yaml")], "evaluation_interval": "1m"}
    file.write_text(json.dumps(rules | {"tests": [*tests, rule_test(quiet, None)]}))
    ran = subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
