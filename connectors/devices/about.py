"""FHIR R4 resources of a patient and its device as the argument of the command `context`.

Read are Patient (`birthDate`), Device (`location.display`), DeviceUseStatement (`bodySite`), Encounter
(`location[].location.display`) and Observation of inhaled oxygen flow (LOINC 3151-8), alone or in a Bundle. Nothing
that names a person is taken: no name, no date of birth, only the age band that it gives.
"""

from datetime import date
from typing import Any

_O2_FLOW = "3151-8"


class ContextError(ValueError):
    """A resource cannot be read; says which and why."""


def context_of(resource: dict[str, Any], device: str, today: date) -> dict[str, Any]:
    """Returns the argument of `context`.

    Args:
        resource: A resource, or a Bundle of them.
        device: Name of the device that is enrolled; its body site is the placement.
        today: For the age.

    Raises:
        ContextError: Nothing of it says anything that is kept, or a date is none.
    """
    found: dict[str, Any] = {}
    for one in _resources(resource):
        match one.get("resourceType"):
            case "Patient" if one.get("birthDate"):
                found["age_band"] = age_band(str(one["birthDate"]), today)
            case "Device":
                found |= _ward(one.get("location"))
            case "Encounter":
                for place in _list(one.get("location")):
                    found |= _ward(place.get("location"))
            case "DeviceUseStatement":
                if site := _text(one.get("bodySite")):
                    found["placement"] = {device: site}
            case "Observation":
                found |= _oxygen(one)
    if not found:
        message = "nothing to keep: Patient.birthDate, Device.location, Encounter.location, DeviceUseStatement.bodySite"
        raise ContextError(message)
    return found


def age_band(birth: str, today: date) -> str:
    """Returns the band of a FHIR date, which may be a year or a month alone: the oldest that it can mean.

    Raises:
        ContextError: It is no date.
    """
    parts = birth.split("-")
    try:
        born = date(*(int(part) for part in [*parts, "1", "1"][:3]))
    except (ValueError, TypeError) as error:
        message = f"Patient.birthDate {birth[:20]!r} is no date"
        raise ContextError(message) from error
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return "child" if years < 16 else "adult" if years < 65 else "older"


def _resources(resource: dict[str, Any]) -> list[dict[str, Any]]:
    if resource.get("resourceType") != "Bundle":
        return [resource]
    return [inner for one in _list(resource.get("entry")) if isinstance(inner := one.get("resource"), dict)]


def _list(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _ward(reference: Any) -> dict[str, str]:
    display = reference.get("display") if isinstance(reference, dict) else None
    return {"ward": display[:64]} if isinstance(display, str) and display else {}


def _text(concept: Any) -> str:
    if not isinstance(concept, dict):
        return ""
    words = [concept.get("text"), *(one.get("display") for one in _list(concept.get("coding")))]
    return next((word[:64] for word in words if isinstance(word, str) and word), "")


def _oxygen(observation: dict[str, Any]) -> dict[str, str]:
    coding = observation.get("code", {})
    codes = [one.get("code") for one in _list(coding.get("coding") if isinstance(coding, dict) else None)]
    quantity = observation.get("valueQuantity")
    value = quantity.get("value") if isinstance(quantity, dict) else None
    if _O2_FLOW not in codes or not isinstance(value, int | float):
        return {}
    return {"oxygen": "supplemental" if value > 0 else "air"}
