"""Every route against real servers: what it answers fits its description and what is stored."""

import io
import re
import zipfile

import httpx
import jsonschema_rs
import numpy as np
import polars as pl
import pytest
import wfdb

from connectors.api.openapi import document
from connectors.api.server import api_routes
from connectors.devices.samples import ALL
from tests.connectors.api.served import TENANT
from tests.waiting import until

pytestmark = pytest.mark.services
ECG = ("100", "ecg_mlii")
NUMERICS = "uw_100006"


def checked(path, response, status="200"):
    """The answer's JSON, checked against the description of the route."""
    assert response.status_code == int(status), response.text
    description = document()
    item = description["paths"][f"/api/v1{path}"]
    (method,) = (name for name in item if name in {"get", "post"})
    content = item[method]["responses"][status]["content"]["application/json"]
    schema = {**content["schema"], "components": description["components"]}
    jsonschema_rs.validate(schema, response.json())
    return response.json()


def pages(client, path, name, **params):
    """All rows over all pages, and how many pages there were."""
    rows, cursor, count = [], None, 0
    while True:
        asked = params | ({"cursor": cursor} if cursor else {})
        answer = client.get(path, params=client.params.merge(asked)).raise_for_status().json()
        rows += answer[name]
        cursor, count = answer["next"], count + 1
        if cursor is None:
            return rows, count


@pytest.fixture
def client(served):
    with served.client() as client:
        yield client


@pytest.fixture(scope="session")
def stored(questdb, pipeline):
    """Reads rows past the API."""
    return questdb.reader.query


@pytest.fixture(scope="session")
def all_time(stored):
    """From the first to after the last row of the tenant."""
    span = stored(
        f"SELECT cast(min(ts) as long) a, cast(max(ts) as long) b FROM (SELECT ts FROM waveforms WHERE tenant = "
        f"'{TENANT}' UNION ALL SELECT ts FROM observations WHERE tenant = '{TENANT}')"
    ).to_dicts()[0]
    return {"from": span["a"], "to": span["b"] + 2 * 10**9}


def test_the_description_names_exactly_the_routes():
    routes = {route.path for route in api_routes()} - {"/openapi.json", "/live"}
    assert {f"/api/v1{path}" for path in routes} == set(document()["paths"])


def test_the_description_is_served(client):
    assert client.get("/openapi.json").json() == document()


def test_patients_have_their_newest_values(client, stored):
    found = checked("/patients", client.get("/patients"))["patients"]
    assert {one["patient"] for one in found} == {path.stem for path in ALL}
    (numerics,) = (one for one in found if one["patient"] == NUMERICS)
    newest = stored(
        f"SELECT code, value FROM observations WHERE tenant = '{TENANT}' AND NOT suspect LATEST ON ts PARTITION BY code"
    )
    assert {code: value["value"] for code, value in numerics["values"].items()} == dict(newest.iter_rows())
    (ecg,) = (one for one in found if one["patient"] == ECG[0])
    assert ECG[1] in {wave["signal"] for wave in ecg["waves"]}


def test_latest_of_a_patient(client):
    answer = checked("/patients/{patient}/latest", client.get(f"/patients/{NUMERICS}/latest"))
    assert answer["patient"] == NUMERICS
    assert answer["values"]["spo2"]["unit"] == "%"
    assert client.get("/patients/nobody/latest").status_code == 404


@pytest.mark.parametrize("limit", [7, 100, 10_000])
def test_observations_are_paged_without_loss(client, stored, all_time, limit):
    path = f"/patients/{NUMERICS}/observations"
    rows, count = pages(client, path, "observations", limit=limit, **all_time)
    checked("/patients/{patient}/observations", client.get(path, params=client.params.merge(all_time)))
    expected = stored(
        f"SELECT cast(ts as long) t, code, value FROM observations WHERE tenant = '{TENANT}' ORDER BY ts, code"
    )
    assert sorted((row["ts_ns"], row["code"], row["value"]) for row in rows) == sorted(expected.iter_rows())
    assert count == len(rows) // limit + 1


