"""Rows and alerts as FHIR R4 resources: plain dictionaries, pure.

https://hl7.org/fhir/R4/observation-vitalsigns.html, /datatypes.html#SampledData, /flag.html. Times are given to the
nanosecond of the row, in UTC.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Resource = dict[str, Any]

LOINC = "http://loinc.org"
UCUM = "http://unitsofmeasure.org"
BASE = "https://vitals.invalid/fhir"
"""Systems of our own names. The domain is reserved (RFC 2606): an identifier, not an address."""
_HL7 = "http://terminology.hl7.org/CodeSystem"
CODES: dict[str, tuple[tuple[str, str], ...]] = {
    "hr": (("8867-4", "Heart rate"),),
    "pulse_rate": (("8889-8", "Heart rate by Pulse oximetry"),),
    # The R4 profile asks for 2708-6; 59408-5 says how it was measured.
    "spo2": (("2708-6", "Oxygen saturation in Arterial blood"), ("59408-5", "Oxygen saturation by Pulse oximetry")),
    "resp_rate": (("9279-1", "Respiratory rate"),),
    "temp": (("8310-5", "Body temperature"),),
    "bp": (("85354-9", "Blood pressure panel with all children optional"),),
    "sbp": (("8480-6", "Systolic blood pressure"),),
    "dbp": (("8462-4", "Diastolic blood pressure"),),
    "map": (("8478-0", "Mean blood pressure"),),
    "glucose": (("2339-0", "Glucose [Mass/volume] in Blood"),),
    "weight": (("29463-7", "Body weight"),),
    "fio2": (("3150-6", "Inhaled oxygen concentration"),),
    "o2_flow": (("3151-8", "Inhaled oxygen flow rate"),),
}
PIPELINE = "pipeline"
"""Device of alerts that no device is behind."""
PANEL = "bp"
"""Systolic, diastolic and mean pressure of one moment are one Observation: the profile wants the panel."""
PRESSURES = ("sbp", "dbp", "map")
_VITAL = frozenset({"hr", "pulse_rate", "spo2", "resp_rate", "temp", "bp", *PRESSURES, "weight"})
_PROFILES = {
    "hr": "heartrate",
    "resp_rate": "resprate",
    "spo2": "oxygensat",
    "temp": "bodytemp",
    "weight": "bodyweight",
    "bp": "bp",
}
"""Profile of a vital sign where R4 has one of its own; else it is that of all vital signs."""
_META = {
    code: {"profile": [f"http://hl7.org/fhir/StructureDefinition/{name}" for name in names]}
    for code in _VITAL
    for names in [["vitalsigns", *([_PROFILES[code]] if code in _PROFILES else [])]]
}
OTHER_CODES = frozenset({"etco2", "perfusion_index", "battery", "consciousness", "model_score"})
"""Codes without a LOINC here."""


_ECG = {"system": "urn:oid:2.16.840.1.113883.6.24", "code": "131328", "display": "MDC_ECG_ELEC_POTL"}
"""As the published example of an ECG has it."""


def by_loinc(code: str) -> str | None:
    """Returns our name of a LOINC code, or of our own name; None for another."""
    if code in CODES:
        return code
    return next((name for name, codings in CODES.items() if any(code == loinc for loinc, _ in codings)), None)


def instant(ns: int) -> str:
    """A time of ns since 1970 as FHIR writes it."""
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"


def row_id(row: Mapping[str, Any]) -> str:
    """Returns the id of a row: its time, and a digest of the rest of its identity."""
    parts = (row["device"], row["boot"], row["signal"], row["seq"], row.get("code", ""))
    return f"{row['ts_ns']}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:16]}"


def _category(code: str, display: str) -> list[Resource]:
    return [{"coding": [{"system": f"{_HL7}/observation-category", "code": code, "display": display}]}]


_VITAL_SIGNS = _category("vital-signs", "Vital Signs")
_LABORATORY = _category("laboratory", "Laboratory")
_PROCEDURE = _category("procedure", "Procedure")


def moment_of(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What readings of one frame and moment share."""
    return (row.get("patient"), *(row[name] for name in ("ts_ns", "device", "boot", "signal", "seq")))


