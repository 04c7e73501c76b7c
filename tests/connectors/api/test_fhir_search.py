"""Search of FHIR: blood pressure as the panel, codes, categories, dates, pages that tear no moment apart, includes."""

import time

import httpx
import pytest

from connectors.api.problems import ProblemError
from connectors.fhir import resources
from connectors.fhir.search import dates, period
from connectors.questdb.sink import QuestDBSink
from dataflows.contracts.tables import TABLES
from dataflows.monitor.rows import StoredRows
from tests.connectors.api.test_fhir import entries, valid

TENANT, PATIENT, DEVICE = "fhirsearch", "bp_1", "cuff_2"
S = 10**9
FRAMES = 12
NAMES = [name for name, _ in TABLES["observations"].columns]


def readings(ts, seq):
    """What a cuff sends: mostly all pressures with a pulse, sometimes a mean alone, a systolic alone, none at all."""
    if seq % 4 == 1:
        return {"map": 91.0}
    if seq % 4 == 2:
        return {"sbp": 140.0, "temp": 37.0}
    return {"dbp": 80.0 + seq, "hr": 70.0, "map": 95.0, "sbp": 120.0 + seq}


@pytest.fixture(scope="module")
def stored(questdb):
    """Rows of an hour ago; returns them as (ts, seq, values)."""
    begin = time.time_ns() // S * S - 3600 * S
    rows, found = [], []
    for seq in range(FRAMES):
        ts = begin + seq * 60 * S
        found.append((ts, seq, readings(ts, seq)))
        for code, value in found[-1][2].items():
            row = dict.fromkeys(NAMES) | {"ts": ts, "tenant": TENANT, "patient": PATIENT, "device": DEVICE, "boot": 1}
            row |= {"signal": "numeric", "seq": seq, "code": code, "value": value, "quality_pct": 0, "status": 0}
            row |= {"unit": {"hr": "/min", "temp": "Cel"}.get(code, "mm[Hg]"), "suspect": False, "stored": False}
            row |= {"averaging_s": 0.0, "first_sample": seq, "device_ns": ts, "log_ns": ts}
            rows.append(tuple(row.values()))
    patient = questdb.settings.model_copy(update={"ack_timeout_ms": 60_000})
    sink = QuestDBSink(patient, lambda: None).build_part("rows", "questdb/0", None)
    sink.write_batch([StoredRows([("observations", rows)])])
    sink.snapshot()
    questdb.reader.wait_applied()
    return found


@pytest.fixture
def search(served, stored):
    """Every page of a search, each a valid Bundle; returns the pages' matches and what was included."""
    with httpx.Client(timeout=20) as client:

        def run(status=200, **params):
            pages, included = [], []
            url, asked = f"{served.url}/fhir/r4/Observation", {"tenant": TENANT, "patient": "bp.1", **params}
            while url:
                answer = client.get(url, params=asked)
                assert answer.status_code == status, answer.text
                bundle = valid(answer.json())
                if status != 200:
                    return bundle
                for resource in entries(bundle):
                    valid(resource)
                modes = [entry["search"]["mode"] for entry in bundle.get("entry", [])]
                pages.append([one for one, mode in zip(entries(bundle), modes, strict=True) if mode == "match"])
                included += [one for one, mode in zip(entries(bundle), modes, strict=True) if mode == "include"]
                url = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
                asked = None
            return pages, included

        yield run


def loinc(part):
    return part["code"]["coding"][0]["code"]


def flat(pages):
    return [one for page in pages for one in page]


def components(one):
    return {loinc(part): part.get("valueQuantity", {}).get("value") for part in one.get("component", [])}


@pytest.mark.services
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_pressures_of_a_moment_are_one_panel_on_whatever_page(search, stored, count):
    pages, _ = search(_count=count)
    assert all(len(page) <= max(count, 3) for page in pages)
    found = flat(pages)
    assert len({one["id"] for one in found}) == len(found)
    panels = [one for one in found if loinc(one) == "85354-9"]
    wanted = [values for _, _, values in stored if "sbp" in values]
    told = [components(one) for one in panels]
    assert [one["8480-6"] for one in told] == [values["sbp"] for values in wanted]
    assert [one["8462-4"] for one in told] == [values.get("dbp") for values in wanted]
    assert [one.get("8478-0") for one in told] == [values.get("map") for values in wanted]
    assert all(
        one["category"][0]["coding"][0]["code"] == "vital-signs" and "valueQuantity" not in one for one in panels
    )
    without = next(one for one in panels if components(one)["8462-4"] is None)
    assert without["component"][1]["dataAbsentReason"]
    alone = [one for one in found if loinc(one) == "8478-0"]
    assert [one["valueQuantity"]["value"] for one in alone] == [91.0] * 3
    assert len(found) == len(panels) + len(alone) + sum("hr" in v or "temp" in v for _, _, v in stored)


