"""Routes that read: patients, numbers, waves, beats, scores, alerts. Each is a page of openapi.py."""

import asyncio
import json
import time
import uuid
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from connectors.api import queries, requests
from connectors.api.context import Context, context, place
from connectors.api.problems import JsonResponse, ProblemError


async def patients(request: Request) -> Response:
    """Every patient of the last day: newest value of each code, score and wave; what is live comes from memory."""
    here, tenant = place(request)
    now_ns = time.time_ns()
    readings, frames, scores = await asyncio.gather(
        here.database.rows(*queries.latest_readings(tenant, now_ns)),
        here.database.rows(*queries.latest_frames(tenant, now_ns)),
        here.database.rows(*queries.latest_scores(tenant, now_ns)),
    )
    found: dict[str, dict[str, Any]] = {}

    def of(row: dict[str, Any]) -> dict[str, Any]:
        name = row.pop("patient")
        empty = {"tenant": tenant, "patient": name, "seen_ns": 0, "values": {}, "waves": [], "scores": {}}
        return found.setdefault(name, empty)

    for row in readings:
        one = of(row)
        one["seen_ns"] = max(one["seen_ns"], row["ts_ns"])
        one["values"][row.pop("code")] = {"source": row.pop("device"), **row}
    for row in frames:
        one = of(row)
        one["seen_ns"] = max(one["seen_ns"], row["ts_ns"])
        one["waves"].append(_wave(row))
    for row in scores:
        one = of(row)
        one["scores"][row.pop("score")] = row
    for tile in here.hub.tiles(tenant):
        before = found.get(tile["patient"], {})
        merged = {**before.get("values", {}), **tile["values"]}
        found[tile["patient"]] = {**tile, "values": merged, "scores": before.get("scores", {})}
    return JsonResponse({"patients": sorted(found.values(), key=lambda one: one["patient"]), "server_ns": now_ns})


def _wave(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("device", "signal", "fs_hz", "status")}


async def latest(request: Request) -> Response:
    """One patient's newest values and scores."""
    here, tenant, patient = _patient(request)
    now_ns = time.time_ns()
    readings, scores, frames = await asyncio.gather(
        here.database.rows(*queries.latest_readings(tenant, now_ns, patient)),
        here.database.rows(*queries.latest_scores(tenant, now_ns, patient)),
        here.database.rows(*queries.latest_frames(tenant, now_ns, patient)),
    )
    seen_ns = max((row["ts_ns"] for row in (*readings, *frames)), default=0)
    values = {row.pop("code"): {"source": row.pop("device"), **row} for row in readings}
    tile = here.hub.tile(tenant, patient)
    if tile is not None:
        values |= tile["values"]
    if not values and not scores and not frames and tile is None:
        raise ProblemError(404, f"nothing of {patient} in the last 24 hours")
    for row in (*values.values(), *scores):
        row.pop("patient", None)
    return JsonResponse(
        {
            "tenant": tenant,
            "patient": patient,
            "values": values,
            "scores": {row.pop("score"): row for row in scores},
            "waves": tile["waves"] if tile else [_wave(row) for row in frames],
            "seen_ns": tile["seen_ns"] if tile else seen_ns,
            "alerts": [one for one in here.hub.standing(tenant) if one["patient"] == patient],
        }
    )


async def observations(request: Request) -> Response:
    """Readings of a patient, one by one or rolled up."""
    here, tenant, patient = _patient(request)
    where = {"tenant": tenant, "patient": patient} | requests.optional(request, "code", "device")
    span, every = requests.span(request, here.settings.web.max_rows), requests.every(request)
    query = queries.observation_rollup(where, span, every) if every else queries.observations(where, span)
    return await _page(here, query, span, "observations")


async def beats(request: Request) -> Response:
    """R peaks of a patient one by one, or heart rate by R-R intervals rolled up."""
    here, tenant, patient = _patient(request)
    where = {"tenant": tenant, "patient": patient} | requests.optional(request, "signal", "device")
    span, every = requests.span(request, here.settings.web.max_rows, 60.0), requests.every(request)
    query = queries.rate_rollup(where, span, every) if every else queries.beats(where, span)
    return await _page(here, query, span, "beats")


async def scores(request: Request) -> Response:
    """Scores of a patient with their parts."""
    here, tenant, patient = _patient(request)
    where = {"tenant": tenant, "patient": patient} | requests.optional(request, "score")
    span = requests.span(request, here.settings.web.max_rows, 86400.0)
    return await _page(here, queries.scores(where, span), span, "scores")


async def alerts(request: Request) -> Response:
    """Alerts that stand now (`state=standing`, from memory), or every transition in a span of the past."""
    here, tenant = place(request)
    where = {"tenant": tenant} | requests.optional(request, "patient", "rule", "priority")
    if request.query_params.get("state") == "standing":
        fits = [one for one in here.hub.standing(tenant) if all(one[name] == want for name, want in where.items())]
        return JsonResponse({"alerts": fits, "next": None})
    span = requests.span(request, here.settings.web.max_rows, 86400.0)
    query = queries.alert_history(where, span)
    rows = await here.database.rows(*query)
    return JsonResponse({"alerts": [json.loads(row["body"]) for row in rows], "next": span.next(rows)})


async def alert(request: Request) -> Response:
    """Every transition of one alert."""
    here, tenant = place(request)
    try:
        alert_id = str(uuid.UUID(request.path_params["alert_id"]))
    except ValueError:
        raise ProblemError(422, "alert_id: a UUID") from None
    rows = await here.database.rows(*queries.alert_transitions(tenant, alert_id))
    if not rows:
        raise ProblemError(404, f"there is no alert {alert_id}")
    return JsonResponse({"alert_id": alert_id, "transitions": [json.loads(row["body"]) for row in rows]})


async def commands(request: Request) -> Response:
    """Commands about a patient, newest first, with what became of them."""
    here, tenant, patient = _patient(request)
    where = {"tenant": tenant, "patient": patient} | requests.optional(request, "name", "result")
    span = requests.span(request, here.settings.web.max_rows, 86400.0)
    return JsonResponse({"commands": await here.database.rows(*queries.commands(where, span))})


async def limits(request: Request) -> Response:
    """Limits of a patient that a command changed, or that came with a profile."""
    here, tenant, patient = _patient(request)
    return JsonResponse({"limits": await here.database.rows(*queries.limits(tenant, patient))})


async def me(request: Request) -> Response:
    """Who the caller is and what they may."""
    here = context(request)
    identity = here.access.identify(request)
    return JsonResponse(
        {
            "name": identity.name,
            "role": identity.role.name.lower(),
            "tenant": identity.tenant_of(None),
            "keys_needed": not here.access.open,
        }
    )


def _patient(request: Request) -> tuple[Context, str, str]:
    here, tenant = place(request)
    return here, tenant, requests.token(request.path_params["patient"], "patient")


async def _page(here: Context, query: queries.Query, span: queries.Span, name: str) -> Response:
    rows = await here.database.rows(*query)
    return JsonResponse({name: rows, "next": span.next(rows)})
