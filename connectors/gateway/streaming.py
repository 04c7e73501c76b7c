"""The gateway's gRPC listener: `vitals.v1.Ingest/Upload`, health and reflection.

A stream in groups: what has arrived while JetStream stored the last group is the next one. So one frame at a time is
answered at once, a back-fill fills groups of `_GROUP`, and no more than two groups of a call are ever in memory: a
sender that is faster than its rate, or that does not read its answers, is held back by HTTP/2's own flow control.
"""

import asyncio
import contextlib
import logging
import os
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

# Before it is loaded: what its core writes to stderr are bytes of strangers, keys among them.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from connectors.gateway.admission import Admission
from connectors.gateway.ingest import Stored
from connectors.gateway.problems import FieldError, RefusedError
from connectors.identity.registry import Credential
from connectors.identity.roles import MAX_PAYLOAD
from dataflows.contracts import ingest_pb2
from dataflows.settings import GatewaySettings

logger = logging.getLogger(__name__)
# A header that is no UTF-8 would be logged whole, and may be a key.
logging.getLogger("grpc._cython.cygrpc").addFilter(lambda record: "Invalid encoding" not in record.msg)
SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"].full_name
ROUTE = "grpc"

_GROUP = 64
_CALLS_PER_DEVICE = 4
_CALLS_WITHOUT_KEY = 32
_CALL_WITHOUT_KEY_S = 10.0
_GRACE_S = 2.0
_PENDING = 1000
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[bytes, ingest_pb2.Ack]
Answers = Callable[[AsyncIterator[Any], Any], AsyncIterator[Any]]


class Upload:
    """The call `Upload`.

    Args:
        admission: Who and what is let in.
        settings: Limits of a call.
    """

    def __init__(self, admission: Admission, settings: GatewaySettings) -> None:
        self._admission, self._settings = admission, settings
        self._group = min(_GROUP, settings.burst_frames, settings.tenant_burst_frames)
        self._calls: Tally[str] = Tally()

    def handler(self) -> "grpc.RpcMethodHandler[bytes, ingest_pb2.Ack]":
        """What the server calls. Requests stay bytes: a frame is stored as it came, a bad one is answered."""
        return grpc.stream_stream_rpc_method_handler(
            self.upload, request_deserializer=None, response_serializer=ingest_pb2.Ack.SerializeToString
        )

    async def upload(self, payloads: AsyncIterator[bytes], context: Context) -> AsyncIterator[ingest_pb2.Ack]:
        """Stores the frames of a call; yields an answer for each, in order."""
        metadata = dict(context.invocation_metadata() or ())
        try:
            authorization = str(metadata.get("authorization", ""))
            key = self._admission.identify(authorization).key
            with self._one_more_call(key):
                async for ack in self._answers(payloads, authorization):
                    yield ack
        except RefusedError as error:
            self._admission.refused(ROUTE, context.peer(), error)
            await context.abort(_CODES.get(error.status, grpc.StatusCode.UNKNOWN), f"{error.title}: {error.detail}")

    @contextlib.contextmanager
    def _one_more_call(self, key: str) -> Iterator[None]:
        if self._calls.total() >= self._settings.connections:
            raise RefusedError(503, "busy", f"{self._settings.connections} calls are open: try again", retry_s=1.0)
        if self._calls[key] >= _CALLS_PER_DEVICE:
            raise RefusedError(429, "too_many_calls", f"a device may hold {_CALLS_PER_DEVICE} calls open")
        self._calls[key] += 1
        try:
            yield
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key]

    async def _answers(self, payloads: AsyncIterator[bytes], authorization: str) -> AsyncIterator[ingest_pb2.Ack]:
        arrived: asyncio.Queue[bytes | None] = asyncio.Queue(self._group)

        async def read() -> None:
            async for payload in payloads:
                await arrived.put(payload)
            await arrived.put(None)

        reader = asyncio.create_task(read())
        index = 0
        try:
            while group := await self._next_group(arrived):
                # Asked again for every group: a key that is revoked ends its open calls, too.
                credential = self._admission.identify(authorization)
                for answer in await self._stored(group, credential):
                    yield _ack(index, answer)
                    index += 1
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)  # a call that broke breaks its reader, too

    async def _next_group(self, arrived: "asyncio.Queue[bytes | None]") -> list[bytes]:
        """Returns what has arrived, at least one frame; nothing when the client has ended the call."""
        try:
            async with asyncio.timeout(self._settings.call_idle_s):
                group = [await arrived.get()]
        except TimeoutError:
            idle = f"no frame for {self._settings.call_idle_s:g} s"
            raise RefusedError(408, "idle", idle) from None
        while len(group) < self._group and not arrived.empty() and group[-1] is not None:
            group.append(arrived.get_nowait())
        if group[-1] is None and len(group) > 1:
            arrived.put_nowait(None)
        return [payload for payload in group if payload is not None]

    async def _stored(self, group: list[bytes], credential: Credential) -> list[Stored | FieldError]:
        """Stores a group; a device over its rate waits here for its turn, and with it its call."""
        while True:
            try:
                return await self._admission.take_each(group, credential, ROUTE)
            except RefusedError as error:
                if error.title != "over_rate":
                    raise
                await asyncio.sleep(error.retry_s)


