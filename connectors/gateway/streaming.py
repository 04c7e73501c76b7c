"""The gateway's gRPC listener: `vitals.v1.Ingest/Upload`, health and reflection.

A stream in groups: what has arrived while JetStream stored the last group is the next one. So one frame at a time is
answered at once, a back-fill fills groups of `_GROUP`, and no more than two groups of a call are ever in memory: a
sender that is faster than its rate, or that does not read its answers, is held back by HTTP/2's own flow control.
"""

import asyncio
import contextlib
import logging
from collections import Counter as Tally
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from connectors.gateway.admission import Admission
from connectors.gateway.ingest import Stored
from connectors.gateway.problems import FieldError, RefusedError
from connectors.identity.registry import Credential
from connectors.identity.roles import MAX_PAYLOAD
from dataflows.contracts import ingest_pb2
from dataflows.settings import GatewaySettings

logger = logging.getLogger(__name__)
SERVICE = ingest_pb2.DESCRIPTOR.services_by_name["Ingest"].full_name
ROUTE = "grpc"

_GROUP = 64
_CALLS_PER_DEVICE = 4
_HEALTH_S = 0.2
_GRACE_S = 2.0
_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    408: grpc.StatusCode.DEADLINE_EXCEEDED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}

Context = grpc.aio.ServicerContext[bytes, ingest_pb2.Ack]


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

    def handler(self) -> grpc.GenericRpcHandler:
        """What the server calls. Requests stay bytes: a frame is stored as it came, a bad one is answered."""
        method: grpc.RpcMethodHandler[bytes, ingest_pb2.Ack] = grpc.stream_stream_rpc_method_handler(
            self.upload, request_deserializer=None, response_serializer=ingest_pb2.Ack.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Upload": method})

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


@contextlib.asynccontextmanager
async def streaming(admission: Admission, settings: GatewaySettings) -> AsyncIterator[int]:
    """Listens for the time of a `with`; yields the port.

    Raises:
        RuntimeError: The port is taken.
    """
    server = grpc.aio.server(
        maximum_concurrent_rpcs=settings.connections,
        options=[
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not shared
            # The listener for NATS takes no larger message either; of what is compressed nobody knows how large it is.
            ("grpc.max_receive_message_length", MAX_PAYLOAD),
            ("grpc.compression_enabled_algorithms_bitset", 1),
            ("grpc.max_metadata_size", 8192),
            # Who vanished is noticed; who asks too often is told to stop.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.max_concurrent_streams", 16),
        ],
    )
    server.add_generic_rpc_handlers((Upload(admission, settings).handler(),))
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = f"{settings.host}:{settings.grpc_port}"
    if settings.tls_cert and settings.tls_key:
        port = server.add_secure_port(address, _credentials(settings.tls_cert, settings.tls_key))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    reporting = asyncio.create_task(_report(healthy, admission))
    try:
        yield port
    finally:
        reporting.cancel()
        await server.stop(_GRACE_S)


def _credentials(certificate: Path, key: Path) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])


async def _report(healthy: "health.aio.HealthServicer", admission: Admission) -> None:
    """Keeps the health service at what the gateway can do."""
    said = None
    while True:
        if admission.ingest.ready != said:
            said = admission.ingest.ready
            serving = health_pb2.HealthCheckResponse.SERVING if said else health_pb2.HealthCheckResponse.NOT_SERVING
            for service in ("", SERVICE):
                await healthy.set(service, serving)
        await asyncio.sleep(_HEALTH_S)
