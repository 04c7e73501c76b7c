"""Routes of FHIR R4: read and search of Observation, Flag, Device and Patient, as JSON or as ndjson."""

import json
import re
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
from connectors.api.requests import moment, token
from connectors.fhir import resources
from connectors.fhir.resources import Resource

PREFIX = "/fhir/r4"
JSON = "application/fhir+json"
NDJSON = "application/fhir+ndjson"
_DAY_NS = 86_400_000_000_000
_COUNT = 100
_FRACTION = re.compile(r"\.(\d{1,9})(?=Z|[+-]\d\d:\d\d$|$)")
_PREFIXES = {"ge": (0, None), "gt": (1, None), "lt": (None, 0), "le": (None, 1)}
Handler = Callable[[Request], Awaitable[Response]]
Fetch = Callable[[Span], Awaitable[tuple[list[Resource], str | None]]]


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


def dates(values: list[str]) -> tuple[int | None, int | None]:
    """Returns from (inclusive) and to (exclusive) of the parameters `date`, None where they say nothing.

    Raises:
        ProblemError: A value is no time with zone, or has an unknown prefix.
    """
    begin = end = None
    for value in values:
        prefix, text = (value[:2], value[2:]) if value[:2].isalpha() else ("eq", value)
        if len(text) == len("2026-11-24"):
            text += "T00:00:00Z"
            length_ns = _DAY_NS
        else:
            length_ns = 1
        # Rows have nanoseconds, which `datetime` has not.
        fraction = _FRACTION.search(text)
        at_ns = moment(_FRACTION.sub("", text), "date")
        at_ns += int(fraction[1].ljust(9, "0")) if fraction else 0
        if prefix == "eq":
            begin, end = at_ns, at_ns + length_ns
            continue
        if prefix not in _PREFIXES:
            raise ProblemError(400, f"date: prefix one of eq, {', '.join(_PREFIXES)}, not {prefix}")
        first, last = _PREFIXES[prefix]
        begin = begin if first is None else at_ns + first * length_ns
        end = end if last is None else at_ns + last * length_ns
    return begin, end


def _span(request: Request, here: Context) -> Span:
    begin, end = dates(request.query_params.getlist("date"))
    end = end or time.time_ns() + 60 * 10**9
    begin = end - _DAY_NS if begin is None else begin
    count = request.query_params.get("_count", str(_COUNT))
    if not (count.isdigit() and 1 <= int(count[:9]) <= here.settings.web.max_rows):
        raise ProblemError(400, f"_count: 1 to {here.settings.web.max_rows}")
    if not 0 <= begin < end:
        raise ProblemError(400, "date: the begin must be before the end, and not before 1970")
    return Span(begin, end, int(count), request.query_params.get("_cursor", ""))


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
    return _answer(resources.searchset(found, base, own, following))


async def _lines(span: Span, page: tuple[list[Resource], str | None], fetch: Fetch) -> AsyncIterator[bytes]:
    while True:
        found, cursor = page
        yield b"".join(msgspec.json.encode(one) + b"\n" for one in found)
        if cursor is None:
            return
        page = await fetch(replace(span, cursor=cursor))


def _code(request: Request) -> tuple[str, str] | None:
    """Returns (column, name) of the parameter `code`; None without one.

    Raises:
        ProblemError: Nothing of ours has this code.
    """
    asked = request.query_params.get("code")
    if not asked:
        return None
    system, bar, value = asked.rpartition("|")
    if bar and system not in {"", resources.LOINC, f"{resources.BASE}/code", f"{resources.BASE}/signal"}:
        raise ProblemError(400, f"code: no system {system}")
    name = resources.by_loinc(value)
    return ("code", name) if name else ("signal", token(value, "code"))


async def observations(request: Request) -> Response:
    """Search: `patient`, `code` (LOINC, our code, or a signal for waves), `date`, `_count`."""
    here, tenant = place(request)
    patient, code, span = _patient(request), _code(request), _span(request, here)
    where = {"tenant": tenant, "patient": patient} | ({code[0]: code[1]} if code else {})
    waves = code is not None and code[0] == "signal"
    make = resources.sampled if waves else resources.observation
    query = queries.waveforms if waves else queries.observations

    async def fetch(part: Span) -> tuple[list[Resource], str | None]:
        rows = await here.database.rows(*query(where, part))
        return [make(row, patient) for row in rows], part.next(rows)

    return await _found(request, span, fetch)


async def observation(request: Request) -> Response:
    """Read: a reading or a frame of a wave."""
    here, tenant = place(request)
    wanted = request.path_params["id"]
    ts = wanted.partition("-")[0]
    if ts.isdigit() and len(ts) < 20:
        for query, make in (
            (queries.observations_at, resources.observation),
            (queries.waveforms_at, resources.sampled),
        ):
            for row in await here.database.rows(*query(tenant, int(ts))):
                if resources.row_id(row) == wanted:
                    return _answer(make(row, row["patient"]))
    raise ProblemError(404, f"there is no Observation {wanted}")


async def flags(request: Request) -> Response:
    """Search of alerts: `patient`, `status=active` for those that stand, `date` of their transitions."""
    here, tenant = place(request)
    asked = request.query_params.get("patient")
    where = {"tenant": tenant} | ({"patient": _patient(request)} if asked else {})
    if request.query_params.get("status") == "active":
        fits = [one for one in here.hub.standing(tenant) if all(one[name] == value for name, value in where.items())]
        base = str(request.url.replace(path=PREFIX, query=""))
        return _answer(resources.searchset([resources.flag(one) for one in fits], base, str(request.url), None))

    async def fetch(part: Span) -> tuple[list[Resource], str | None]:
        rows = await here.database.rows(*queries.alert_history(where, part))
        latest: dict[str, dict[str, Any]] = {}
        for row in rows:
            alert = json.loads(row["body"])
            before = latest.get(alert["alert_id"])
            if before is None or before["transition"] < alert["transition"]:
                latest[alert["alert_id"]] = alert
        return [resources.flag(alert) for alert in latest.values()], part.next(rows)

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
        "Observation": (both, ["patient", "code", "date"]),
        "Flag": (both, ["patient", "status", "date"]),
        "Device": (both[1:], ["patient"]),
        "Patient": (both[:1], []),
    }
    served = [
        {"type": name, "interaction": can} | ({"searchParam": _search(names)} if names else {})
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
        "/Patient/{id}": patient,
    }
    return [Route(path, _saying(handler)) for path, handler in routes.items()]
