"""The application: routes, life span, headers. `connectors.cli.dashboard` runs it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from connectors.api import access, commands, problems, reads, rules, segments, status
from connectors.api.context import Context, context
from connectors.api.database import Database, DatabaseUnavailableError
from connectors.api.events import alert_events
from connectors.api.hub import Hub
from connectors.api.live import live
from connectors.api.openapi import document
from connectors.api.readers import Readers
from connectors.api.requests import token
from connectors.fhir import routes as fhir
from connectors.fhir.resources import patient_id_of
from connectors.local.ports import LOOPBACK_HOSTS
from connectors.rules import read_rules
from dataflows._native import Validator
from dataflows.settings import Settings

if TYPE_CHECKING:
    from connectors.api.oidc import Issuer

PREFIX = "/api/v1"
MAX_BODY_BYTES = 64 * 1024
WEBSOCKETS: dict[str, Any] = {"ws": "websockets-sansio", "ws_max_size": 64 * 1024}
"""What uvicorn is told of them."""
_BODY_S = 10.0
_MAX_COOKIE_BYTES = 3800
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'none'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
}


class UnsafeError(ValueError):
    """The server would let strangers in; says how to do better."""


class _Headers:
    """Security headers on every answer; what the API says of patients is kept by no cache."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = message.setdefault("headers", [])
                headers += _HEADERS.items()
                cache = b"no-store" if scope["path"].startswith((PREFIX, fhir.PREFIX)) else b"no-cache"
                headers.append((b"cache-control", cache))
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


_OF_PATIENTS = (f"{PREFIX}/patients", f"{PREFIX}/alerts", f"{PREFIX}/burden", fhir.PREFIX)


class _Noted:
    """Puts reads of patients into AUDIT before they are answered; what is refused or absent was not read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                await _note(scope)
            await send(message)

        reads_patients = scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(_OF_PATIENTS)
        await self._app(scope, receive, noting if reads_patients else send)


class _Prepared:
    """Has what is needed to check a request's token, before anything asks who it is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"} and scope["path"].startswith((PREFIX, fhir.PREFIX)):
            connection = HTTPConnection(scope)
            await context(connection).access.prepare(connection)
        await self._app(scope, receive, send)


async def _note(scope: Scope) -> None:
    here, connection = context(HTTPConnection(scope)), HTTPConnection(scope)
    identity, asked = here.access.identify(connection), connection.query_params
    given, in_fhir = scope.get("path_params", {}), scope["path"].startswith(fhir.PREFIX)
    own = given.get("id") if scope["path"].startswith(f"{fhir.PREFIX}/Patient/") else given.get("patient")
    patient = own or asked.get("patient") or asked.get("subject") or ""
    tenant = identity.tenant_of(asked.get("tenant"))
    route = scope["path"].replace(f"/{patient}", "/*") if patient else scope["path"]
    # A person has one name in AUDIT, however FHIR has to write it.
    name = patient_id_of(patient) if in_fhir else patient
    await here.readers.note(here.hub.client, identity, tenant, name, route)


