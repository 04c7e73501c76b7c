"""FHIR: Observations a second on one core, from rows to JSON, and through the server as ndjson.

`rows`: `connectors.fhir.resources` and the encoder alone. `server`: GET /fhir/r4/Observation?_format=ndjson of recorded
SpO2 and pulse (the sample of this repository) in a real QuestDB; CPU time of the process that runs the application, its
database client included. `R4B` says how long fhir.resources takes to check one, for comparison.

    python bench/fhir_observations.py [--json FILE]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
from fhir.resources.R4B.observation import Observation
from report import publish

from connectors.api.access import Access
from connectors.api.context import Context
from connectors.api.database import Database
from connectors.api.hub import Hub
from connectors.api.readers import Readers
from connectors.api.server import application
from connectors.batch.sources import Recorded
from connectors.batch.work import judged
from connectors.devices import samples
from connectors.fhir.resources import observation, sampled
from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import ensure_schema
from connectors.questdb.sink import QuestDBSink
from dataflows._native import Validator
from dataflows.alerts.rules import BUILTIN
from dataflows.contracts.tables import OBSERVATIONS, WAVEFORMS
from dataflows.monitor.rows import Row, StoredRows
from dataflows.settings import Settings
from tests.servers import QuestDB

START_NS = 1_795_000_000_000_000_000
ROUNDS = 20


def rows() -> dict[str, list[Row]]:
    """What the flow makes of the sample."""
    found: dict[str, list[Row]] = {}
    for path in samples.ALL:
        for step in judged(Settings(), Recorded(path, None, None, START_NS).log()):
            for name, some in step.output.rows():
                found.setdefault(name, []).extend(some)
    return found


def measured(what: str, table: Any, some: list[Row], make: Any) -> dict[str, Any]:
    """Rows into encoded resources."""
    names = ["ts_ns", *(name for name, _ in table.columns[1:])]
    dicts = [dict(zip(names, row, strict=True)) for row in some]
    began, size = time.process_time(), 0
    for _ in range(ROUNDS):
        size = sum(len(msgspec.json.encode(make(row, "p1"))) for row in dicts)
    spent_s = time.process_time() - began
    each = len(dicts) * ROUNDS / spent_s
    return {"what": what, "resources": len(dicts) * ROUNDS, "a CPU second": each, "bytes each": size / len(dicts)}


async def served(questdb: QuestDB) -> dict[str, Any]:
    """All readings of a patient as ndjson, through the application."""
    settings = Settings(questdb=questdb.settings)
    app = application(settings)
    database = Database(settings.questdb)
    # Nobody connects this hub to NATS: reads are answered, and what could not be noted in AUDIT is logged.
    validator = Validator()
    parts = (database, Hub(settings, validator), validator, Readers(settings), BUILTIN)
    app.state.context = Context(settings, Access(None), *parts)
    transport = httpx.ASGITransport(app)
    count = 0
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        began = time.process_time()
        for _ in range(ROUNDS):
            params = {"patient": "uw_100006", "date": "ge2026-01-01", "_format": "ndjson", "_count": "5000"}
            answer = await client.get("/fhir/r4/Observation", params=params)
            count += len(answer.raise_for_status().text.splitlines())
        spent_s = time.process_time() - began
    await database.close()
    return {"what": "server, ndjson", "resources": count, "a CPU second": count / spent_s}


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = rows()
    lines = [
        measured("rows, readings", OBSERVATIONS, found["observations"], observation),
        measured("rows, a second of ECG", WAVEFORMS, found["waveforms"], sampled),
    ]
    with tempfile.TemporaryDirectory() as folder:
        questdb = QuestDB(Path(folder) / "questdb").start()
        ensure_schema(QuestDBHttp(questdb.settings), questdb.settings)
        patient = questdb.settings.model_copy(update={"ack_timeout_ms": 60_000})
        sink = QuestDBSink(patient, lambda: None).build_part("rows", "questdb/0", None)  # type: ignore[arg-type,return-value]
        sink.write_batch([StoredRows([("observations", found["observations"])])])
        sink.snapshot()
        questdb.reader.wait_applied()
        lines.append(asyncio.run(served(questdb)))
        questdb.stop()
    columns = [name for name, _ in OBSERVATIONS.columns]
    row = dict(zip(["ts_ns", *columns[1:]], found["observations"][0], strict=True))
    began = time.process_time()
    for _ in range(200):
        Observation.model_validate(observation(row, "p1"))
    lines.append(
        {"what": "R4B check (tests only)", "resources": 200, "a CPU second": 200 / (time.process_time() - began)}
    )
    publish({"rows": lines}, arguments.json)


if __name__ == "__main__":
    main()
