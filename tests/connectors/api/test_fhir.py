"""FHIR R4 against real servers: every resource is one by its class, and says what is stored."""

import json

import httpx
import pytest
from fhir.resources.R4B import get_fhir_model_class

from connectors.fhir import resources
from tests.connectors.api.served import TENANT

pytestmark = pytest.mark.services
NUMERICS, ECG = "uw_100006", "100"


def valid(resource):
    """The resource, after its class took it."""
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return resource


@pytest.fixture
def fhir(served):
    """Answers of the routes as resources that are valid; `expected` is the status."""
    with httpx.Client(timeout=20) as client:

        def get(path, expected=200, **params):
            answer = client.get(f"{served.url}/fhir/r4{path}", params={"tenant": TENANT, **params})
            assert answer.status_code == expected, answer.text
            assert answer.headers["cache-control"] == "no-store"
            return valid(answer.json())

        get.client, get.url = client, f"{served.url}/fhir/r4"
        yield get


def entries(bundle):
    return [entry["resource"] for entry in bundle.get("entry", [])]


def whole(fhir, path, **params):
    """Resources of every page, by following the links."""
    bundle, found = fhir(path, **params), []
    while True:
        found += entries(bundle)
        following = [link["url"] for link in bundle["link"] if link["relation"] == "next"]
        if not following:
            return found
        bundle = valid(fhir.client.get(following[0]).raise_for_status().json())


def test_every_reading_is_a_vital_sign_over_pages_and_as_lines(fhir, served, questdb, pipeline):
    found = whole(fhir, "/Observation", patient=f"Patient/{resources.device_id(NUMERICS)}", _count=25)
    stored = questdb.reader.query(
        "SELECT cast(ts AS long) ts, code, value FROM observations "
        f"WHERE patient = '{NUMERICS}' AND tenant = '{TENANT}'"
    )
    assert len({one["id"] for one in found}) == len(found) == stored.height > 50
    ours = {f"{resources.BASE}/code"}

    def told(one):
        (code,) = (coding["code"] for coding in one["code"]["coding"] if coding["system"] in ours)
        return int(one["id"].partition("-")[0]), code, one.get("valueQuantity", {}).get("value")

    assert sorted(map(told, found), key=repr) == sorted(stored.rows(), key=repr)
    assert {one["category"][0]["coding"][0]["code"] for one in found} == {"vital-signs"}
    spo2 = whole(fhir, "/Observation", patient=NUMERICS, code="http://loinc.org|59408-5")
    assert [one["id"] for one in spo2] == [one["id"] for one in found if told(one)[1] == "spo2"]
    assert spo2[0]["valueQuantity"]["code"] == "%"

    params = {"patient": NUMERICS, "_format": "ndjson", "_count": 25, "tenant": TENANT}
    lines = fhir.client.get(f"{fhir.url}/Observation", params=params).text.splitlines()
    assert [json.loads(line) for line in lines] == found
    assert fhir(f"/Observation/{found[3]['id']}") == found[3]


def test_a_frame_of_a_wave_is_sampled_data(fhir, questdb, pipeline):
    (first, *_) = whole(fhir, "/Observation", patient=ECG, code="ecg_mlii", _count=50)
    data = first["valueSampledData"]
    row = questdb.reader.query(
        f"SELECT samples, lsb FROM waveforms WHERE patient = '{ECG}' AND tenant = '{TENANT}' AND signal = 'ecg_mlii' "
        "ORDER BY ts LIMIT 1"
    ).row(0)
    values = [int(word) * data["factor"] + data["origin"]["value"] for word in data["data"].split()]
    assert values == pytest.approx(row[0], abs=1e-12)
    assert data["period"] == pytest.approx(1000 / 360)
    assert fhir(f"/Observation/{first['id']}") == first


def test_dates_bound_a_search(fhir, pipeline):
    everything = whole(fhir, "/Observation", patient=NUMERICS)
    first, second = everything[0]["effectiveDateTime"], everything[-1]["effectiveDateTime"]
    inside = whole(fhir, "/Observation", patient=NUMERICS, date=f"gt{first}")
    assert [one["id"] for one in inside] == [one["id"] for one in everything if one["effectiveDateTime"] > first]
    assert {one["effectiveDateTime"] for one in whole(fhir, "/Observation", patient=NUMERICS, date=second)} == {second}


def test_alerts_are_flags_devices_and_patients_are_there(fhir, questdb, pipeline):
    stored = questdb.reader.query(
        f"SELECT alert_id, patient, last(state) state FROM alerts WHERE tenant = '{TENANT}' GROUP BY alert_id, patient"
    )
    found = whole(fhir, "/Flag")
    assert {one["id"] for one in found} == set(stored["alert_id"]) != set()
    for one in found:
        assert (one["status"] == "inactive") == ("end" in one["period"])
    assert fhir(f"/Flag/{found[0]['id']}") == found[0]
    active = entries(fhir("/Flag", status="active"))
    assert {one["id"] for one in active} == {one["id"] for one in found if one["status"] == "active"}
    (device,) = entries(fhir("/Device", patient=ECG))
    assert device["identifier"][0]["value"] == "replay"
    # Every patient of the sample has one of this name.
    assert fhir("/Device/replay") == {name: value for name, value in device.items() if name != "patient"}
    assert fhir("/Device/pipeline")["identifier"][0]["value"] == "pipeline"
    assert fhir(f"/Patient/{resources.device_id(NUMERICS)}")["identifier"][0]["value"] == NUMERICS
    assert fhir("/metadata")["fhirVersion"] == "4.0.1"


@pytest.mark.parametrize("order", ["date", "-date"])
def test_an_alert_is_on_one_page_however_often_it_changed(fhir, questdb, pipeline, order):
    stored = questdb.reader.query(
        f"SELECT cast(alert_id AS string) id, max(ts) at, count() n FROM alerts WHERE tenant = '{TENANT}' GROUP BY id"
    )
    assert stored["n"].max() > 1
    found = whole(fhir, "/Flag", _count=1, _sort=order)
    assert sorted(one["id"] for one in found) == sorted(stored["id"])
    ordered = stored.sort("at", "id", descending=order == "-date")["id"].to_list()
    assert [one["id"] for one in found] == ordered
    for one in found:
        assert fhir(f"/Flag/{one['id']}") == one
    patient = found[0]["subject"]["reference"]
    own = whole(fhir, "/Flag", patient=patient, _count=2, _sort=order)
    assert own == [one for one in found if one["subject"]["reference"] == patient]


@pytest.mark.parametrize(
    ("path", "status", "params"),
    [
        ("/Observation", 400, {}),
        ("/Observation", 400, {"patient": ECG, "code": "http://snomed.info/sct|1"}),
        ("/Observation", 400, {"patient": ECG, "date": "ap2026-01-01"}),
        ("/Observation", 422, {"patient": ECG, "date": "ge2026-01-01T00:00"}),
        ("/Observation", 400, {"patient": ECG, "_count": "0"}),
        ("/Observation", 400, {"patient": ECG, "date": "lt1969-01-01"}),
        ("/Observation/17-00", 404, {}),
        ("/Observation/x", 404, {}),
        ("/Flag/00000000-0000-0000-0000-000000000000", 404, {}),
        ("/Patient/nobody", 404, {}),
        ("/Device/nothing", 404, {}),
    ],
)
def test_a_refusal_is_an_outcome_that_says_why(fhir, path, status, params):
    outcome = fhir(path, status, **params)
    assert outcome["resourceType"] == "OperationOutcome"
    assert outcome["issue"][0]["diagnostics"]
