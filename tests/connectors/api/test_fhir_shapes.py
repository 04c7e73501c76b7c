"""What the vital-signs profiles of FHIR R4 fix, and the shape of HL7's published examples.

Profiles: https://hl7.org/fhir/R4/observation-vitalsigns.html and the pages of each (heartrate, resprate, oxygensat,
bodytemp, bodyweight, bp). Examples: https://hl7.org/fhir/R4/observation-example-sample-data.json.html,
flag-example.json.html. Shapes are written down here as paths: what stands where, without what it says.
"""

import pytest
from fhir.resources.R4B import get_fhir_model_class

from connectors.fhir import resources

URL = "http://hl7.org/fhir/StructureDefinition/"
FIXED = {
    "hr": ("heartrate", "8867-4", "/min", {"/min"}),
    "resp_rate": ("resprate", "9279-1", "/min", {"/min"}),
    "spo2": ("oxygensat", "2708-6", "%", {"%"}),
    "temp": ("bodytemp", "8310-5", "Cel", {"Cel", "[degF]"}),
    "weight": ("bodyweight", "29463-7", "kg", {"kg", "g", "[lb_av]"}),
}
"""Of each code: its profile, the LOINC that it fixes, our unit, the units that it allows."""
ECG = {
    "category[].coding[].code",
    "category[].coding[].display",
    "category[].coding[].system",
    "code.coding[].code",
    "code.coding[].display",
    "code.coding[].system",
    "component[].valueSampledData.data",
    "component[].valueSampledData.dimensions",
    "component[].valueSampledData.factor",
    "component[].valueSampledData.origin.value",
    "component[].valueSampledData.period",
    "effectiveDateTime",
    "id",
    "resourceType",
    "status",
    "subject.reference",
}
"""What of the example `ekg` says what was measured, of whom and when; it has several leads, as components."""
FLAG = {
    "author.reference",
    "category[].coding[].code",
    "category[].coding[].display",
    "category[].coding[].system",
    "code.coding[].code",
    "code.coding[].system",
    "code.text",
    "id",
    "period.end",
    "period.start",
    "resourceType",
    "status",
    "subject.reference",
}


def row(code, value, unit, **more):
    base = {"ts_ns": 1_795_000_000_123_456_789, "device": "d_1", "boot": 1, "signal": "numeric", "seq": 7}
    return {**base, "code": code, "value": value, "unit": unit, "suspect": False, **more}


def valid(resource):
    get_fhir_model_class(resource["resourceType"]).model_validate(resource)
    return resource


def paths(part, at=""):
    """Where something stands: names joined by dots, `[]` for a list."""
    if isinstance(part, dict):
        return {path for name, below in part.items() for path in paths(below, f"{at}.{name}" if at else name)}
    if isinstance(part, list):
        return {path for below in part for path in paths(below, f"{at}[]")}
    return {at}


def vital_sign(resource):
    """What the profile of all vital signs wants of each."""
    assert resource["status"] == "final"
    assert [one["coding"][0]["code"] for one in resource["category"]] == ["vital-signs"]
    assert resource["code"]["coding"][0]["system"] == resources.LOINC
    assert all(coding["system"] for coding in resource["code"]["coding"])
    assert resource["subject"]["reference"].startswith("Patient/")
    assert len(resource["effectiveDateTime"]) >= len("2026-11-24")
    parts = resource.get("component", [resource])
    assert all(("valueQuantity" in one) != ("dataAbsentReason" in one) for one in parts)  # vs-2, vs-3
    for quantity in (one["valueQuantity"] for one in parts if "valueQuantity" in one):
        assert (quantity["system"], quantity["code"]) == (resources.UCUM, quantity["unit"])


@pytest.mark.parametrize("code", FIXED)
@pytest.mark.parametrize("value", [36.9, None, float("nan")])
def test_what_a_profile_fixes(code, value):
    profile, loinc, unit, allowed = FIXED[code]
    (resource,) = resources.observations([row(code, value, unit)], "p_1")
    vital_sign(valid(resource))
    assert resource["meta"]["profile"] == [f"{URL}vitalsigns", f"{URL}{profile}"]
    assert [one["code"] for one in resource["code"]["coding"]].count(loinc) == 1
    if value == 36.9:
        assert (resource["valueQuantity"]["value"], resource["valueQuantity"]["code"] in allowed) == (value, True)


def test_what_the_profile_of_blood_pressure_fixes():
    pressures = [row("sbp", 120.0, "mm[Hg]"), row("dbp", 80.0, "mm[Hg]"), row("map", 93.0, "mm[Hg]")]
    for rows in (pressures, pressures[:1], pressures[1:]):
        (panel,) = resources.observations(rows, "p_1")
        vital_sign(valid(panel))
        assert panel["meta"]["profile"] == [f"{URL}vitalsigns", f"{URL}bp"]
        assert "valueQuantity" not in panel
        codes = [one["code"]["coding"][0]["code"] for one in panel["component"]]
        assert codes[:2] == ["8480-6", "8462-4"]
        assert {one["valueQuantity"]["code"] for one in panel["component"] if "valueQuantity" in one} == {"mm[Hg]"}


@pytest.mark.parametrize("code", ["pulse_rate", "map"])
def test_a_vital_sign_without_a_profile_of_its_own(code):
    (resource,) = resources.observations([row(code, 70.0, "/min")], "p_1")
    vital_sign(valid(resource))
    assert resource["meta"]["profile"] == [f"{URL}vitalsigns"]


@pytest.mark.parametrize("code", ["glucose", "fio2", "battery"])
def test_what_is_no_vital_sign_claims_no_profile(code):
    (resource,) = resources.observations([row(code, 21.0, "%")], "p_1")
    assert "meta" not in valid(resource)


def test_a_wave_has_the_shape_of_the_published_example():
    wave = resources.sampled(row("", None, "", signal="ecg_ii", fs_hz=250.0, lsb=0.005, samples=[0.005, None]), "p_1")
    ours = paths(valid(wave))
    # One lead a resource: its samples stand where an Observation has its value.
    assert {path.removeprefix("component[].") for path in ECG} <= ours
    assert wave["valueSampledData"]["period"] == 4
    assert wave["code"]["coding"][0] == {
        "system": "urn:oid:2.16.840.1.113883.6.24",
        "code": "131328",
        "display": "MDC_ECG_ELEC_POTL",
    }


@pytest.mark.parametrize("state", ["active", "cleared"])
def test_an_alert_has_the_shape_of_the_published_example(state):
    alert = {"alert_id": "00000000-0000-0000-0000-000000000001", "transition": 3, "priority": "high", "state": state}
    alert |= {"rule": "asystole", "text": "No QRS", "patient": "p_1", "device": "d_1", "onset_ns": 10**18}
    flag = valid(resources.flag(alert | {"log_ns": 10**18 + 5}))
    assert FLAG - paths(flag) == (set() if state == "cleared" else {"period.end"})
    assert flag["status"] == {"active": "active", "cleared": "inactive"}[state]
