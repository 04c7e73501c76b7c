"""The recorded glucose sets, as (time in ns, whole mg/dL) per person."""

import csv
import io
import os
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dataflows.scores.glucose import parse

SETS = ("HUPA-UCM", "Hall_2018", "PhysioCGM")


def folder():
    data = os.environ.get("VITALS_DATA")
    path = Path(data or "") / "glucose"
    if not data or not path.is_dir():
        pytest.skip("VITALS_DATA does not point at recorded glucose")
    return path


def recorded(path, name):
    """Persons of a set, each a list of (ts_ns, mg_dl) in time order."""
    with zipfile.ZipFile(path / name / f"{name}-from-Glucose-ML.zip") as whole:
        for member in sorted(whole.namelist()):
            if "extracted" not in member or not member.endswith(".csv") or "__MACOSX" in member:
                continue
            lines = csv.reader(io.TextIOWrapper(whole.open(member), "utf-8-sig"))
            next(lines)
            found = {}
            for time, value, *_ in lines:
                mg_dl = parse(value)
                if mg_dl is not None:
                    at = datetime.strptime(time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
                    found[round(at.timestamp()) * 1_000_000_000] = mg_dl
            yield Path(member).stem, sorted(found.items())