@pytest.mark.parametrize("every", ["10s", "1m", "5m", "1h"])
def test_observations_roll_up(every, client, stored, all_time):
    path = f"/patients/{NUMERICS}/observations"
    total = stored(f"SELECT count() n, sum(value) s FROM observations WHERE tenant = '{TENANT}' AND code = 'spo2'")

    def rolled():  # the materialised views follow their base
        return pages(client, path, "observations", every=every, code="spo2", **all_time)[0]

    until(lambda: sum(row["n"] for row in rolled()) == total["n"][0])
    rows = rolled()
    assert sum(row["n"] for row in rows) == total["n"][0]
    assert sum(row["n"] * row["mean"] for row in rows) == pytest.approx(total["s"][0])
    assert all(row["low"] <= row["mean"] <= row["high"] for row in rows)


def test_beats_and_their_rate(client, stored, all_time):
    path = f"/patients/{ECG[0]}/beats"
    rows, _ = pages(client, path, "beats", signal=ECG[1], **all_time)
    checked("/patients/{patient}/beats", client.get(path, params=client.params.merge(all_time)))
    where = f"tenant = '{TENANT}' AND patient = '{ECG[0]}' AND signal = '{ECG[1]}'"
    expected = stored(f"SELECT sample_index n FROM beats WHERE {where} ORDER BY ts")["n"].to_list()
    assert [row["sample_index"] for row in rows] == expected
    rates, _ = pages(client, path, "beats", every="1m", signal=ECG[1], **all_time)
    assert all(60 < row["mean"] < 90 for row in rates)


def test_waveforms_are_the_recorded_samples(client, all_time):
    path = f"/patients/{ECG[0]}/waveforms/{ECG[1]}"
    frames, _ = pages(client, path, "frames", limit=13, **all_time)
    checked("/patients/{patient}/waveforms/{signal}", client.get(path, params=client.params.merge(all_time)))
    record = wfdb.rdrecord(str(next(path for path in ALL if path.stem == ECG[0])), physical=False)
    recorded = (record.d_signal[:, 0] - record.baseline[0]) / record.adc_gain[0]
    got = np.concatenate([np.asarray(frame["samples"], float) for frame in frames])
    np.testing.assert_allclose(got, recorded[: got.size], atol=1e-9)
    assert got.size == 60 * 360
    arrow = client.get(path, params=client.params.merge(all_time | {"format": "arrow"}))
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    table = pl.read_ipc_stream(io.BytesIO(arrow.content))
    assert table["ts_ns"].to_list() == [frame["ts_ns"] for frame in frames]
    np.testing.assert_array_equal(np.concatenate(table["samples"].to_list()), got)


def test_scores(client, all_time):
    answer = client.get(f"/patients/{NUMERICS}/scores", params=client.params.merge(all_time))
    checked("/patients/{patient}/scores", answer)


def test_commands_and_limits(client):
    checked("/patients/{patient}/commands", client.get(f"/patients/{NUMERICS}/commands"))
    limits = checked("/patients/{patient}/limits", client.get(f"/patients/{NUMERICS}/limits"))["limits"]
    assert limits  # of the profile, at least


def test_alerts_and_their_history(client, pipeline, stored):
    published = [body.partition(b" ")[2] for _, body in pipeline.messages("ALERTS")]
    until(lambda: checked("/alerts", client.get("/alerts", params=client.params.merge({"state": "standing"}))))
    rows, _ = pages(client, "/alerts", "alerts", limit=3, **{"from": 0})
    assert len(rows) == len(published) > 3
    assert {row["rule"] for row in rows} >= {"asystole"}
    one = rows[0]
    history = checked("/alerts/{alert_id}", client.get(f"/alerts/{one['alert_id']}"))
    assert [step["transition"] for step in history["transitions"]] == list(range(len(history["transitions"])))
    assert client.get("/alerts/not-an-id").status_code == 422
    assert client.get("/alerts/00000000-0000-0000-0000-000000000000").status_code == 404


def test_standing_alerts_are_those_whose_last_transition_is_not_cleared(client, pipeline):
    rows, _ = pages(client, "/alerts", "alerts", **{"from": 0})
    last = {row["alert_id"]: row["state"] for row in sorted(rows, key=lambda row: row["transition"])}
    expected = {name for name, state in last.items() if state != "cleared"}

    def standing():
        answer = client.get("/alerts", params=client.params.merge({"state": "standing"})).json()
        return {one["alert_id"] for one in answer["alerts"]}

    until(lambda: standing() == expected)
    assert expected