def observations(rows: Iterable[Mapping[str, Any]], patient: str) -> list[Resource]:
    """Readings in their order, pressures of one moment as the panel 85354-9; a mean alone stays by itself."""
    listed = list(rows)
    pressures: dict[tuple[Any, ...], dict[str, Mapping[str, Any]]] = {}
    for row in listed:
        if row["code"] in PRESSURES:
            pressures.setdefault(moment_of(row), {})[row["code"]] = row
    found = []
    for row in listed:
        if row["code"] not in PRESSURES:
            found.append(observation(row, patient))
            continue
        together = pressures.pop(moment_of(row), None)
        if together is not None:
            alone = together.keys() == {"map"}
            found.append(observation(row, patient) if alone else _panel(together, patient))
    return found


def _panel(together: Mapping[str, Mapping[str, Any]], patient: str) -> Resource:
    """Pressures of one moment; systolic and diastolic are always there, if only to say that the device had none."""
    some = next(iter(together.values()))
    found = _base({**some, "code": PANEL}, patient)
    found |= {"meta": _META[PANEL], "category": _VITAL_SIGNS, "code": _code(PANEL)}
    absent = {**some, "value": None, "suspect": False}
    parts = [{**together.get(code, absent), "code": code} for code in PRESSURES if code in together or code != "map"]
    found["component"] = [{"code": _code(part["code"]), **_value(part)} for part in parts]
    return found


def _code(code: str) -> Resource:
    codings = [{"system": LOINC, "code": loinc, "display": display} for loinc, display in CODES.get(code, ())]
    return {"coding": [*codings, {"system": f"{BASE}/code", "code": code}]}


def _value(row: Mapping[str, Any]) -> Resource:
    """Value of a reading, or that there is none, and whether it is believed."""
    value = row["value"]
    found: Resource = {}
    if value is None or value != value:  # noqa: PLR0124  (NaN)
        found["dataAbsentReason"] = {"coding": [{"system": f"{_HL7}/data-absent-reason", "code": "not-performed"}]}
    else:
        found["valueQuantity"] = {"value": value, "unit": row["unit"], "system": UCUM, "code": row["unit"]}
    if row.get("suspect"):
        found["interpretation"] = [{"text": "suspect: the value is unlikely for this code"}]
    return found


def _base(row: Mapping[str, Any], patient: str) -> Resource:
    return {
        "resourceType": "Observation",
        "id": row_id(row),
        "status": "final",
        "subject": {"reference": f"Patient/{device_id(patient)}"},
        "device": {"reference": f"Device/{device_id(row['device'])}"},
        "effectiveDateTime": instant(row["ts_ns"]),
    }


def observation(row: Mapping[str, Any], patient: str) -> Resource:
    """A reading.

    Args:
        row: ts_ns, device, boot, signal, seq, code, value (None or NaN: the device had none), unit, suspect.
        patient: Pseudonym.
    """
    code = row["code"]
    found = _base(row, patient)
    if code in _VITAL:
        found["meta"] = _META[code]
    found["category"] = _VITAL_SIGNS if code in _VITAL else _LABORATORY if code == "glucose" else _PROCEDURE
    found["code"] = _code(code)
    return found | _value(row)


def sampled(row: Mapping[str, Any], patient: str) -> Resource:
    """A frame of a wave as SampledData: counts, so that nothing is rounded; `E` where invalid.

    Args:
        row: ts_ns, device, boot, signal, seq, fs_hz, lsb, samples (physical units, 1-D).
        patient: Pseudonym.
    """
    found = _base(row, patient)
    lsb = row["lsb"]
    texts = ["E" if value is None or value != value else str(round(value / lsb)) for value in row["samples"]]  # noqa: PLR0124
    found["category"] = _PROCEDURE
    codings = [{"system": f"{BASE}/signal", "code": row["signal"]}]
    if row["signal"].startswith("ecg"):
        codings.insert(0, _ECG)
    found["code"] = {"coding": codings}
    unit = "mV" if row["signal"].startswith("ecg") else "mm[Hg]" if row["signal"] == "abp" else "1"
    found["valueSampledData"] = {
        "origin": {"value": 0, "unit": unit, "system": UCUM, "code": unit},
        "period": 1000.0 / row["fs_hz"],
        "factor": lsb,
        "dimensions": 1,
        "data": " ".join(texts),
    }
    return found


def flag(alert: Mapping[str, Any]) -> Resource:
    """An alert as it stands after a transition (docs/alert.schema.json)."""
    standing = alert["state"] != "cleared"
    period = {"start": instant(alert["onset_ns"])}
    if not standing:
        period["end"] = instant(alert["log_ns"])
    return {
        "resourceType": "Flag",
        "id": alert["alert_id"],
        "meta": {"versionId": str(alert["transition"])},
        "status": "active" if standing else "inactive",
        "category": [
            {"coding": [{"system": f"{_HL7}/flag-category", "code": "clinical", "display": "Clinical"}]},
            {"coding": [{"system": f"{BASE}/alert-priority", "code": alert["priority"]}]},
        ],
        "code": {"coding": [{"system": f"{BASE}/alert-rule", "code": alert["rule"]}], "text": alert["text"]},
        "subject": {"reference": f"Patient/{device_id(alert['patient'])}"},
        "period": period,
        "author": {"reference": f"Device/{device_id(alert['device'])}"},
    }


def device_id(device: str) -> str:
    """An id of FHIR has no underscore; a name of ours may: `.` stands for it, which no name has."""
    return device.replace("_", ".") or PIPELINE


def patient_id_of(reference: str) -> str:
    """Returns the pseudonym of `Patient/p0042` or `p0042`."""
    return reference.removeprefix("Patient/").replace(".", "_")


def patient(name: str) -> Resource:
    """A pseudonym; the pipeline knows nothing else of a patient."""
    return {
        "resourceType": "Patient",
        "id": device_id(name),
        "identifier": [{"system": f"{BASE}/patient", "value": name}],
        "active": True,
    }


def device(name: str, patient_name: str | None) -> Resource:
    """A device and who wears it; None where that is nobody, or devices of several patients have this name."""
    found = {
        "resourceType": "Device",
        "id": device_id(name),
        "identifier": [{"system": f"{BASE}/device", "value": name or PIPELINE}],
        "status": "active",
    }
    return found if patient_name is None else found | {"patient": {"reference": f"Patient/{device_id(patient_name)}"}}


def searchset(
    found: Sequence[Resource], base: str, own: str, following: str | None, included: Sequence[Resource] = ()
) -> Resource:
    """A page of results.

    Args:
        found: The resources.
        base: Address of the server.
        own: Address of this page.
        following: Address of the next one.
        included: What they refer to and was asked for with them.
    """
    links = [{"relation": "self", "url": own}] + ([{"relation": "next", "url": following}] if following else [])
    entries = [
        {
            "fullUrl": f"{base}/{resource['resourceType']}/{resource['id']}",
            "resource": resource,
            "search": {"mode": mode},
        }
        for mode, resources in (("match", found), ("include", included))
        for resource in resources
    ]
    return {"resourceType": "Bundle", "type": "searchset", "link": links} | ({"entry": entries} if entries else {})


def outcome(status: int, detail: str) -> Resource:
    """Why a request was not answered."""
    code = {401: "login", 403: "forbidden", 404: "not-found", 503: "transient"}.get(status, "invalid")
    return {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code, "diagnostics": detail}]}
