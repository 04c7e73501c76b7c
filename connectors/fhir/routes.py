"""Routes of FHIR R4: read and search of Observation, Flag, Device and Patient, as JSON or as ndjson."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from connectors.api import queries
from connectors.api.context import Context, place
from connectors.api.database import DatabaseUnavailableError
from connectors.api.problems import ProblemError
from connectors.api.queries import Span
from connectors.api.requests import token
from connectors.fhir import resources
from connectors.fhir.resources import Resource
from connectors.fhir.search import INCLUDES, dates, newest_first, references, wanted

PREFIX = "/fhir/r4"
JSON = "application/fhir+json"
NDJSON = "application/fhir+ndjson"
_DAY_NS = 86_400_000_000_000
_COUNT = 100
Handler = Callable[[Request], Awaitable[Response]]
Page = tuple[list[Resource], str | None]
"""Resources, and the cursor of the next page."""
Fetch = Callable[[Span], Awaitable[Page]]
_MOMENT = 32
"""More readings than one frame has of one moment."""


def _answer(found: Resource, status: int = 200) -> Response:
    return Response(msgspec.json.encode(found), status, media_type=JSON)


def _saying(handler: Handler) -> Handler:
    """What a route refuses is told as an OperationOutcome."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except ProblemError as error:
            return _answer(resources.outcome(error.status, error.detail), error.status)
        except DatabaseUnavailableError as error:
            return _answer(resources.outcome(503, str(error)), 503)

    return told


def _span(request: Request, here: Context) -> Span:
    begin, end = dates(request.query_params.getlist("date"))
    end = end or time.time_ns() + 60 * 10**9
    begin = end - _DAY_NS if begin is None else begin
    count = request.query_params.get("_count", str(_COUNT))
    if not (count.isdigit() and 1 <= int(count[:9]) <= here.settings.web.max_rows):
        raise ProblemError(400, f"_count: 1 to {here.settings.web.max_rows}")
    if not 0 <= begin < end:
        raise ProblemError(400, "date: the begin must be before the end, and not before 1970")
    return Span(begin, end, int(count), request.query_params.get("_cursor", ""), newest_first(request))


def _patient(request: Request) -> str:
    asked = request.query_params.get("patient") or request.query_params.get("subject")
    if not asked:
        raise ProblemError(400, "patient: which one (Patient/p0042)")
    return token(resources.patient_id_of(asked), "patient")


async def _found(request: Request, span: Span, fetch: Fetch) -> Response:
    """A page as a Bundle, or everything as lines."""
    if request.query_params.get("_format") in {NDJSON, "ndjson"}:
        first = await fetch(span)  # so that a database that is away is a status, not half an answer
        return StreamingResponse(_lines(span, first, fetch), media_type=NDJSON)
    found, cursor = await fetch(span)
    base = str(request.url.replace(path=PREFIX, query=""))
    own = str(request.url)
    following = None
    if cursor is not None:
        # The next page has this page's bounds, or what comes meanwhile would move it.
        kept = [
            (name, value)
            for name, value in request.query_params.multi_items()
            if name not in {"date", "_cursor", "_count"}
        ]
        bounds = [("date", f"ge{resources.instant(span.from_ns)}"), ("date", f"lt{resources.instant(span.to_ns)}")]
        query = urlencode([*kept, *bounds, ("_count", str(span.limit)), ("_cursor", cursor)])
        following = f"{base}/{request.url.path.rpartition('/')[2]}?{query}"
    return _answer(resources.searchset(found, base, own, following, _included(request, found)))


def _included(request: Request, found: list[Resource]) -> list[Resource]:
    kind = request.url.path.rpartition("/")[2]
    if kind not in INCLUDES:
        return []
    return [
        resources.patient(name) if what == "Patient" else resources.device(name, patient)
        for what, name, patient in references(request, kind, found)
    ]


