"""What a person at this machine reads of patients by a command: in AUDIT before it is shown, as `local:<user>`.

Like the API (`connectors/api/readers.py`) a command goes on where it cannot be noted, and says so: care goes on while
NATS is away, and a copy of the lake is read far from any server.
"""

import asyncio
import getpass

from nats.aio.client import Client
from nats.errors import Error as NatsError

from connectors.cli.console import CliError, errors, nats_client
from connectors.identity.audit import AuditEvent, write_audit
from dataflows.contracts.frames import DEFAULT_TENANT, is_token
from dataflows.settings import Settings


def local_actor() -> str:
    """Who types, as AUDIT calls him."""
    return f"local:{getpass.getuser()}"


async def noted(
    client: Client, settings: Settings, detail: str, tenant: str | None = None, patient: str = "", *, what: str = "read"
) -> None:
    """Notes on a connection of the pipeline's account that patients are read, or says that it could not be noted.

    Args:
        client: Connection.
        settings: Where the audit log is.
        detail: The command and what it was asked for.
        tenant: Organisation; None, or what is no name (a wildcard), for every one.
        patient: Pseudonym; empty, or what is no name, for many.
        what: `write` where what was read goes into the log again.
    """
    if tenant is None or not is_token(tenant):
        tenant, detail = DEFAULT_TENANT, f"{detail} of every organisation"
    patient = patient if is_token(patient) else ""
    event = AuditEvent(what=what, actor=local_actor(), tenant=tenant, patient=patient, detail=detail)
    try:
        await write_audit(client, settings, event)
    except (OSError, NatsError) as error:
        _say(str(error) or type(error).__name__)


def note_read(settings: Settings, detail: str, tenant: str | None = None, patient: str = "") -> None:
    """As `noted`, on a connection of its own: for what is read from the database or from files."""

    async def run() -> None:
        async with nats_client(settings, "vitals audit") as client:
            await noted(client, settings, detail, tenant, patient)

    try:
        asyncio.run(run())
    except CliError as error:
        _say(str(error))


def _say(why: str) -> None:
    errors.print(f"vitals: this is not in AUDIT: {why}", style="yellow", soft_wrap=True)
