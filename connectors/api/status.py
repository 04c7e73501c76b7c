"""The technical state: is NATS there, how far are the tables, how much waits, what was rejected, the device clocks."""

import asyncio
import contextlib
import time
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError
from starlette.requests import Request
from starlette.responses import Response

from connectors.api import queries
from connectors.api.context import Context, place
from connectors.api.database import DatabaseUnavailableError
from connectors.api.problems import JsonResponse
from dataflows.contracts.tables import TABLES

_REJECTS = 20


async def status(request: Request) -> Response:
    """Answers also when a part is down: the part says so."""
    here, tenant = place(request)
    database, streams = await asyncio.gather(_database(here, tenant), _streams(here))
    return JsonResponse(
        {
            "server_ns": time.time_ns(),
            "nats": here.hub.upstream(),
            "screens": here.hub.screens,
            "rejected_live": here.hub.rejected,
            **streams,
            **database,
        }
    )


async def _database(here: Context, tenant: str) -> dict[str, Any]:
    try:
        tables = await here.database.rows(*queries.TABLE_STATE)
        clocks = await here.database.rows(*queries.clocks(tenant))
    except DatabaseUnavailableError as error:
        return {"database": {"ok": False, "error": str(error)}, "tables": [], "clocks": []}
    described = [
        {
            "table": row["name"],
            "suspended": row["suspended"],
            "pending": int(row["sequencerTxn"]) - int(row["writerTxn"]),
        }
        for row in tables
        if row["name"] in TABLES
    ]
    return {"database": {"ok": True, "error": ""}, "tables": described, "clocks": clocks}


async def _streams(here: Context) -> dict[str, Any]:
    """Messages of each stream, and the last ones that were rejected, with their reasons (not their content)."""
    client, names = here.hub.client, here.settings.streams
    if client is None:
        return {"streams": [], "rejects": []}
    js = client.jetstream(timeout=here.settings.nats.ack_timeout_s)
    try:
        found = [await js.stream_info(name) for name in (names.vitals, names.alerts, names.rejected, names.spill)]
        last, first = found[2].state.last_seq, found[2].state.first_seq
        rejects = []
        for seq in range(last, max(first, last - _REJECTS + 1, 1) - 1, -1):
            with contextlib.suppress(NotFoundError):
                rejects.append(_reject(await js.get_msg(names.rejected, seq)))
    except (NatsError, OSError) as error:
        return {"streams": [], "rejects": [], "streams_error": str(error)}
    streams = [
        {
            "stream": info.config.name,
            "messages": info.state.messages,
            "bytes": info.state.bytes,
            "first_seq": info.state.first_seq,
            "last_seq": info.state.last_seq,
        }
        for info in found
    ]
    return {"streams": streams, "rejects": rejects}


def _reject(message: RawStreamMsg) -> dict[str, Any]:
    headers = message.headers or {}
    found = {name: headers.get(f"Vitals-{name.title()}", "") for name in ("reason", "detail", "subject")}
    log_ns = headers.get("Vitals-Log-Time", "0")
    return {**found, "log_ns": int(log_ns) if log_ns.isdigit() else 0, "bytes": len(message.data or b"")}