async def _lines(span: Span, page: Page, fetch: Fetch) -> AsyncIterator[bytes]:
    while True:
        found, cursor = page
        yield b"".join(msgspec.json.encode(one) + b"\n" for one in found)
        if cursor is None:
            return
        page = await fetch(replace(span, cursor=cursor))


async def observations(request: Request) -> Response:
    """Search: `patient`, three kinds of code, `category`, `date`, `_id`, `_sort`, `_count`, `_include`."""
    here, tenant = place(request)
    if "_id" in request.query_params:
        found = await _observation(here, tenant, request.query_params["_id"])
        return await _found(request, Span(0, 1, 1), _only(found))
    patient, asked, span = _patient(request), wanted(request), _span(request, here)
    where: dict[str, str | tuple[str, ...]] = {"tenant": tenant, "patient": patient}

    async def waves(part: Span) -> Page:
        rows = await here.database.rows(*queries.waveforms(where | {"signal": asked.signals}, part))
        return [one for row in rows if asked.fits(one := resources.sampled(row, patient))], part.next(rows)

    async def readings(part: Span) -> Page:
        more = replace(part, limit=part.limit + _MOMENT)
        rows = await here.database.rows(
            *queries.observations(where | ({"code": asked.codes} if asked.codes else {}), more)
        )
        end = _whole_moments(rows, part.limit)
        found = [one for one in resources.observations(rows[:end], patient) if asked.fits(one)]
        return found, None if end == len(rows) else part.behind(rows[:end])

    return await _found(request, span, waves if asked.signals else readings)


def _whole_moments(rows: list[dict[str, Any]], limit: int) -> int:
    """How many of the rows a page holds: at most `limit`, and no readings of one moment torn apart."""
    if len(rows) <= limit:
        return len(rows)
    ends = [n for n in range(1, len(rows)) if resources.moment_of(rows[n]) != resources.moment_of(rows[n - 1])]
    return max((n for n in ends if n <= limit), default=min(ends, default=len(rows)))


def _only(found: Resource | None) -> Fetch:
    async def fetch(_: Span) -> Page:
        return ([] if found is None else [found]), None

    return fetch


async def observation(request: Request) -> Response:
    """Read: a reading, pressures of a moment, or a frame of a wave."""
    here, tenant = place(request)
    wanted_id = request.path_params["id"]
    found = await _observation(here, tenant, wanted_id)
    if found is None:
        raise ProblemError(404, f"there is no Observation {wanted_id}")
    return _answer(found)


async def _observation(here: Context, tenant: str, wanted_id: str) -> Resource | None:
    ts = wanted_id.partition("-")[0]
    if not (ts.isdigit() and len(ts) < 20):
        return None
    readings = await here.database.rows(*queries.observations_at(tenant, int(ts)))
    for name in sorted({row["patient"] for row in readings}):
        mine = [row for row in readings if row["patient"] == name]
        if found := next((one for one in resources.observations(mine, name) if one["id"] == wanted_id), None):
            return found
    frames = await here.database.rows(*queries.waveforms_at(tenant, int(ts)))
    return next((resources.sampled(row, row["patient"]) for row in frames if resources.row_id(row) == wanted_id), None)


async def flags(request: Request) -> Response:
    """Search of alerts: `patient`, `status=active` for those that stand, `date` of their transitions, `_sort`."""
    here, tenant = place(request)
    asked = request.query_params.get("patient")
    where = {"tenant": tenant} | ({"patient": _patient(request)} if asked else {})
    if request.query_params.get("status") == "active":
        fits = [one for one in here.hub.standing(tenant) if all(one[name] == value for name, value in where.items())]
        fits.sort(key=lambda one: int(one["log_ns"]), reverse=newest_first(request))
        flags_now = [resources.flag(one) for one in fits]

        async def now(_: Span) -> Page:
            return flags_now, None

        return await _found(request, Span(0, 1, 1), now)

    async def fetch(part: Span) -> Page:
        rows = await here.database.rows(*queries.alerts_changed(where, part))
        ids = [row["alert_id"] for row in rows]
        bodies = await here.database.rows(*queries.alerts_now(tenant, ids)) if ids else []
        latest = {alert["alert_id"]: alert for row in bodies for alert in [json.loads(row["body"])]}
        return [resources.flag(latest[one]) for one in ids], part.next(rows)

    return await _found(request, _span(request, here), fetch)