async def body_of(request: Request) -> bytes:
    """Returns the body.

    Raises:
        ProblemError: It is larger than a command can be, no JSON by its type, or not here within 10 s.
    """
    # A form of another site cannot say this type, so it cannot forge a request.
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise problems.ProblemError(415, "the body must be application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise problems.ProblemError(413, f"at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise problems.ProblemError(408, f"the body was not complete within {_BODY_S:g} s") from None
    return bytes(body)


async def _command(request: Request) -> Response:
    here = context(request)
    identity = here.access.identify(request, changes=True)
    wanted = request.query_params.get("tenant")
    place = (identity.tenant_of(wanted), token(request.path_params["patient"], "patient"))
    name, body = request.path_params["name"], await body_of(request)
    asked = {"identity": identity, "place": place, "name": name, "body": body}
    stored = await commands.send(here.hub.client, here.validator, here.settings, **asked)
    fields = {"log_seq": stored.log_seq, "duplicate": stored.duplicate, "actor": stored.actor}
    return problems.JsonResponse(fields, 202)


class _Session(msgspec.Struct):
    key: str


async def _session(request: Request) -> Response:
    """Puts a key into the browser's cookie: the one way for pages, which cannot set headers on a WebSocket."""
    here = context(request)
    try:
        key = msgspec.json.decode(await body_of(request), type=_Session).key
    except msgspec.MsgspecError as error:
        raise problems.ProblemError(422, f"the body must be {{key}}: {error}") from error
    if len(key) > _MAX_COOKIE_BYTES:
        raise problems.ProblemError(413, f"a browser keeps at most {_MAX_COOKIE_BYTES} bytes of key or token")
    identity = await here.access.admit(key)
    fields = {"name": identity.name, "role": identity.role.name.lower(), "tenant": identity.tenant_of(None)}
    response = problems.JsonResponse({**fields, "keys_needed": not here.access.open})
    secure = here.settings.web.secure_cookie or here.settings.web.tls_cert is not None
    age_s = None if identity.expires_s is None else max(0, int(identity.expires_s - time.time()))
    response.set_cookie(access.COOKIE, key, max_age=age_s, httponly=True, samesite="strict", path="/api", secure=secure)
    return response


async def _openapi(_: Request) -> Response:
    return problems.JsonResponse(document())


def api_routes() -> list[BaseRoute]:
    """Returns the routes of the API, without their prefix."""
    return [
        Route("/openapi.json", _openapi),
        Route("/me", reads.me),
        Route("/session", _session, methods=["POST"]),
        Route("/patients", reads.patients),
        Route("/patients/{patient}/latest", reads.latest),
        Route("/patients/{patient}/observations", reads.observations),
        Route("/patients/{patient}/beats", reads.beats),
        Route("/patients/{patient}/scores", reads.scores),
        Route("/patients/{patient}/waveforms/{signal}", segments.waveforms),
        Route("/patients/{patient}/commands/{name}", _command, methods=["POST"]),
        Route("/patients/{patient}/commands", reads.commands),
        Route("/patients/{patient}/limits", reads.limits),
        Route("/rules", rules.rules),
        Route("/alerts", reads.alerts),
        Route("/alerts/stream", alert_events),
        Route("/burden", segments.burden_report),
        Route("/alerts/{alert_id}", reads.alert),
        Route("/status", status.status),
        WebSocketRoute("/live", live),
    ]


def _check_safe(settings: Settings) -> None:
    web = settings.web
    if web.host in LOOPBACK_HOSTS:
        return
    if web.keys is None and not settings.oidc.issuer:
        message = f"web.host is {web.host}: other than loopback needs web.keys or oidc.issuer (docs/api.md)"
        raise UnsafeError(message)
    if not (web.tls_cert and web.tls_key) and not web.secure_cookie:
        message = (
            f"web.host is {web.host}: keys would travel in clear. Name a certificate in web.tls_cert and tls_key "
            "(`vitals certs`), or say web.secure_cookie where a TLS proxy stands before it"
        )
        raise UnsafeError(message)


def _issuer(settings: Settings) -> "Issuer | None":
    if not settings.oidc.issuer:
        return None
    from connectors.api.oidc import Issuer  # noqa: PLC0415  (a library that only those need who have an issuer)

    return Issuer(settings.oidc)


def application(settings: Settings, pages: Path | None = None) -> Starlette:
    """Returns the server's application.

    Args:
        settings: Where NATS and QuestDB are, who may ask.
        pages: Folder of static files to serve beside the API.

    Raises:
        UnsafeError: It would listen on other than loopback without keys or TLS.
        KeysError: The file of keys cannot be used.
        RuleError: A file of rules cannot be used.
    """
    web = settings.web
    _check_safe(settings)
    issuer = _issuer(settings)
    allowed, known = access.Access(web.keys, issuer), read_rules(settings.flow.rules)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        validator = Validator(max_ahead_s=settings.flow.max_ahead_s)
        hub, database = Hub(settings, validator), Database(settings.questdb)
        app.state.context = Context(settings, allowed, database, hub, validator, Readers(settings), known)
        tasks = [asyncio.create_task(hub.run())]
        tasks += [asyncio.create_task(issuer.run())] if issuer else []
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await database.close()

    routes: list[BaseRoute] = [Mount(PREFIX, routes=api_routes()), Mount(fhir.PREFIX, routes=fhir.fhir_routes())]
    if pages is not None:
        routes.append(Mount("/", StaticFiles(directory=pages, html=True)))
    handlers = {
        problems.ProblemError: problems.on_problem,
        DatabaseUnavailableError: problems.on_database_down,
        404: problems.on_missing,
    }
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(_Headers), Middleware(_Prepared), Middleware(_Noted)],
        exception_handlers=handlers,
    )