def test_me_and_status(client, pipeline):
    assert checked("/me", client.get("/me")) == {
        "name": "local",
        "role": "admin",
        "tenant": "main",
        "keys_needed": False,
    }
    until(lambda: client.get("/status").json()["nats"]["connected_ns"])
    answer = checked("/status", client.get("/status"))
    vitals = answer["streams"][0]
    assert vitals["stream"] == "VITALS"
    assert vitals["last_seq"] == pipeline.publisher().stream_state("VITALS")[2]
    assert answer["database"] == {"ok": True, "error": ""}
    assert all(not table["suspended"] for table in answer["tables"])


def test_a_command_is_stored_once(client, pipeline):
    path = f"/patients/{ECG[0]}/commands/ack"
    body = {"idempotency_key": "k-1", "argument": {"rule": "asystole"}}
    until(lambda: client.get("/status").json()["nats"]["connected_ns"])
    first = checked("/patients/{patient}/commands/{name}", client.post(path, json=body), "202")
    again = checked("/patients/{patient}/commands/{name}", client.post(path, json=body), "202")
    assert (first["duplicate"], again["duplicate"]) == (False, True)
    assert again["log_seq"] == first["log_seq"] == pipeline.publisher().stream_state("VITALS")[2]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/patients/a b/latest", "patient"),
        ("/patients/100/observations?every=7m", "every"),
        ("/patients/100/observations?limit=0", "limit"),
        ("/patients/100/observations?limit=10001", "limit"),
        ("/patients/100/observations?from=2026-11-24T10:00:00", "zone"),
        ("/patients/100/observations?from=yesterday", "from"),
        ("/patients/100/observations?from=20&to=10", "before"),
        ("/patients/100/observations?cursor=1';--", "cursor"),
        ("/patients/100/observations?code=hr'--", "code"),
        ("/patients/100/waveforms/ecg_ii?format=xml", "format"),
    ],
)
def test_what_is_wrong_is_named(served, path, says):
    response = httpx.get(f"{served.url}/api/v1{path}", timeout=60)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert re.search(says, response.json()["detail"])


def test_wrong_commands_are_refused(client):
    good = {"idempotency_key": "k"}
    assert client.post("/patients/100/commands/explode", json=good).status_code == 404
    assert client.post("/patients/100/commands/ack", json={}).status_code == 422
    assert client.post("/patients/100/commands/ack", json={"idempotency_key": ""}).status_code == 422
    assert client.post("/patients/100/commands/ack", json=good | {"more": 1}).status_code == 422
    assert client.post("/patients/100/commands/ack", data={"idempotency_key": "1"}).status_code == 415
    assert (
        client.post(
            "/patients/100/commands/note", content=b"x" * 70_000, headers={"content-type": "application/json"}
        ).status_code
        == 413
    )
    assert client.get("/nothing").status_code == 404
    other = {"Origin": "http://elsewhere.example"}
    assert client.post("/patients/100/commands/ack", json=good, headers=other).status_code == 403


def test_without_keys_only_loopback_is_served(client):
    assert client.get("/me", headers={"Host": "rebound.example"}).status_code == 403


def test_a_wave_as_wfdb_holds_the_counts_of_the_recording(client, pipeline, tmp_path):
    patient, signal = ECG
    params = client.params.merge({"format": "wfdb", "from": 0, "limit": 3600})
    answer = client.get(f"/patients/{patient}/waveforms/{signal}", params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        packed.extractall(tmp_path)
    (header,) = tmp_path.glob("*.hea")
    record = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
    original = wfdb.rdrecord(str(ALL[0]), physical=False)
    seconds = len(record.d_signal) // original.fs
    assert seconds >= 59
    expected = original.d_signal[:, 0] - original.baseline[0]
    np.testing.assert_array_equal(record.d_signal[:, 0], expected[: len(record.d_signal)])
    nothing = client.get("/patients/nobody/waveforms/ecg_ii", params=params)
    assert nothing.status_code == 404


def test_the_burden_is_that_of_the_stored_alerts(client, stored):
    found = checked("/burden", client.get("/burden"))
    alerts = stored(f"SELECT patient, rule, event, notify FROM alerts WHERE tenant = '{TENANT}'")
    raised = alerts.filter(pl.col("event") == "raised")
    assert found["alerts"] == raised.height > 0
    assert found["pages"] == alerts["notify"].sum()
    assert {row["rule"]: row["alerts"] for row in found["by_rule"]} == dict(raised["rule"].value_counts().iter_rows())
    suppressed = stored(f"SELECT reason FROM suppressed WHERE tenant = '{TENANT}'")
    assert sum(found["suppressed"].values()) == suppressed.height
