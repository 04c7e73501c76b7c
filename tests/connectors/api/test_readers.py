"""Who read what of whom is in AUDIT."""

import asyncio
import json

import pytest

from connectors.api.access import Identity, Role
from connectors.api.readers import UNNOTED, Readers
from connectors.jetstream.connection import connect
from tests.connectors.api.served import TENANT

pytestmark = pytest.mark.services


def audited(settings, what):
    """(actor, tenant, patient, detail) of every event of a kind in AUDIT."""

    async def run():
        client = await connect(settings.nats, "test")
        js = client.jetstream()
        last = (await js.stream_info("AUDIT")).state.last_seq
        found = [json.loads((await js.get_msg("AUDIT", seq)).data) for seq in range(1, last + 1)]
        await client.close()
        return [(one["actor"], one["tenant"], one["patient"], one["detail"]) for one in found if one["what"] == what]

    return asyncio.run(run())


def reads(settings):
    return audited(settings, "read")


def noted(settings, patient, route):
    """How often AUDIT says that somebody without a key read this."""
    return reads(settings).count(("local", TENANT, patient, route))


def test_each_kind_of_read_is_noted_once_and_refusals_are_not(served, pipeline):
    # Other tests read the same, and what is noted once in ten minutes may have been noted before them.
    routes = [f"/api/v1/patients/*/{name}" for name in ("beats", "observations")]
    before = {route: noted(pipeline.settings, "100", route) for route in routes}
    with served.client() as client:
        for _ in range(3):
            assert client.get("/patients/100/beats").status_code == 200
        client.get("/patients/100/observations")
        client.get("/patients")
        assert client.get("/patients/nobody-here/latest").status_code == 404
        client.get("/me")
    for route in routes:
        assert max(1, before[route]) <= noted(pipeline.settings, "100", route) <= before[route] + 1
    everybody = [one for one in reads(pipeline.settings) if one[1] == TENANT]
    assert ("local", TENANT, "", "/api/v1/patients") in everybody
    assert not [one for one in everybody if one[3].endswith("/me") or one[2] == "nobody-here"]


def test_fhir_and_the_burden_are_noted_by_the_names_of_the_pipeline(served, pipeline):
    routes = [f"/fhir/r4/{name}" for name in ("Observation", "Device", "Patient/*")]
    before = {route: noted(pipeline.settings, "uw_100006", route) for route in routes}
    with served.client() as client:
        client.get("/burden")
        own = {"patient": "Patient/uw.100006"}
        for path, asked in (("Observation", own), ("Device", own), ("Patient/uw.100006", {})):
            params = client.params.merge(asked)
            assert client.get(f"{served.url}/fhir/r4/{path}", params=params).status_code == 200
    found = reads(pipeline.settings)
    assert ("local", TENANT, "", "/api/v1/burden") in found
    for route in routes:
        assert max(1, before[route]) <= noted(pipeline.settings, "uw_100006", route) <= before[route] + 1


def test_without_nats_it_is_counted_and_noted_when_it_comes_again(pipeline, caplog):
    readers, before = Readers(pipeline.settings), UNNOTED._value.get()  # noqa: SLF001  (a counter has no other reader)
    who = Identity("dr-away", Role.VIEWER)
    act = (who, TENANT, "203", "/x")

    async def run():
        await readers.note(None, *act)
        client = await connect(pipeline.settings.nats, "test")
        await readers.note(client, *act)
        await readers.note(client, *act)
        await client.close()

    asyncio.run(run())
    assert UNNOTED._value.get() == before + 1  # noqa: SLF001
    assert "not in AUDIT: dr-away read /x" in caplog.text
    assert reads(pipeline.settings).count(("dr-away", TENANT, "203", "/x")) == 1