def _ack(index: int, answer: Stored | FieldError) -> ingest_pb2.Ack:
    if isinstance(answer, FieldError):
        return ingest_pb2.Ack(index=index, reason=answer.reason, detail=answer.detail)
    return ingest_pb2.Ack(index=index, log_seq=answer.log_seq, duplicate=answer.duplicate)


class _Registered(cygrpc.AioServer):  # type: ignore[misc]
    """The server of grpcio without its way for calls of methods that nobody registered.

    On that way grpcio decodes the path of every call outside of any handler: one path that is no UTF-8 ended its loop,
    and with it the listener, whoever sent it (1.85.1 and 1.85.3; tests/connectors/gateway/test_raw.py). Calls of other
    methods stay unanswered in the core, `_PENDING` of them at most, until their client gives up.
    """

    def _make_request_call_future(self, method: bytes | None) -> "asyncio.Future[Any]":
        if method is None:
            return asyncio.get_running_loop().create_future()
        future: asyncio.Future[Any] = super()._make_request_call_future(method)
        return future


def _server(options: Sequence[tuple[str, Any]]) -> grpc.aio.Server:
    """Returns a server that is a `_Registered` inside.

    Raises:
        RuntimeError: This grpcio is another one inside: nobody knows whether it is safe.
    """
    if not hasattr(cygrpc.AioServer, "_make_request_call_future"):
        message = f"grpcio {grpc.__version__} is not known to this gateway; pyproject.toml says which are"
        raise RuntimeError(message)
    original = cygrpc.AioServer
    cygrpc.AioServer = _Registered
    try:
        return grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = original


class Public:
    """What needs no key: health and reflection.

    So that nobody without one takes room from devices, such calls are few and short; when there are too many, the
    oldest ends. Each is served as a stream, whatever the client takes it for: a request that never comes would
    otherwise be waited for before any of this is asked. `Watch`, which has no end, is not there.

    Args:
        admission: Whether frames can be taken.
    """

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._open: dict[asyncio.Timeout, None] = {}
        self._described = reflection.aio.ReflectionServicer((SERVICE, _HEALTH, reflection.SERVICE_NAME))

    def handlers(self) -> dict[str, "dict[str, grpc.RpcMethodHandler[Any, Any]]"]:
        """What the server calls, by service and method."""
        kinds = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        methods = {"Check": self._short(self._check, *kinds), "Watch": self._short(self._watch, *kinds)}
        answers = cast("Answers", self._described.ServerReflectionInfo)  # its stub says coroutine
        asked, said = reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
        described = {"ServerReflectionInfo": self._short(answers, asked, said)}
        # The same messages under both names; clients ask for the newer one first.
        newer = reflection.SERVICE_NAME.replace("v1alpha", "v1")
        return {_HEALTH: methods, reflection.SERVICE_NAME: described, newer: described}

    async def _check(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            if request.service not in {"", SERVICE}:
                await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
            kinds = health_pb2.HealthCheckResponse
            yield kinds(status=kinds.SERVING if self._admission.ingest.ready else kinds.NOT_SERVING)
            return

    async def _watch(self, _: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no Watch: ask Check again")
        yield

    def _short(self, answers: Answers, request: Any, response: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        async def call(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            if len(self._open) >= _CALLS_WITHOUT_KEY:
                oldest = next(iter(self._open))
                del self._open[oldest]
                if not oldest.expired():  # one that ends by itself at this moment cannot be told again
                    oldest.reschedule(asyncio.get_running_loop().time())
            try:
                async with asyncio.timeout(_CALL_WITHOUT_KEY_S) as limit:
                    self._open[limit] = None
                    try:
                        async for answer in answers(requests, context):
                            yield answer
                    finally:
                        self._open.pop(limit, None)
            except TimeoutError:
                await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "a call without a key is a short one")

        return grpc.stream_stream_rpc_method_handler(
            call, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )


@contextlib.asynccontextmanager
async def streaming(admission: Admission, settings: GatewaySettings) -> AsyncIterator[int]:
    """Listens for the time of a `with`; yields the port.

    Raises:
        RuntimeError: The port is taken.
    """
    server = _server(
        [
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
            # The listener for NATS takes no larger message either; of what is compressed nobody knows how large it is.
            ("grpc.max_receive_message_length", MAX_PAYLOAD),
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.max_metadata_size", 8192),
            # Who vanished is noticed; who asks too often is told to stop.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            # Who connects and asks nothing is hung up on.
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.max_connection_idle_ms", round(settings.call_idle_s * 1000)),
            ("grpc.http2.max_concurrent_streams", 16),
            ("grpc.server.max_pending_requests", _PENDING // 2),
            ("grpc.server.max_pending_requests_hard_limit", _PENDING),
        ]
    )
    server.add_registered_method_handlers(SERVICE, {"Upload": Upload(admission, settings).handler()})
    for service, methods in Public(admission).handlers().items():
        server.add_registered_method_handlers(service, methods)
    address = f"{settings.host}:{settings.grpc_port}"
    if settings.tls_cert and settings.tls_key:
        port = server.add_secure_port(address, _credentials(settings.tls_cert, settings.tls_key))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(_GRACE_S)


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
