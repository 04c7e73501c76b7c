"""The OpenAPI description: written beside the routes, checked against them by tests/connectors/api."""

from typing import Any

from connectors.api.access import COMMAND_ROLES
from connectors.api.queries import EVERY_S

_STRING: dict[str, Any] = {"type": "string"}
_INTEGER: dict[str, Any] = {"type": "integer", "format": "int64"}
_NUMBER: dict[str, Any] = {"type": ["number", "null"]}
_OBJECT: dict[str, Any] = {"type": "object"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}


def _record(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_NEXT = {"type": ["string", "null"], "description": "cursor of the next page; null on the last one"}
_REF_ALERT = {"$ref": "#/components/schemas/Alert"}
_VALUES = {"type": "object", "additionalProperties": _record(value=_NUMBER, unit=_STRING, ts_ns=_INTEGER)}
_TILE = _record(tenant=_STRING, patient=_STRING, seen_ns=_INTEGER, values=_VALUES, waves=_list(_OBJECT), scores=_OBJECT)
SCHEMAS: dict[str, Any] = {
    "Alert": {"type": "object", "description": "a transition: docs/alert.schema.json", "required": ["alert_id"]},
    "Problem": _record(status={"type": "integer"}, detail=_STRING),
    "Patients": _record(patients=_list(_TILE), server_ns=_INTEGER),
    "Latest": _record(
        tenant=_STRING,
        patient=_STRING,
        values=_VALUES,
        scores=_OBJECT,
        waves=_list(_OBJECT),
        seen_ns=_INTEGER,
        alerts=_list(_REF_ALERT),
    ),
    "Observations": _record(observations=_list({"type": "object", "required": ["ts_ns", "code", "unit"]}), next=_NEXT),
    "Beats": _record(beats=_list({"type": "object", "required": ["ts_ns", "signal"]}), next=_NEXT),
    "Scores": _record(scores=_list({"type": "object", "required": ["ts_ns", "score", "value"]}), next=_NEXT),
    "Frames": _record(
        frames=_list(
            _record(
                ts_ns=_INTEGER,
                device=_STRING,
                signal=_STRING,
                seq=_INTEGER,
                fs_hz={"type": "number"},
                first_sample=_INTEGER,
                samples=_list(_NUMBER),
            )
        ),
        next=_NEXT,
    ),
    "Commands": _record(commands=_list({"type": "object", "required": ["log_seq", "name", "result"]})),
    "Limits": _record(
        limits=_list(
            {"type": "object", "required": ["rule", "limit_value", "version"], "properties": {"version": _INTEGER}}
        )
    ),
    "Rules": _record(
        version=_STRING,
        profile=_STRING,
        profiles=_list(_record(profile=_STRING, text=_STRING)),
        rules=_list(
            _record(
                rule=_STRING,
                text=_STRING,
                unit=_STRING,
                priority=_STRING,
                kind=_STRING,
                **dict.fromkeys(("limit", "clear", "delay_s", "severe", "least", "greatest"), _NUMBER),
            )
        ),
    ),
    "Burden": {"type": "object", "required": ["patients", "alerts", "pages", "by_rule", "top_patients", "suppressed"]},
    "Alerts": _record(alerts=_list(_REF_ALERT), next=_NEXT),
    "History": _record(alert_id=_STRING, transitions=_list(_REF_ALERT)),
    "Me": _record(name=_STRING, role=_STRING, tenant=_STRING, keys_needed=_BOOLEAN),
    "Status": _record(
        server_ns=_INTEGER,
        nats=_OBJECT,
        database=_record(ok=_BOOLEAN, error=_STRING),
        tables=_list(_record(table=_STRING, suspended=_BOOLEAN, pending=_INTEGER)),
        streams=_list(_OBJECT),
        flow=_record(known=_BOOLEAN, stale_s=_NUMBER, says=_STRING, lag_s=_NUMBER, partitions=_list(_OBJECT)),
        ledger=_list(_record(ts_ns=_INTEGER, patient=_STRING, device=_STRING, signal=_STRING, received=_INTEGER)),
        rejects=_list(_record(seq=_INTEGER, reason=_STRING, detail=_STRING, subject=_STRING)),
        rejects_by_reason=_list(_record(reason=_STRING, messages=_INTEGER)),
        clocks=_list(_OBJECT),
    ),
    "Stored": _record(log_seq=_INTEGER, duplicate=_BOOLEAN, actor=_STRING),
    "CommandRequest": {
        "type": "object",
        "properties": {"idempotency_key": _STRING, "argument": _OBJECT, "on_behalf_of": _STRING},
        "required": ["idempotency_key"],
        "additionalProperties": False,
    },
    "Session": {"type": "object", "properties": {"key": _STRING}, "required": ["key"]},
}


def _query(name: str, text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": text, "schema": schema or _STRING}


_TENANT = _query("tenant", "organisation; the key's own where it has one")
_SPAN = [
    _query("from", "begin (inclusive): ns since 1970, or ISO 8601 with zone"),
    _query("to", "end (exclusive); now when absent"),
    _query("limit", "most rows in the answer", {"type": "integer", "minimum": 1}),
    _query("cursor", "`next` of the page before"),
]
_EVERY = _query("every", "roll up: mean, low, high and n in each interval", {"type": "string", "enum": list(EVERY_S)})


_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEMS: dict[str, Any] = {
    "4XX": {"description": "refused, with the reason", "content": _PROBLEM},
    "503": {"description": "a part does not answer; try again", "content": _PROBLEM},
}


def _answers(schema: str, status: int = 200, other: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}} | (other or {})
    return {str(status): {"description": "done", "content": content}, **_PROBLEMS}


def _get(text: str, schema: str, *parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"get": {"summary": text, "parameters": [_TENANT, *parameters], "responses": _answers(schema, **more)}}


def _post(text: str, body: str, schema: str, status: int) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}}
    request = {"required": True, "content": content}
    return {"post": {"summary": text, "requestBody": request, "responses": _answers(schema, status)}}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ARROW = {"application/vnd.apache.arrow.stream": _BINARY, "application/zip": _BINARY}
