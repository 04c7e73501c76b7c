"""The gateway's application: routes and what is counted. `vitals gateway` runs it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from prometheus_client import Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.gateway import fhir
from connectors.gateway.ingest import Ingest
from connectors.gateway.limits import RateLimit, read_body
from connectors.gateway.openapi import document
from connectors.gateway.problems import RefusedError
from connectors.gateway.translate import JSON, frames_of, json_of, numeric_frames, simple_readings
from connectors.local.ports import LOOPBACK_HOSTS
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
REQUESTS = Counter("vitals_gateway_requests", "Requests by route and what became of them", ["route", "outcome"])
FRAMES = Counter("vitals_gateway_frames", "Frames stored", ["route"])
FHIR_JSON = "application/fhir+json"

Translate = Callable[[str, bytes, Origin], list[pb.Frame]]


class UnsafeError(ValueError):
    """The gateway would send keys in clear over a network; says how to do better."""


def _observations(content_type: str, body: bytes, origin: Origin) -> list[pb.Frame]:
    value = _json_object(content_type, body)
    readings = fhir.observation_readings(value, origin) if "resourceType" in value else simple_readings(value)
    return numeric_frames(origin, readings)


def _questionnaires(content_type: str, body: bytes, origin: Origin) -> list[pb.Frame]:
    return fhir.questionnaire_frames(_json_object(content_type, body), origin)


def _json_object(content_type: str, body: bytes) -> dict[str, Any]:
    if content_type not in {JSON, FHIR_JSON}:
        raise RefusedError(415, "content_type", f"Content-Type {content_type[:60]!r}: send {JSON} or {FHIR_JSON}")
    value = json_of(body)
    if not isinstance(value, dict):
        raise RefusedError(422, "invalid", "the body must be a JSON object")
    return value


ROUTES: dict[str, Translate] = {
    "frames": frames_of,
    "observations": _observations,
    "questionnaires": _questionnaires,
}


class Gateway:
    """What the routes share.

    Args:
        settings: Limits, and where NATS is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.gateway
        self.ingest = Ingest(settings)
        self._rate = RateLimit(settings.gateway.frames_per_s, settings.gateway.burst_frames)

    def route(self, name: str, translate: Translate) -> Route:
        """Returns the route `POST /v1/<name>`."""

        async def handle(request: Request) -> Response:
            try:
                response = await self._take(request, name, translate)
            except RefusedError as error:
                REQUESTS.labels(name, error.title).inc()
                # The address and the reason; never the key, never the body.
                address = request.client.host if request.client else "unknown"
                logger.warning("gateway refused %s from %s: %s (%s)", name, address, error.title, error.status)
                return error.response()
            REQUESTS.labels(name, "stored").inc()
            return response

        return Route(f"/v1/{name}", handle, methods=["POST"])

    async def _take(self, request: Request, name: str, translate: Translate) -> Response:
        # Whoever has no key costs no more than its headers: the body is read after the key is known.
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise RefusedError(401, "key_missing", "a key is needed: Authorization: Bearer KEY")
        credential = self.ingest.identify(presented.strip())
        body = await read_body(request, self._settings.max_body_bytes, self._settings.body_s)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        frames = translate(content_type, body, credential.origin)
        if not frames:
            raise RefusedError(422, "empty", "the request holds nothing to store")
        self._rate.take(credential.key, len(frames))
        stored = await self.ingest.store(frames, credential, name)
        FRAMES.labels(name).inc(len(stored))
        answer = {
            "stored": len(stored),
            "duplicates": sum(one.duplicate for one in stored),
            "log_seq": stored[-1].log_seq,
        }
        return Response(msgspec.json.encode(answer), 202, media_type=JSON)

    async def health(self, _: Request) -> Response:
        """`GET /v1/health`: 200 when frames can be taken."""
        ready = self.ingest.ready
        return Response(msgspec.json.encode({"ready": ready}), 200 if ready else 503, media_type=JSON)


async def _openapi(_: Request) -> Response:
    return Response(msgspec.json.encode(document()), media_type=JSON)


def application(settings: Settings) -> Starlette:
    """Returns the gateway's application.

    Raises:
        UnsafeError: It would listen beyond loopback without TLS.
    """
    if settings.gateway.host not in LOOPBACK_HOSTS and not (settings.gateway.tls_cert and settings.gateway.tls_key):
        message = (
            f"gateway.host {settings.gateway.host} is not loopback: keys would travel in clear. Name a certificate in "
            "gateway.tls_cert and tls_key (`vitals certs`), or put a TLS proxy before it on this machine"
        )
        raise UnsafeError(message)
    gateway = Gateway(settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.gateway = gateway
        task = asyncio.create_task(gateway.ingest.run())
        yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    routes = [gateway.route(name, translate) for name, translate in ROUTES.items()]
    routes += [Route("/v1/openapi.json", _openapi), Route("/v1/health", gateway.health)]
    return Starlette(routes=routes, lifespan=lifespan)
