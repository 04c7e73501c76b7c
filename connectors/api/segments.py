"""Routes that give more than rows: waves as JSON, Arrow or WFDB, and the alarm burden."""

import asyncio
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import polars as pl
from starlette.requests import Request
from starlette.responses import Response

from connectors.api import queries, requests
from connectors.api.context import place
from connectors.api.problems import JsonResponse, ProblemError
from connectors.burden import burden
from connectors.export.record import ExportError, PatientRecord
from connectors.export.wfdb_files import write_wfdb
from connectors.lake.rows import counts

ARROW = "application/vnd.apache.arrow.stream"
_SCHEMA: dict[str, Any] = {
    **{"ts_ns": pl.Int64, "device": pl.String, "boot": pl.Int64, "signal": pl.String, "seq": pl.Int64},
    **{"fs_hz": pl.Float64, "lsb": pl.Float64, "status": pl.Int64, "stored": pl.Boolean},
    **{"first_sample": pl.Int64, "samples": pl.List(pl.Float64)},
}
_MOST_TRANSITIONS = 100_000


async def waveforms(request: Request) -> Response:
    """Frames of a wave with their samples, as JSON, as an Arrow stream, or as a WFDB record in a zip."""
    here, tenant = place(request)
    patient = requests.token(request.path_params["patient"], "patient")
    signal = requests.token(request.path_params["signal"], "signal")
    where = {"tenant": tenant, "patient": patient, "signal": signal} | requests.optional(request, "device")
    span = requests.span(request, min(here.settings.web.max_rows, 3600), 10.0)
    form = request.query_params.get("format", "json")
    if form not in {"json", "arrow", "wfdb"}:
        raise ProblemError(422, "format: json, arrow or wfdb")
    rows = await here.database.rows(*queries.waveforms(where, span))
    following = span.next(rows)
    if form == "json":
        return JsonResponse({"frames": rows, "next": following})
    frame = pl.DataFrame(rows, schema=_SCHEMA)
    headers = {"Vitals-Next": following} if following else {}
    if form == "arrow":
        body = io.BytesIO()
        frame.write_ipc_stream(body)
        return Response(body.getvalue(), media_type=ARROW, headers=headers)
    try:
        packed = await asyncio.to_thread(_wfdb, frame, PatientRecord(tenant, patient, span.from_ns, span.to_ns, {}))
    except ExportError as error:
        raise ProblemError(404, str(error)) from error
    headers["Content-Disposition"] = f'attachment; filename="{patient}_{signal}.zip"'
    return Response(packed, media_type="application/zip", headers=headers)


def _wfdb(frame: pl.DataFrame, empty: PatientRecord) -> bytes:
    """A zip with header and signal file of the frames."""
    samples = [counts(one, lsb) for one, lsb in frame.select("samples", "lsb").iter_rows()]
    moment = pl.col("ts_ns").cast(pl.Datetime("ns", "UTC")).alias("ts")
    # Arrays of one length become a column of arrays, whatever type is asked for.
    waves = frame.with_columns(pl.Series("samples", samples).cast(pl.List(pl.Int16)), moment)
    record = PatientRecord(empty.tenant, empty.patient, empty.from_ns, empty.to_ns, {"waveforms": waves})
    body = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as packed:
        write_wfdb(record, Path(folder))
        for path in sorted(Path(folder).iterdir()):
            packed.write(path, path.name)
    return body.getvalue()


async def burden_report(request: Request) -> Response:
    """The alarm burden of a span, a day when none is named."""
    here, tenant = place(request)
    asked = requests.span(request, here.settings.web.max_rows, 86400.0)
    span = queries.Span(asked.from_ns, asked.to_ns, _MOST_TRANSITIONS)
    rows, before, suppressed, patients = await asyncio.gather(
        here.database.rows(*queries.burden_alerts(tenant, span)),
        here.database.rows(*queries.burden_stood(tenant, span)),
        here.database.rows(*queries.burden_suppressed(tenant, span)),
        here.database.rows(*queries.monitored(tenant, span)),
    )
    if len(rows) == _MOST_TRANSITIONS:
        raise ProblemError(422, f"more than {_MOST_TRANSITIONS} transitions: ask for a shorter span")
    for row in rows:
        row["repeats"] = int(json.loads(row.pop("body")).get("repeats", 0))
    texts = ("tenant", "patient", "alert_id", "rule", "priority", "kind", "event", "state", "reason")
    schema = {"log_ns": pl.Int64, **dict.fromkeys(texts, pl.String), "transition": pl.Int64, "notify": pl.Boolean}
    transitions = pl.DataFrame(rows, schema=schema | {"repeats": pl.Int64})
    told_to_nobody = [{"rule": row["rule"], "reason": row["reason"]} for row in suppressed for _ in range(row["n"])]
    spared = pl.DataFrame(told_to_nobody, schema={"rule": pl.String, "reason": pl.String})
    stood = pl.DataFrame(before, schema=dict.fromkeys(("tenant", "patient", "alert_id"), pl.String))
    bounds = {"from_ns": span.from_ns, "to_ns": span.to_ns}
    return JsonResponse(burden(transitions, spared, stood, patients=len(patients), **bounds).as_dict())
