"""FHIR R4 resources as frames: Observation, Bundle of them, QuestionnaireResponse.

Read are the fields that have a place in a frame. A reference to a patient is not followed: the key says whose
device it is, and a resource of somebody else's would be stored under the wrong name, so a `subject` that names
another pseudonym is refused.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from connectors.gateway.problems import FieldError
from connectors.gateway.translate import EntryError, boot_of, invalid, time_ns
from connectors.gateway.vocabulary import LOINC, LOINC_SYSTEM, UCUM
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, Reading, questionnaire_frame

_FINAL = {"final", "amended", "corrected", "preliminary"}
_BLOOD_PRESSURE = {"85354-9", "55284-4"}


def observation_readings(resource: dict[str, Any], origin: Origin) -> list[tuple[int, Reading]]:
    """Returns (time in ns, reading) of an Observation, or of every Observation in a Bundle.

    Raises:
        RefusedError: One cannot be taken; says which entry and field.
    """
    entries = _observations(resource)
    found: list[tuple[int, Reading]] = []
    errors = []
    for index, entry in enumerate(entries):
        try:
            found += _readings(_object(entry, "resource"), origin)
        except EntryError as error:
            errors.append(FieldError(index=index, reason="invalid", field=error.field, detail=str(error)))
    if errors:
        raise invalid(errors)
    return found


def _observations(resource: dict[str, Any]) -> list[Any]:
    if resource.get("resourceType") != "Bundle":
        return [resource]
    entries = resource.get("entry", [])
    if not isinstance(entries, list):
        raise invalid([FieldError(index=0, reason="invalid", field="entry", detail="a list of entries")])
    return [entry.get("resource") if isinstance(entry, dict) else None for entry in entries]


def _readings(resource: dict[str, Any], origin: Origin) -> Iterator[tuple[int, Reading]]:
    if resource.get("resourceType") != "Observation":
        raise EntryError(field="resourceType", detail="only Observation is taken here")
    if resource.get("status") not in _FINAL:
        raise EntryError(field="status", detail=f"one of {', '.join(sorted(_FINAL))}")
    _own(resource, origin)
    time = _time(resource, "effectiveDateTime", "effectiveInstant")
    if "component" in resource:
        for component in _list(resource["component"], "component"):
            part = _object(component, "component")
            yield time, Reading(_code(part, "component.code"), *_quantity(part, "component.valueQuantity"))
        return
    yield time, Reading(_code(resource, "code"), *_quantity(resource, "valueQuantity"))


def questionnaire_frames(resource: dict[str, Any], origin: Origin) -> list[pb.Frame]:
    """Returns a QuestionnaireResponse as a frame.

    Raises:
        RefusedError: It cannot be taken; says which field.
    """
    try:
        return [_questionnaire(resource, origin)]
    except EntryError as error:
        found = FieldError(index=0, reason="invalid", field=error.field, detail=str(error))
        raise invalid([found]) from None


def _questionnaire(resource: dict[str, Any], origin: Origin) -> pb.Frame:
    if resource.get("resourceType") != "QuestionnaireResponse":
        raise EntryError(field="resourceType", detail="only QuestionnaireResponse is taken here")
    if resource.get("status") not in {"completed", "amended"}:
        raise EntryError(field="status", detail="completed or amended")
    _own(resource, origin)
    ns = _time(resource, "authored")
    canonical = _text(resource.get("questionnaire"), "questionnaire")
    url, _, version = canonical.partition("|")
    instrument = url.rstrip("/").rpartition("/")[2].lower().replace("-", "_")
    answers = list(_answers(_list(resource.get("item"), "item"), depth=0))
    sender = Origin(origin.patient, origin.device, boot_id=boot_of(ns, [instrument]), tenant=origin.tenant)
    return questionnaire_frame(sender, instrument, answers, seq=0, device_ns=ns, instrument_version=version)


def _answers(items: list[Any], depth: int) -> Iterator[tuple[str, float]]:
    if depth > 8:
        raise EntryError(field="item", detail="items are nested deeper than 8")
    for entry in items:
        item = _object(entry, "item")
        name = _text(item.get("linkId"), "item.linkId")
        if "item" in item:
            yield from _answers(_list(item["item"], "item.item"), depth + 1)
        for answer in _list(item.get("answer", []), "item.answer"):
            yield name, _value(_object(answer, "item.answer"), name)


def _value(answer: dict[str, Any], name: str) -> float:
    for kind in ("valueInteger", "valueDecimal", "valueBoolean"):
        if kind in answer:
            return _number(answer[kind], f"item[{name[:40]}].{kind}")
    coding = answer.get("valueCoding")
    try:
        return float(_object(coding, "valueCoding")["code"])
    except (EntryError, KeyError, TypeError, ValueError, OverflowError):
        raise EntryError(
            field=f"item[{name[:40]}]", detail="an answer is a number, a boolean, or a coding whose code is one"
        ) from None


def _own(resource: dict[str, Any], origin: Origin) -> None:
    """Makes sure that a resource that names a patient names this one."""
    subject = resource.get("subject")
    if subject is None:
        return
    reference = _text(_object(subject, "subject").get("reference", ""), "subject.reference")
    if reference and reference.rpartition("/")[2] != origin.patient:
        raise EntryError(field="subject.reference", detail="this key belongs to another patient's device")


def _code(part: dict[str, Any], field: str) -> pb.Code:
    codings = _list(_object(part.get("code"), field).get("coding"), f"{field}.coding")
    named = [_object(coding, f"{field}.coding") for coding in codings]
    loinc = [coding.get("code") for coding in named if coding.get("system") == LOINC_SYSTEM]
    for code in loinc:
        if isinstance(code, str) and code in LOINC:
            return LOINC[code]
    if any(code in _BLOOD_PRESSURE for code in loinc if isinstance(code, str)):
        raise EntryError(field=field, detail="a blood pressure panel needs its components")
    raise EntryError(field=f"{field}.coding", detail=f"no LOINC code that is known; there are {', '.join(LOINC)}")


def _quantity(part: dict[str, Any], field: str) -> tuple[float, pb.Unit]:
    quantity = _object(part.get("valueQuantity"), field)
    if quantity.get("comparator"):
        raise EntryError(field=f"{field}.comparator", detail="a value that is only a bound is no reading")
    value, unit = quantity.get("value"), quantity.get("code", quantity.get("unit"))
    if isinstance(value, bool):
        raise EntryError(field=f"{field}.value", detail="a number")
    if not isinstance(unit, str) or unit not in UCUM:
        raise EntryError(field=f"{field}.code", detail=f"a UCUM unit, one of {', '.join(UCUM)}")
    return _number(value, f"{field}.value"), UCUM[unit]


def _time(resource: dict[str, Any], *fields: str) -> int:
    for field in fields:
        if field in resource:
            try:
                return time_ns(datetime.fromisoformat(_text(resource[field], field)))
            except (ValueError, OverflowError) as error:
                raise EntryError(field=field, detail=f"ISO 8601 with zone: {error}") from None
    raise EntryError(field=fields[0], detail="is missing")


def _number(value: Any, field: str) -> float:
    try:
        if isinstance(value, int | float):
            return float(value)
    except OverflowError:
        pass
    raise EntryError(field=field, detail="a number")


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EntryError(field=field, detail="a JSON object")
    return value


def _list(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise EntryError(field=field, detail="a list")
    return value


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise EntryError(field=field, detail="text")
    return value
