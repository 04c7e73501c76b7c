"""The gateway's description (OpenAPI 3.1), at `/v1/openapi.json`."""

from typing import Any

from connectors.gateway.vocabulary import CODES, UCUM

_STRING = {"type": "string"}
_INTEGER = {"type": "integer"}
_READING = {
    "type": "object",
    "required": ["code", "value", "unit", "time"],
    "additionalProperties": False,
    "properties": {
        "code": {"type": "string", "enum": sorted(CODES)},
        "value": {"type": "number"},
        "unit": {"type": "string", "enum": sorted(UCUM)},
        "time": {"type": "string", "format": "date-time"},
        "quality_pct": {"type": "integer", "minimum": 0, "maximum": 100},
    },
}
_FHIR = {"type": "object", "required": ["resourceType"], "properties": {"resourceType": _STRING}}
SCHEMAS: dict[str, Any] = {
    "Stored": {
        "type": "object",
        "required": ["stored", "duplicates", "log_seq"],
        "properties": {"stored": _INTEGER, "duplicates": _INTEGER, "log_seq": _INTEGER},
    },
    "Problem": {
        "type": "object",
        "required": ["title", "status", "detail"],
        "properties": {
            "type": _STRING,
            "title": _STRING,
            "status": _INTEGER,
            "detail": _STRING,
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["index", "reason", "detail"],
                    "properties": {"index": _INTEGER, "reason": _STRING, "field": _STRING, "detail": _STRING},
                },
            },
        },
    },
    "Frame": {"type": "object", "description": "vitals.v1.Frame in the JSON of Protobuf"},
    "Frames": {"oneOf": [{"$ref": "#/components/schemas/Frame"}, {"type": "array", "items": {"type": "object"}}]},
    "Observations": {
        "type": "object",
        "required": ["observations"],
        "additionalProperties": False,
        "properties": {"observations": {"type": "array", "minItems": 1, "items": _READING}},
    },
    "Fhir": _FHIR,
    "Health": {"type": "object", "required": ["ready"], "properties": {"ready": {"type": "boolean"}}},
}


def _content(**kinds: str) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for kind, schema in kinds.items()}


def _binary(*kinds: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}


_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSALS = {
    "400": "no JSON, or the body was cut off",
    "401": "no key, or one that is unknown, revoked or expired",
    "408": "the body came too slowly",
    "413": "the body or the batch is too large",
    "415": "another content type, or a compressed body",
    "422": "an entry would be rejected; nothing was stored; says which entry and why",
    "429": "over the device's rate; Retry-After says when",
    "503": "JetStream does not answer; send the same again",
}


def _post(summary: str, content: dict[str, Any]) -> dict[str, Any]:
    stored = {"application/json": {"schema": {"$ref": "#/components/schemas/Stored"}}}
    responses: dict[str, Any] = {"202": {"description": "in the log: JetStream has acknowledged", "content": stored}}
    responses |= {status: {"description": text, "content": _PROBLEM} for status, text in _REFUSALS.items()}
    return {"post": {"summary": summary, "requestBody": {"required": True, "content": content}, "responses": responses}}


def document() -> dict[str, Any]:
    """Returns the description."""
    frames = _content(**{"application/json": "Frames"})
    frames |= _binary("application/x-protobuf", "application/vnd.vitals.frames")
    fhir = _content(**{"application/fhir+json": "Fhir"})
    health = {"application/json": {"schema": {"$ref": "#/components/schemas/Health"}}}
    ready = {"200": {"description": "ready", "content": health}, "503": {"description": "not yet", "content": health}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vitals gateway", "version": "1", "description": "The way in over HTTP: docs/devices.md."},
        "paths": {
            "/v1/frames": _post("Frames: one, or a batch", frames),
            "/v1/observations": _post("Readings", _content(**{"application/json": "Observations"}) | fhir),
            "/v1/questionnaires": _post("A QuestionnaireResponse", fhir),
            "/v1/health": {"get": {"summary": "Whether it takes frames", "security": [], "responses": ready}},
        },
        "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }
