"""Codes and units of observations in the words of others: LOINC, UCUM, our own names (docs/architecture.md)."""

from typing import cast

from dataflows.contracts import vitals_pb2 as pb

UCUM = {
    "/min": pb.UNIT_PER_MIN,
    "{beats}/min": pb.UNIT_PER_MIN,
    "{breaths}/min": pb.UNIT_PER_MIN,
    "%": pb.UNIT_PERCENT,
    "Cel": pb.UNIT_CEL,
    "[degF]": pb.UNIT_DEGF,
    "mm[Hg]": pb.UNIT_MM_HG,
    "mg/dL": pb.UNIT_MG_PER_DL,
    "mmol/L": pb.UNIT_MMOL_PER_L,
    "kg": pb.UNIT_KG,
    "L/min": pb.UNIT_L_PER_MIN,
    "1": pb.UNIT_ONE,
}
LOINC = {
    "8867-4": pb.CODE_HR,
    "8889-8": pb.CODE_PULSE_RATE,
    "59408-5": pb.CODE_SPO2,
    "2708-6": pb.CODE_SPO2,
    "9279-1": pb.CODE_RESP_RATE,
    "8310-5": pb.CODE_TEMP,
    "8480-6": pb.CODE_SBP,
    "8462-4": pb.CODE_DBP,
    "8478-0": pb.CODE_MAP,
    "2339-0": pb.CODE_GLUCOSE,
    "29463-7": pb.CODE_WEIGHT,
    "3150-6": pb.CODE_FIO2,
    "3151-8": pb.CODE_O2_FLOW,
}
LOINC_SYSTEM = "http://loinc.org"
UCUM_SYSTEM = "http://unitsofmeasure.org"
CODES = {
    pb.Code.Name(code).removeprefix("CODE_").lower(): code for code in cast("list[pb.Code]", pb.Code.values()) if code
}
"""Our names, as in the vocabulary table: `hr`, `spo2`, ..."""
