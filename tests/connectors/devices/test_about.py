"""FHIR resources become the argument of `context`, without anything that names a person."""

from datetime import date

import pytest

from connectors.devices.about import ContextError, context_of

TODAY = date(2026, 11, 24)
PATIENT = {"resourceType": "Patient", "name": [{"family": "Doe"}], "birthDate": "1950-12-01"}
USE = {"resourceType": "DeviceUseStatement", "bodySite": {"coding": [{"display": "Left index finger"}]}}
STAY = {"resourceType": "Encounter", "location": [{"location": {"display": "Ward 4b"}}]}
OXYGEN = {
    "resourceType": "Observation",
    "code": {"coding": [{"system": "http://loinc.org", "code": "3151-8"}]},
    "valueQuantity": {"value": 2, "code": "L/min"},
}


def test_a_bundle_says_all_of_it_and_names_nobody():
    bundle = {"resourceType": "Bundle", "entry": [{"resource": one} for one in (PATIENT, USE, STAY, OXYGEN)]}
    assert context_of(bundle, "oxi-1", TODAY) == {
        "age_band": "older",
        "placement": {"oxi-1": "Left index finger"},
        "ward": "Ward 4b",
        "oxygen": "supplemental",
    }


@pytest.mark.parametrize(
    ("birth", "band"),
    [
        ("2010-11-25", "child"),
        ("2010-11-24", "adult"),
        ("1961-11-25", "adult"),
        ("1961-11-24", "older"),
        ("1961", "older"),
        ("2020-02", "child"),
    ],
)
def test_age_bands_change_on_birthdays(birth, band):
    assert context_of(PATIENT | {"birthDate": birth}, "d", TODAY) == {"age_band": band}


@pytest.mark.parametrize(
    "wrong",
    [
        PATIENT | {"birthDate": "yesterday"},
        {"resourceType": "Patient"},
        {"resourceType": "Bundle", "entry": "x"},
        {"resourceType": "Device", "location": "here"},
        {},
    ],
)
def test_what_says_nothing_is_refused(wrong):
    with pytest.raises(ContextError):
        context_of(wrong, "d", TODAY)
