"""The technical state: NATS, the flow, tables, what became of every signal's frames, what was rejected, device clocks.

A key of one organisation sees that organisation's signals, clocks and rejects; the servers' state everybody sees.
"""

import asyncio
import contextlib
import time
from collections import Counter
from typing import Any

from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError
from starlette.requests import Request
from starlette.responses import Response

from connectors.api import queries
from connectors.api.context import Context, place
from connectors.api.database import DatabaseUnavailableError
from connectors.api.problems import JsonResponse
from connectors.jetstream.streams import is_fence
from connectors.questdb.schema import LOGGED

_REJECTS = 20
_MOST_READ = 200
"""Messages of REJECTED that are read for those 20, when others' lie between."""


async def status(request: Request) -> Response:
    """Answers also when a part is down: the part says so."""
    here, tenant = place(request)
    # Whoever may see every organisation sees every reject, also those whose subject names nobody.
    only = here.access.identify(request).tenant
    database, streams = await asyncio.gather(_database(here, tenant), _streams(here, only))
    return JsonResponse(
        {
            "server_ns": time.time_ns(),
            "nats": here.hub.upstream(),
            "flow": here.hub.pipeline.whole(),
            "screens": here.hub.screens,
            "rejected_live": here.hub.rejected,
            **streams,
            **database,
        }
    )


async def _database(here: Context, tenant: str) -> dict[str, Any]:
    now_ns = time.time_ns()
    try:
        tables = await here.database.rows(*queries.TABLE_STATE)
        clocks = await here.database.rows(*queries.clocks(tenant))
        counted = await here.database.rows(*queries.ledger(tenant, now_ns, here.settings.web.max_rows))
        recent = await here.database.rows(*queries.ledger_recent(tenant, now_ns))
    except DatabaseUnavailableError as error:
        return {"database": {"ok": False, "error": str(error)}, "tables": [], "clocks": [], "ledger": []}
    described = [
        {
            "table": row["name"],
            "suspended": row["suspended"],
            "pending": int(row["sequencerTxn"]) - int(row["writerTxn"]),
        }
        for row in tables
        if row["name"] in LOGGED
    ]
    ledger = with_rates(counted, recent)
    return {"database": {"ok": True, "error": ""}, "tables": described, "clocks": clocks, "ledger": ledger}


def with_rates(rows: list[dict[str, Any]], recent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each signal's counts, with the frames a minute between its first and last row of the last minutes.

    None where there are no two: a signal that has just begun, or is heard no more.
    """
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    rates: dict[tuple[str, str, str], float] = {}
    for row in recent:
        key = (row["patient"], row["device"], row["signal"])
        begin = first.setdefault(key, row)
        if row["ts_ns"] > begin["ts_ns"] and row["received"] >= begin["received"]:
            rates[key] = (row["received"] - begin["received"]) * 60e9 / (row["ts_ns"] - begin["ts_ns"])
    return [{**row, "frames_per_min": rates.get((row["patient"], row["device"], row["signal"]))} for row in rows]


async def _streams(here: Context, only: str | None) -> dict[str, Any]:
    """Messages of each stream, and the last ones that were rejected, with their reasons (not their content)."""
    client, names = here.hub.client, here.settings.streams
    if client is None:
        return {"streams": [], "rejects": [], "rejects_by_reason": []}
    js = client.jetstream(timeout=here.settings.nats.ack_timeout_s)
    try:
        found = [await js.stream_info(name) for name in (names.vitals, names.alerts, names.spill)]
        refused = await js.stream_info(names.rejected, subjects_filter="rejected.v1.>")
        rejects = await last_rejects(js, names.rejected, refused.state, only)
    except (NatsError, OSError) as error:
        return {"streams": [], "rejects": [], "rejects_by_reason": [], "streams_error": str(error)}
    streams = [
        {
            "stream": info.config.name,
            "messages": info.state.messages,
            "bytes": info.state.bytes,
            "first_seq": info.state.first_seq,
            "last_seq": info.state.last_seq,
        }
        for info in (*found[:2], refused, found[2])
    ]
    by_reason: Counter[str] = Counter()
    for subject, count in (refused.state.subjects or {}).items() if only is None else ():
        by_reason[subject.split(".")[2]] += count
    reasons = [{"reason": reason, "messages": count} for reason, count in sorted(by_reason.items())]
    return {"streams": streams, "rejects": rejects, "rejects_by_reason": reasons}


async def last_rejects(js: JetStreamContext, stream: str, state: Any, only: str | None) -> list[dict[str, Any]]:
    """Returns the last messages of REJECTED without their content, newest first.

    Args:
        js: Of the pipeline's account.
        stream: Its name there.
        state: Of the stream.
        only: Only those of this organisation; None: of everybody.
    """
    found: list[dict[str, Any]] = []
    for seq in range(state.last_seq, max(state.first_seq, state.last_seq - _MOST_READ + 1, 1) - 1, -1):
        with contextlib.suppress(NotFoundError):
            message = await js.get_msg(stream, seq)
            if is_fence(message.subject or ""):
                continue
            reject = _reject(message)
            # The subject's word goes before the header's, which a bridge writes as it likes.
            of = (message.subject or "").split(".")[3:4] or reject["subject"].split(".")[2:3]
            if only is None or only in of:
                found.append(reject)
        if len(found) == _REJECTS:
            break
    return found


def _reject(message: RawStreamMsg) -> dict[str, Any]:
    headers = message.headers or {}
    # The client gives no text where a header is not ASCII.
    found = {name: str(headers.get(f"Vitals-{name.title()}", "")) for name in ("reason", "detail", "subject")}
    log_ns = headers.get("Vitals-Log-Time", "0")
    return {
        **found,
        "seq": message.seq,
        "log_ns": int(log_ns) if log_ns.isdigit() else 0,
        "bytes": len(message.data or b""),
    }
