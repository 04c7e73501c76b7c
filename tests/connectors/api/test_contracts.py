"""Every route has a contract: what it answers, to whom, and what it refuses. A route without one fails here."""

import io
import json

import httpx
import jsonschema_rs
import polars as pl
import pytest
import websockets.sync.client
from fhir.resources.R4B import get_fhir_model_class

from connectors.api.openapi import document
from connectors.api.server import api_routes
from connectors.fhir import resources
from connectors.fhir.routes import PREFIX as FHIR
from connectors.fhir.routes import fhir_routes
from connectors.identity.registry import digest
from tests.connectors.api.served import TENANT, Served
from tests.waiting import until

pytestmark = pytest.mark.services
API = "/api/v1"
PATIENT, SIGNAL = "100", "ecg_mlii"
SPAN = {"from": 0, "limit": 5}
NOTE = {"idempotency_key": "contract-1", "argument": {"text": "seen"}}
OPEN_TO_ALL = {f"{API}/openapi.json", f"{API}/session", f"{FHIR}/metadata"}
"""Say nothing of patients, or are the way in."""

CONTRACTS = {
    ("GET", f"{API}/openapi.json"): {},
    ("GET", f"{API}/me"): {},
    ("POST", f"{API}/session"): {"json": {"key": "viewer"}},
    ("GET", f"{API}/patients"): {},
    ("GET", f"{API}/patients/{{patient}}/latest"): {"wrong": {"patient": "a b"}},
    ("GET", f"{API}/patients/{{patient}}/observations"): {"params": SPAN, "wrong": {"every": "7m"}},
    ("GET", f"{API}/patients/{{patient}}/beats"): {"params": SPAN, "wrong": {"limit": "0"}},
    ("GET", f"{API}/patients/{{patient}}/scores"): {"params": SPAN, "wrong": {"from": "yesterday"}},
    ("GET", f"{API}/patients/{{patient}}/waveforms/{{signal}}"): {"params": SPAN, "wrong": {"format": "xml"}},
    ("GET", f"{API}/patients/{{patient}}/commands"): {"params": SPAN, "wrong": {"to": "2026-11-24T10:00:00"}},
    ("GET", f"{API}/patients/{{patient}}/limits"): {"wrong": {"patient": "a.b"}},
    ("POST", f"{API}/patients/{{patient}}/commands/{{name}}"): {"json": NOTE, "status": 202, "least": "clinician"},
    ("GET", f"{API}/rules"): {"params": {"profile": "copd"}, "wrong": {"profile": "nobody"}},
    ("GET", f"{API}/alerts"): {"params": SPAN, "wrong": {"rule": "a b"}},
    ("GET", f"{API}/alerts/stream"): {"params": {"after": 0}, "wrong": {"after": "x"}},
    ("GET", f"{API}/alerts/{{alert_id}}"): {"wrong": {"alert_id": "not-an-id"}},
    ("GET", f"{API}/burden"): {"params": {"from": 0}, "wrong": {"from": "5", "to": "4"}},
    ("GET", f"{API}/status"): {},
    ("WEBSOCKET", f"{API}/live"): {},
    ("GET", f"{FHIR}/metadata"): {},
    ("GET", f"{FHIR}/Observation"): {"params": {"patient": "uw.100006"}, "wrong": {"_count": "0"}},
    ("GET", f"{FHIR}/Observation/{{id}}"): {"wrong": {"id": "17-00"}},
    ("GET", f"{FHIR}/Flag"): {"wrong": {"date": "xx2026-01-01"}},
    ("GET", f"{FHIR}/Flag/{{id}}"): {"wrong": {"id": "00000000-0000-0000-0000-000000000000"}},
    ("GET", f"{FHIR}/Device"): {"params": {"patient": PATIENT}, "wrong": {"patient": "a b"}},
    ("GET", f"{FHIR}/Device/{{id}}"): {"wrong": {"id": "nothing"}},
    ("GET", f"{FHIR}/Patient/{{id}}"): {"wrong": {"id": "nobody"}},
}
READS = sorted(key for key in CONTRACTS if key[0] == "GET")
CLOSED = sorted(key for key in CONTRACTS if key[1] not in OPEN_TO_ALL and key[0] != "WEBSOCKET")


def routes():
    """Every method and path that the server serves."""
    for prefix, served in ((API, api_routes()), (FHIR, fhir_routes())):
        for route in served:
            for method in getattr(route, "methods", None) or {"WEBSOCKET"}:
                if method != "HEAD":
                    yield method, f"{prefix}{route.path}"


def test_every_route_has_a_contract_and_every_contract_a_route():
    assert sorted(routes()) == sorted(CONTRACTS)


@pytest.fixture(scope="module")
def known(served):
    """Names that stand in paths: a patient, one of its readings, an alert."""
    with served.client() as client:
        alerts = client.get("/alerts", params=client.params.merge(SPAN)).json()["alerts"]
    bundle = httpx.get(
        f"{served.url}{FHIR}/Observation", params={"tenant": TENANT, "patient": "uw.100006"}, timeout=60
    ).json()
    ids = {
        f"{FHIR}/Observation/{{id}}": bundle["entry"][0]["resource"]["id"],
        f"{FHIR}/Flag/{{id}}": alerts[0]["alert_id"],
        f"{FHIR}/Device/{{id}}": "replay",
        f"{FHIR}/Patient/{{id}}": PATIENT,
    }
    return {"patient": PATIENT, "signal": SIGNAL, "name": "note", "alert_id": alerts[0]["alert_id"], "ids": ids}