@pytest.mark.services
def test_codes_of_an_observation_and_of_its_components(search, stored):
    panels = sum("sbp" in values for _, _, values in stored)
    assert len(flat(search(code="http://loinc.org|85354-9")[0])) == panels
    assert flat(search(code="8480-6")[0]) == []  # it is a component, never an Observation of its own
    assert len(flat(search(**{"component-code": "8480-6"})[0])) == panels
    assert len(flat(search(**{"combo-code": "8478-0"})[0])) == sum("map" in values for _, _, values in stored)
    assert {loinc(one) for one in flat(search(code="8867-4,8310-5")[0])} == {"8867-4", "8310-5"}
    assert {loinc(one) for one in flat(search(category="vital-signs")[0])} >= {"85354-9", "8867-4", "8310-5"}
    assert flat(search(category="laboratory")[0]) == []
    only = flat(search(code="85354-9", _count=1)[0])
    assert len(only) == panels


@pytest.mark.services
def test_a_panel_is_read_by_its_id_and_brings_what_it_refers_to(search, served, stored):
    pages, included = search(code="85354-9", _include=["Observation:subject", "Observation:device"])
    panel = flat(pages)[0]
    read = httpx.get(f"{served.url}/fhir/r4/Observation/{panel['id']}", params={"tenant": TENANT}, timeout=60)
    assert read.json() == panel
    assert flat(search(_id=panel["id"])[0]) == [panel]
    assert flat(search(_id="17-00")[0]) == []
    assert sorted((one["resourceType"], one["id"]) for one in included) == [("Device", "cuff.2"), ("Patient", "bp.1")]
    assert included[0]["identifier"][0]["value"] in {PATIENT, DEVICE}
    own = httpx.get(
        f"{served.url}/fhir/r4/{panel['device']['reference']}", params={"tenant": TENANT}, timeout=60
    ).json()
    assert own == next(one for one in included if one["resourceType"] == "Device")
    assert {panel["subject"]["reference"], panel["device"]["reference"]} == {"Patient/bp.1", "Device/cuff.2"}


@pytest.mark.services
@pytest.mark.parametrize(
    ("prefix", "keeps"),
    [
        ("", lambda ts, at: ts == at),
        ("eq", lambda ts, at: ts == at),
        ("ge", lambda ts, at: ts >= at),
        ("gt", lambda ts, at: ts > at),
        ("sa", lambda ts, at: ts > at),
        ("le", lambda ts, at: ts <= at),
        ("lt", lambda ts, at: ts < at),
        ("eb", lambda ts, at: ts < at),
    ],
)
def test_each_prefix_of_a_date(search, stored, prefix, keeps):
    at = stored[4][0]
    found = flat(search(date=f"{prefix}{resources.instant(at)}", code="85354-9")[0])
    assert len(found) == sum(keeps(ts, at) and "sbp" in values for ts, _, values in stored)


@pytest.mark.services
@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_the_newest_first_are_the_same_backwards_on_whatever_page(search, stored, count):
    forwards, backwards = (flat(search(_sort=order, _count=count)[0]) for order in ("date", "-date"))
    assert sorted(one["id"] for one in backwards) == sorted(one["id"] for one in forwards)
    times = [one["effectiveDateTime"] for one in backwards]
    assert times == sorted(times, reverse=True) == [one["effectiveDateTime"] for one in reversed(forwards)]
    assert {one["id"]: one for one in backwards} == {one["id"]: one for one in forwards}
    newest = search(_sort="-date", _count=1)[0][0]
    assert newest[0]["effectiveDateTime"] == resources.instant(stored[-1][0])


@pytest.mark.services
@pytest.mark.parametrize(
    "params",
    [
        {"date": "ne2026-01-01"},
        {"date": "2026-02-30"},
        {"category": "social-history"},
        {"code": "8480-6,ecg_ii"},
        {"_include": "Observation:encounter"},
        {"_include": "Flag:subject"},
        {"_sort": "code"},
        {"_sort": "date,code"},
    ],
)
def test_what_is_not_served_is_refused_in_words(search, params):
    outcome = search(400, **params)
    assert outcome["issue"][0]["diagnostics"]


def test_a_date_names_its_whole_period():
    day = 86_400 * S
    begin, end = period("2026-11-24")
    assert end - begin == day
    assert period("2026-12") == (period("2026-12-01")[0], period("2027-01-01")[0])
    assert period("2026") == (period("2026-01-01")[0], period("2027-01-01")[0])
    assert period("2026-11-24T10:05Z") == (begin + 36_300 * S, begin + 36_360 * S)
    assert period("2026-11-24T11:05:00+01:00") == (begin + 36_300 * S, begin + 36_300 * S + 1)
    assert period("2026-11-24T00:00:00.000000005Z") == (begin + 5, begin + 6)
    assert dates(["ge2026-11-24", "lt2026-11-25", "gt2026-11"]) == (period("2026-12")[0], end)
    with pytest.raises(ProblemError, match="zone"):
        period("2026-11-24T10:05:00")


def test_a_value_that_a_device_did_not_have_or_is_unlikely_stays_with_its_component():
    row = {"ts_ns": 1, "device": "d", "boot": 1, "signal": "numeric", "seq": 1, "unit": "mm[Hg]"}
    rows = [
        {**row, "code": "dbp", "value": float("nan"), "suspect": False},
        {**row, "code": "sbp", "value": 260.0, "suspect": True},
    ]
    (panel,) = resources.observations(rows, "p")
    systolic, diastolic = valid(panel)["component"]
    assert systolic["interpretation"][0]["text"].startswith("suspect")
    assert diastolic["dataAbsentReason"]["coding"][0]["code"] == "not-performed"
