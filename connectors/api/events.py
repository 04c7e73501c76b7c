"""Alerts as server-sent events, for programs: every transition of an organisation, none left out.

The id of an event is its sequence in the stream ALERTS, so whoever comes back with `Last-Event-ID` (a browser's
EventSource does by itself) goes on where it was. While NATS is away the connection stays and says so in comments.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from connectors.api import requests
from connectors.api.access import Identity
from connectors.api.context import Context, place
from connectors.api.problems import ProblemError

_LIFE_S = 10.0
"""So often a comment is sent when nothing else is: proxies cut what is silent."""
_RETRY_S = 1.0


async def alert_events(request: Request) -> Response:
    """Transitions from now on, or from behind `Last-Event-ID` (or `after`)."""
    here, tenant = place(request)
    identity = here.access.identify(request)
    wanted = requests.optional(request, "patient", "rule", "priority")
    after = request.headers.get("last-event-id") or request.query_params.get("after", "")
    if after and not (after.isdigit() and len(after) < 20):
        raise ProblemError(422, "Last-Event-ID: the id of an event of before")
    if here.hub.screens + here.hub.listeners >= here.settings.web.max_screens:
        raise ProblemError(503, "too many screens and listeners")
    body = _events(here, identity, tenant, wanted, int(after) if after else None)
    return StreamingResponse(body, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(
    here: Context, identity: Identity, tenant: str, wanted: dict[str, str], last: int | None
) -> AsyncIterator[str]:
    here.hub.listeners += 1
    try:
        while here.access.valid(identity):
            client = here.hub.client
            if client is None or not client.is_connected:
                yield ": NATS is away\n\n"
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                async for text, seq in _transitions(here, client, tenant, wanted, last):
                    last = seq
                    yield text
                    if not here.access.valid(identity):
                        return
            except (NatsError, OSError):
                await asyncio.sleep(_RETRY_S)
    finally:
        here.hub.listeners -= 1


async def _transitions(
    here: Context, client: Client, tenant: str, wanted: dict[str, str], last: int | None
) -> AsyncIterator[tuple[str, int]]:
    """Yields events, and the sequence up to which everything was told."""
    js, stream = client.jetstream(timeout=here.settings.nats.ack_timeout_s), here.settings.streams.alerts
    state = (await js.stream_info(stream)).state
    last = state.last_seq if last is None else last
    if last + 1 < state.first_seq:
        gap = msgspec.json.encode({"from": last + 1, "to": state.first_seq - 1}).decode()
        last = state.first_seq - 1
        yield f"id: {last}\nevent: gap\ndata: {gap}\n\n", last
    subscription = await js.subscribe(
        f"alerts.v1.{tenant}.>",
        stream=stream,
        ordered_consumer=True,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        config=ConsumerConfig(opt_start_seq=last + 1),
    )
    try:
        yield ": here\n\n", last
        while True:
            try:
                message = await subscription.next_msg(timeout=_LIFE_S)
            except TimeoutError:
                if not client.is_connected:
                    return
                yield ": here\n\n", last
                continue
            last = message.metadata.sequence.stream
            alert = msgspec.json.decode(message.data)
            if all(alert[name] == value for name, value in wanted.items()):
                yield f"id: {last}\nevent: alert\ndata: {message.data.decode()}\n\n", last
    finally:
        await subscription.unsubscribe()
