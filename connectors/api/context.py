"""What every route needs: settings, database, hub, access, rules."""

from dataclasses import dataclass

from starlette.requests import HTTPConnection, Request

from connectors.api.access import Access
from connectors.api.database import Database
from connectors.api.hub import Hub
from connectors.api.readers import Readers
from connectors.api.requests import token
from dataflows._native import Validator
from dataflows.alerts.rules import RuleSet
from dataflows.settings import Settings


@dataclass(frozen=True)
class Context:
    """The parts of a running server."""

    settings: Settings
    access: Access
    database: Database
    hub: Hub
    validator: Validator
    readers: Readers
    rules: RuleSet


def context(connection: HTTPConnection) -> Context:
    """Returns the parts of the server that a request came to."""
    found: Context = connection.app.state.context
    return found


def place(request: Request) -> tuple[Context, str]:
    """Returns the server's parts and the tenant of a request that reads.

    Raises:
        ProblemError: No key, or another tenant's.
    """
    here = context(request)
    wanted = request.query_params.get("tenant")
    return here, here.access.identify(request).tenant_of(token(wanted, "tenant") if wanted else None)