PATHS: dict[str, Any] = {
    "/me": _get("Who the caller is", "Me"),
    "/session": _post("Keep a key in the browser's cookie", "Session", "Me", 200),
    "/patients": _get("Patients of the last day with their newest values", "Patients"),
    "/patients/{patient}/latest": _get("Newest values, scores and standing alerts", "Latest"),
    "/patients/{patient}/observations": _get(
        "Readings, one by one or rolled up",
        "Observations",
        _query("code", "hr, spo2, ..."),
        _query("device", "one device"),
        _EVERY,
        *_SPAN,
    ),
    "/patients/{patient}/beats": _get(
        "R peaks, or heart rate by R-R intervals rolled up",
        "Beats",
        _query("signal", "one lead"),
        _query("device", "one device"),
        _EVERY,
        *_SPAN,
    ),
    "/patients/{patient}/scores": _get("Scores with their parts", "Scores", _query("score", "news2, ..."), *_SPAN),
    "/patients/{patient}/waveforms/{signal}": _get(
        "Frames of a wave in physical units",
        "Frames",
        _query("device", "one device"),
        _query("format", "json, arrow, or wfdb (a zip)", {"type": "string", "enum": ["json", "arrow", "wfdb"]}),
        *_SPAN,
        other=_ARROW,
    ),
    "/patients/{patient}/commands/{name}": _post(
        "Store a command in the log. Roles: " + ", ".join(f"{n} {r.name.lower()}" for n, r in COMMAND_ROLES.items()),
        "CommandRequest",
        "Stored",
        202,
    ),
    "/patients/{patient}/commands": _get(
        "Commands, newest first, with what became of them",
        "Commands",
        _query("name", "one command"),
        _query("result", "done, refused or repeated"),
        *_SPAN[:3],
    ),
    "/patients/{patient}/limits": _get("Limits that were changed for a patient", "Limits"),
    "/rules": _get(
        "Rules with the limits of a profile, and between what a limit may be set",
        "Rules",
        _query("profile", "adult when absent"),
    ),
    "/alerts": _get(
        "Alerts that stand, or every transition of a span",
        "Alerts",
        _query("state", "standing: what stands now", {"type": "string", "enum": ["standing"]}),
        _query("patient", "one patient"),
        _query("rule", "one rule"),
        _query("priority", "one priority"),
        *_SPAN,
    ),
    "/alerts/stream": {
        "get": {
            "summary": "Transitions as server-sent events (`alert`); the header Last-Event-ID goes on behind an event",
            "parameters": [
                _TENANT,
                _query("after", "as Last-Event-ID, for whoever cannot set headers"),
                _query("patient", "one patient"),
                _query("rule", "one rule"),
                _query("priority", "one priority"),
            ],
            "responses": {
                "200": {
                    "description": "for as long as it is read",
                    "content": {"text/event-stream": {"schema": _STRING}},
                },
                **_PROBLEMS,
            },
        }
    },
    "/burden": _get("The alarm burden of a span: alerts, pages, answers, by rule and patient", "Burden", *_SPAN[:2]),
    "/alerts/{alert_id}": _get("Every transition of an alert", "History"),
    "/status": _get("Technical state: flow, streams, tables, ledger of every signal, rejects, clocks", "Status"),
}


def document() -> dict[str, Any]:
    """Returns the description."""
    paths: dict[str, Any] = {}
    for path, item in PATHS.items():
        names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
        fixed = [{"name": name, "in": "path", "required": True, "schema": _STRING} for name in names]
        paths[f"/api/v1{path}"] = {**item, **({"parameters": fixed} if fixed else {})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vitals",
            "version": "1",
            "description": "Reads, commands and alerts. Live strips: WebSocket /api/v1/live, see docs/api.md.",
        },
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }
