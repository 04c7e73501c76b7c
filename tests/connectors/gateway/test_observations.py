"""POST /v1/observations and /v1/questionnaires: simple JSON and FHIR become frames that the flow takes."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dataflows.contracts import vitals_pb2 as pb

pytestmark = pytest.mark.services
NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=30)
TIME = NOW.isoformat()


def post(client, path, body, kind="application/json"):
    return client.post(path, content=json.dumps(body).encode(), headers={"Content-Type": kind})


def simple(code="spo2", value=97, unit="%", time=TIME, **more):
    return {"code": code, "value": value, "unit": unit, "time": time, **more}


def observation(code="59408-5", value=97, unit="%", time=TIME, **more):
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "effectiveDateTime": time,
        "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
        **more,
    }


def readings(log, patient):
    frames = [pb.Frame.FromString(payload) for _, payload, _ in log(patient)]
    return [
        (frame.device_ns, [(pb.Code.Name(i.code), i.value, pb.Unit.Name(i.unit)) for i in frame.observations.items])
        for frame in frames
    ]


def test_readings_of_one_moment_are_one_frame(sender, log):
    later = (NOW + timedelta(seconds=10)).isoformat()
    body = {"observations": [simple(), simple("hr", 70, "/min"), simple("temp", 98.6, "[degF]", later)]}
    answer = post(sender("ob-simple"), "/observations", body)
    assert (answer.status_code, answer.json()["stored"]) == (202, 2)
    ns = int(NOW.timestamp()) * 10**9
    assert readings(log, "ob-simple") == [
        (ns, [("CODE_HR", 70.0, "UNIT_PER_MIN"), ("CODE_SPO2", 97.0, "UNIT_PERCENT")]),
        (ns + 10 * 10**9, [("CODE_TEMP", 98.6, "UNIT_DEGF")]),
    ]


def test_the_same_readings_in_any_order_are_the_same_frame(sender, log):
    client = sender("ob-same")
    parts = [simple(), simple("hr", 70, "/min")]
    assert post(client, "/observations", {"observations": parts}).json()["duplicates"] == 0
    assert post(client, "/observations", {"observations": parts[::-1]}).json()["duplicates"] == 1
    assert len(log("ob-same")) == 1


def test_fhir_and_simple_json_say_the_same(sender, log):
    client = sender("ob-fhir")
    assert post(client, "/observations", {"observations": [simple()]}).status_code == 202
    assert post(client, "/observations", observation(), "application/fhir+json").json()["duplicates"] == 1


def test_a_bundle_and_a_blood_pressure_panel(sender, log):
    panel = observation("85354-9")
    del panel["valueQuantity"]
    panel["component"] = [
        {
            "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "valueQuantity": {"value": value, "code": "mm[Hg]"},
        }
        for code, value in (("8480-6", 120), ("8462-4", 80))
    ]
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"resource": panel}, {"resource": observation()}]}
    assert post(sender("ob-bundle"), "/observations", bundle, "application/fhir+json").status_code == 202
    ((_, found),) = readings(log, "ob-bundle")
    assert [(code, value) for code, value, _ in found] == [("CODE_SPO2", 97.0), ("CODE_SBP", 120.0), ("CODE_DBP", 80.0)]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"observations": [simple(), simple(code="pulse-ox")]}, "code"),
        ({"observations": [simple(unit="percent")]}, "unit"),
        ({"observations": [simple(time="2026-11-24T12:00:00")]}, "time"),
        ({"observations": [simple(time="yesterday")]}, "$.observations[0].time"),
        ({"observations": [simple(value="97")]}, "$.observations[0].value"),
        ({"observations": [simple(more=1)]}, "$.observations[0]"),
        ({"observation": []}, ""),
        (observation(status="entered-in-error"), "status"),
        (observation("0-0"), "code.coding"),
        (observation(unit="mmHg"), "valueQuantity.code"),
        (observation(value="97"), "valueQuantity.value"),
        (observation(value=True), "valueQuantity.value"),
        (observation(time="2026"), "effectiveDateTime"),
        (observation(subject={"reference": "Patient/somebody-else"}), "subject.reference"),
        (observation(valueQuantity={"value": 90, "code": "%", "comparator": "<"}), "valueQuantity.comparator"),
        ({"resourceType": "Bundle", "entry": [{"resource": observation()}, {}]}, "resource"),
        ({"resourceType": "Patient"}, "resourceType"),
    ],
)
def test_what_is_wrong_is_named(sender, log, body, field):
    answer = post(sender("ob-wrong"), "/observations", body)
    assert answer.status_code == 422
    assert field in [error.get("field", "") for error in answer.json()["errors"]]
    assert log("ob-wrong") == []


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (simple(value=140), "impossible_value"),
        (simple("temp", 25, "%"), "unit_suspect"),
        (simple(time=(NOW + timedelta(days=2)).isoformat()), "time_ahead"),
        (simple(time="1999-01-01T00:00:00Z"), "time_implausible"),
    ],
)
def test_the_flows_own_validator_decides(sender, log, one, reason):
    answer = post(sender("ob-checked"), "/observations", {"observations": [one]})
    assert (answer.status_code, answer.json()["errors"][0]["reason"]) == (422, reason)
    assert log("ob-checked") == []


def response(**more):
    return {
        "resourceType": "QuestionnaireResponse",
        "status": "completed",
        "questionnaire": "https://example.org/fhir/Questionnaire/phq-9|1.0",
        "authored": TIME,
        "item": [
            {"linkId": "1", "answer": [{"valueInteger": 2}]},
            {"linkId": "group", "item": [{"linkId": "2", "answer": [{"valueCoding": {"code": "3"}}]}]},
            {"linkId": "9", "answer": [{"valueBoolean": True}]},
        ],
        **more,
    }


def test_a_questionnaire_response_is_a_frame(sender, log):
    client = sender("qr")
    assert post(client, "/questionnaires", response(), "application/fhir+json").status_code == 202
    assert post(client, "/questionnaires", response(), "application/fhir+json").json()["duplicates"] == 1
    ((subject, payload, _),) = log("qr")
    frame = pb.Frame.FromString(payload)
    assert subject.endswith(".qr.d.questionnaire")
    assert (frame.questionnaire.instrument, frame.questionnaire.instrument_version) == ("phq_9", "1.0")
    assert [(a.item, a.value) for a in frame.questionnaire.answers] == [("1", 2.0), ("2", 3.0), ("9", 1.0)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "in-progress"},
        {"authored": "today"},
        {"questionnaire": 7},
        {"item": [{"answer": []}]},
        {"item": [{"linkId": "1", "answer": [{"valueString": "often"}]}]},
        {"item": "none"},
        {"subject": {"reference": "Patient/other"}},
    ],
)
def test_a_questionnaire_that_cannot_be_taken_is_named(sender, wrong):
    answer = post(sender("qr-wrong"), "/questionnaires", response(**wrong))
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"]