@pytest.fixture(scope="module")
def keyed(pipeline, tmp_path_factory):
    """The same server with keys: of this organisation, and of another."""
    file = tmp_path_factory.mktemp("contracts") / "keys.toml"
    holders = [("viewer", "viewer", TENANT), ("clinician", "clinician", TENANT), ("stranger", "admin", "other")]
    lines = [
        f'[[key]]\nname = "{name}"\nrole = "{role}"\ntenant = "{tenant}"\nsha256 = "{digest(name)}"\n'
        for name, role, tenant in holders
    ]
    file.write_text("".join(lines))
    server = Served(pipeline.settings, keys=file).start()
    until(lambda: ask(server, "GET", f"{API}/status", {}, {}, key="viewer").json()["nats"]["connected_ns"])
    yield server
    server.stop()


def address(path, known, wrong=None):
    """The path with its names filled in."""
    names = {**known, "id": known.get("ids", {}).get(path), **(wrong or {})}
    return path.format(**{name: value for name, value in names.items() if value is not None})


def ask(server, method, path, known, contract, *, key=None, wrong=None, **more):
    """The request of a contract; a stream is read until it has said something."""
    params = {"tenant": TENANT, **contract.get("params", {}), **(wrong or {}), **more}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{server.url}{address(path, known, wrong)}"
    body = {"json": contract["json"]} if "json" in contract else {}
    with httpx.stream(method, url, params=params, headers=headers, timeout=20, **body) as answer:
        if answer.headers["content-type"].startswith("text/event-stream"):
            lines = answer.iter_lines()
            answer.said = [
                next(line for line in lines if line.startswith(start)) for start in ("id:", "event:", "data:")
            ]
        else:
            answer.read()
        return answer


def schema_of(method, path, status):
    """What the description promises of a route's JSON."""
    described = document()
    content = described["paths"][path][method.lower()]["responses"][str(status)]["content"]["application/json"]
    return {**content["schema"], "components": described["components"]}


@pytest.mark.parametrize(("method", "path"), sorted(key for key in CONTRACTS if key[0] != "WEBSOCKET"))
def test_what_is_promised_is_answered(served, known, method, path):
    contract = CONTRACTS[method, path]
    answer = ask(served, method, path, known, contract)
    assert answer.status_code == contract.get("status", 200), answer.text
    if path.endswith("/stream"):
        told = json.loads(answer.said[2].removeprefix("data: "))
        assert (answer.said[1], told["tenant"]) == ("event: alert", TENANT)
    elif path.startswith(FHIR):
        get_fhir_model_class(answer.json()["resourceType"]).model_validate(answer.json())
    elif path.endswith("openapi.json"):
        assert answer.json() == document()
    else:
        jsonschema_rs.validate(schema_of(method, path, contract.get("status", 200)), answer.json())
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("method", "path"), CLOSED)
def test_nobody_without_a_key_and_nobody_of_another_organisation(keyed, known, method, path):
    contract = CONTRACTS[method, path]
    for key in (None, "made-up"):
        answer = ask(keyed, method, path, known, contract, key=key)
        assert answer.status_code == 401, (path, answer.text)
    if path.endswith("/me"):
        return  # speaks of the key alone
    assert ask(keyed, method, path, known, contract, key="stranger").status_code == 403
    role = contract.get("least", "viewer")
    assert ask(keyed, method, path, known, contract, key=role).status_code == contract.get("status", 200)
    if role != "viewer":
        assert ask(keyed, method, path, known, contract, key="viewer").status_code == 403


@pytest.mark.parametrize(("method", "path"), [key for key in READS if "wrong" in CONTRACTS[key]])
def test_what_is_wrong_is_refused_in_words(served, known, method, path):
    contract = CONTRACTS[method, path]
    answer = ask(served, method, path, known, contract, wrong=contract["wrong"])
    assert answer.status_code in {400, 404, 422}
    told = answer.json()
    words = told["issue"][0]["diagnostics"] if path.startswith(FHIR) else told["detail"]
    assert len(words) > 10
    kind = "application/fhir+json" if path.startswith(FHIR) else "application/problem+json"
    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize(("method", "path"), READS)
def test_another_method_is_refused(served, known, method, path):
    url = f"{served.url}{address(path, known)}"
    assert httpx.request("DELETE", url, params={"tenant": TENANT}).status_code == 405


def test_the_live_socket_greets_with_what_is_known(served):
    with websockets.sync.client.connect(f"{served.live_url}?tenant={TENANT}") as socket:
        hello = json.loads(socket.recv())
    assert (hello["type"], hello["tenant"], hello["role"]) == ("hello", TENANT, "admin")
    assert set(hello["upstream"]) == {"connected_ns", "last_ns", "flow"}


def test_other_forms_of_an_answer_are_what_they_say(served, known):
    path = f"{API}/patients/{{patient}}/waveforms/{{signal}}"
    arrow = ask(served, "GET", path, known, {"params": SPAN}, format="arrow")
    assert pl.read_ipc_stream(io.BytesIO(arrow.content)).height == 5
    wfdb = ask(served, "GET", path, known, {"params": SPAN}, format="wfdb")
    assert wfdb.headers["content-type"] == "application/zip"
    lines = ask(served, "GET", f"{FHIR}/Observation", known, {"params": {"patient": "uw.100006"}}, _format="ndjson")
    first = json.loads(lines.text.splitlines()[0])
    assert (first["resourceType"], resources.patient_id_of(first["subject"]["reference"])) == (
        "Observation",
        "uw_100006",
    )
