"""The gateway is what its description says: schemathesis sends what the description allows and what it does not."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from connectors.gateway.openapi import document
from dataflows.contracts.frames import Origin

pytestmark = [pytest.mark.services, pytest.mark.slow]
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
OPERATIONS = [found.ok() for found in schemathesis.openapi.from_dict(document()).get_all_operations()]


# A request without parameters and body cannot be otherwise than described.
CASES = [(found, GenerationMode.POSITIVE) for found in OPERATIONS]
CASES += [(found, GenerationMode.NEGATIVE) for found in OPERATIONS if found.method == "post"]


@pytest.mark.parametrize(("operation", "mode"), CASES, ids=lambda part: getattr(part, "path", str(part)))
def test_every_answer_is_one_that_is_described(behind, served, operation, mode):
    key = served.knows(behind.enrol(Origin("described", "d"), by="http").secret)

    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        case.call_and_validate(base_url=served.url, headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)

    send()


def test_every_route_is_described(served):
    from connectors.gateway.server import ROUTES

    paths = {f"/v1/{name}" for name in ROUTES} | {"/v1/health"}
    assert set(document()["paths"]) == paths
