"""The gateway's application: routes and what is counted. `vitals gateway` runs it."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.gateway import fhir
from connectors.gateway.admission import REQUESTS, Admission
from connectors.gateway.limits import read_body
from connectors.gateway.openapi import document
from connectors.gateway.problems import RefusedError
from connectors.gateway.translate import JSON, frames_of, json_of, numeric_frames, simple_readings
from connectors.local.ports import LOOPBACK_HOSTS
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin
from dataflows.settings import GatewaySettings, Settings

logger = logging.getLogger(__name__)
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
        settings: Limits of a request.
        admission: Who and what is let in.
    """

    def __init__(self, settings: GatewaySettings, admission: Admission) -> None:
        self._settings, self._admission = settings, admission

    def route(self, name: str, translate: Translate) -> Route:
        """Returns the route `POST /v1/<name>`."""

        async def handle(request: Request) -> Response:
            try:
                response = await self._take(request, name, translate)
            except RefusedError as error:
                self._admission.refused(name, request.client.host if request.client else "unknown", error)
                return error.response()
            REQUESTS.labels(name, "stored").inc()
            return response

        return Route(f"/v1/{name}", handle, methods=["POST"])

    async def _take(self, request: Request, name: str, translate: Translate) -> Response:
        # Whoever has no key costs no more than its headers: the body is read after the key is known.
        credential = self._admission.identify(request.headers.get("authorization", ""))
        body = await read_body(request, self._settings.max_body_bytes, self._settings.body_s)
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        frames = translate(content_type, body, credential.origin)
        stored = await self._admission.take(frames, credential, name)
        answer = {
            "stored": len(stored),
            "duplicates": sum(one.duplicate for one in stored),
            "log_seq": stored[-1].log_seq,
        }
        return Response(msgspec.json.encode(answer), 202, media_type=JSON)

    async def health(self, _: Request) -> Response:
        """`GET /v1/health`: 200 when frames can be taken."""
        ready = self._admission.ingest.ready
        return Response(msgspec.json.encode({"ready": ready}), 200 if ready else 503, media_type=JSON)


async def _openapi(_: Request) -> Response:
    return Response(msgspec.json.encode(document()), media_type=JSON)


def application(settings: Settings) -> Starlette:
    """Returns the gateway's application; with `gateway.grpc_port` it listens for gRPC as long as it runs.

    Raises:
        UnsafeError: It would listen beyond loopback without TLS.
    """
    door = settings.gateway
    if door.host not in LOOPBACK_HOSTS and not (door.tls_cert and door.tls_key):
        message = (
            f"gateway.host {door.host} is not loopback: keys would travel in clear. Name a certificate in "
            "gateway.tls_cert and tls_key (`vitals certs`), or put a TLS proxy before it on this machine"
        )
        raise UnsafeError(message)
    admission = Admission(settings)
    gateway = Gateway(door, admission)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(admission.ingest.run())
        async with contextlib.AsyncExitStack() as stack:
            if door.grpc_port:
                from connectors.gateway.streaming import streaming  # noqa: PLC0415  (an optional extra)

                await stack.enter_async_context(streaming(admission, door))
            yield
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    routes = [gateway.route(name, translate) for name, translate in ROUTES.items()]
    routes += [Route("/v1/openapi.json", _openapi), Route("/v1/health", gateway.health)]
    return Starlette(routes=routes, lifespan=lifespan)
