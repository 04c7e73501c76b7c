"""Identities of programs in the pipeline's account: made and revoked in writing, like those of devices."""

import time
from collections.abc import Mapping

from nats.aio.client import Client

from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.authority import IdentityError, Issued
from connectors.identity.devices import authority_of
from connectors.identity.resolver import push_account
from connectors.identity.roles import PIPELINE
from dataflows.contracts.frames import DEFAULT_TENANT
from dataflows.settings import Settings


class Services:
    """The acts, on a connection of the pipeline's account.

    Args:
        client: Connection.
        settings: Where the server and the keys are.
        actor: Who acts, for the audit log.
    """

    def __init__(self, client: Client, settings: Settings, actor: str) -> None:
        self._client, self._settings, self._actor = client, settings, actor

    async def enrol(self, role: str, name: str, tags: Mapping[str, str], days: float) -> Issued:
        """Makes an identity; it is in AUDIT before it is handed out. Arguments as of `Authority.issue_service`.

        Raises:
            IdentityError: It cannot be made.
        """
        issued = authority_of(self._settings).issue_service(role, name, tags, days=days)
        await self._audit("enrol", tags.get("tenant", DEFAULT_TENANT), f"{role} {name} {issued.public}")
        return issued

    async def revoke(self, public: str) -> None:
        """Voids an identity by its public key; its connections are closed at once.

        Raises:
            IdentityError: It is no public key of a user, or the server was not told.
        """
        if not (public.startswith("U") and len(public) == _KEY_LENGTH and public.isalnum()):
            message = f"{public!r} is no public key of an identity (U...)"
            raise IdentityError(message)
        authority = authority_of(self._settings)
        authority.revoke(PIPELINE, {public: int(time.time())})
        await push_account(self._settings.nats, authority, PIPELINE)
        await self._audit("revoke", DEFAULT_TENANT, public)

    async def limit(self, tenant: str, connections: int) -> None:
        """Limits how many connections an organisation may have at once.

        Raises:
            IdentityError: There is none of this name, the number cannot be, or the server was not told.
        """
        authority = authority_of(self._settings)
        authority.limit(tenant, connections=connections)
        await push_account(self._settings.nats, authority, tenant)
        await self._audit("limit", tenant, f"{connections} connections")

    async def _audit(self, what: str, tenant: str, detail: str) -> None:
        await write_audit(
            self._client, self._settings, AuditEvent(what=what, actor=self._actor, tenant=tenant, detail=detail)
        )


_KEY_LENGTH = 56