async def flag(request: Request) -> Response:
    """Read: an alert as it stands."""
    here, tenant = place(request)
    wanted = token(request.path_params["id"], "id")
    rows = await here.database.rows(*queries.alert_transitions(tenant, wanted)) if len(wanted) == 36 else []
    if not rows:
        raise ProblemError(404, f"there is no Flag {wanted}")
    return _answer(resources.flag(json.loads(rows[-1]["body"])))


async def devices(request: Request) -> Response:
    """Search of the devices that a patient wore in the last day: `patient`."""
    here, tenant = place(request)
    patient = _patient(request)
    rows = await here.database.rows(*queries.devices(tenant, time.time_ns(), patient))
    found = [resources.device(row["device"], patient) for row in sorted(rows, key=lambda row: str(row["device"]))]
    base = str(request.url.replace(path=PREFIX, query=""))
    return _answer(resources.searchset(found, base, str(request.url), None))


async def device(request: Request) -> Response:
    """Read: a device of the last day, with its patient where one alone has a device of this name; the pipeline."""
    here, tenant = place(request)
    name = token(resources.patient_id_of(request.path_params["id"]), "id")
    rows = await here.database.rows(*queries.wearers(tenant, time.time_ns(), name))
    if not rows and name != resources.PIPELINE:
        raise ProblemError(404, f"nothing of a device {name} in the last 24 hours")
    return _answer(resources.device(name, rows[0]["patient"] if len(rows) == 1 else None))


async def patient(request: Request) -> Response:
    """Read: a pseudonym of whom something came in the last day."""
    here, tenant = place(request)
    wanted = token(resources.patient_id_of(request.path_params["id"]), "id")
    if not await here.database.rows(*queries.devices(tenant, time.time_ns(), wanted)):
        raise ProblemError(404, f"nothing of {wanted} in the last 24 hours")
    return _answer(resources.patient(wanted))


def _search(names: list[str]) -> list[Resource]:
    kinds = {"date": "date", "patient": "reference"}
    return [{"name": name, "type": kinds.get(name, "token")} for name in names]


async def metadata(_: Request) -> Response:
    """What this server can."""
    both = [{"code": "read"}, {"code": "search-type"}]
    listed = {
        "Observation": (both, ["_id", "patient", "code", "combo-code", "component-code", "category", "date"]),
        "Flag": (both, ["patient", "status", "date"]),
        "Device": (both, ["patient"]),
        "Patient": (both[:1], []),
    }
    served = [
        {"type": name, "interaction": can}
        | ({"searchParam": _search(names)} if names else {})
        | ({"searchInclude": [f"{name}:{one}" for one in INCLUDES[name]]} if name in INCLUDES else {})
        for name, (can, names) in listed.items()
    ]
    return _answer(
        {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": "2026-11-24",
            "kind": "instance",
            "implementation": {"description": "vitals"},
            "fhirVersion": "4.0.1",
            "format": ["json", NDJSON],
            "rest": [{"mode": "server", "resource": served}],
        }
    )


def fhir_routes() -> list[BaseRoute]:
    """Returns the routes, without their prefix."""
    routes: dict[str, Handler] = {
        "/metadata": metadata,
        "/Observation": observations,
        "/Observation/{id}": observation,
        "/Flag": flags,
        "/Flag/{id}": flag,
        "/Device": devices,
        "/Device/{id}": device,
        "/Patient/{id}": patient,
    }
    return [Route(path, _saying(handler)) for path, handler in routes.items()]
