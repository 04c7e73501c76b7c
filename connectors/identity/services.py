"""Identities of programs: made and revoked in writing, like those of devices."""

import time
from collections.abc import Mapping, Sequence

from nats.aio.client import Client

from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.authority import IdentityError, Issued
from connectors.identity.devices import authority_of
from connectors.identity.own_streams import Reader, ensure_own_streams
from connectors.identity.resolver import push_account
from connectors.identity.roles import PIPELINE, Grant
from dataflows.contracts.frames import DEFAULT_TENANT, is_token
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

    async def enrol_reader(self, tenant: str, name: str, days: float, reads: Sequence[str] = ("alerts",)) -> Issued:
        """Makes an identity for a program that reads what is an organisation's own, and consumers that it takes from.

        Args:
            tenant: The organisation; has its account and its streams afterwards.
            name: Of the program and of its consumers: an identity reads what any one of this name was made to read.
            days: How long it holds.
            reads: Names of `copies.COPIES`.

        Raises:
            IdentityError: A name or `days` cannot be, or the server was not told.
        """
        if not is_token(name):
            message = f"{name!r} is no name: 1 to 64 of the characters A-Z a-z 0-9 _ -"
            raise IdentityError(message)
        authority = authority_of(self._settings)
        if authority.exists and authority.add_tenant(tenant):
            await push_account(self._settings.nats, authority, tenant)
        issued = authority.issue_service("reader", name, {"reader": name}, days=days, owner=tenant)
        await ensure_own_streams(self._settings.nats, authority, tenant, Reader(name, reads, self._client))
        await self._audit("enrol", tenant, f"reader {name} of {' '.join(reads)} {issued.public}")
        return issued

    async def revoke(self, public: str, tenant: str = "") -> None:
        """Voids an identity by its public key; its connections are closed at once.

        Args:
            public: The key.
            tenant: The organisation whose account the identity is of; empty: the pipeline's.

        Raises:
            IdentityError: It is no public key of a user, there is no such organisation, or the server was not told.
        """
        if not (public.startswith("U") and len(public) == _KEY_LENGTH and public.isalnum()):
            message = f"{public!r} is no public key of an identity (U...)"
            raise IdentityError(message)
        authority = authority_of(self._settings)
        account = tenant or PIPELINE
        authority.revoke(account, {public: int(time.time())})
        await push_account(self._settings.nats, authority, account)
        await self._audit("revoke", tenant or DEFAULT_TENANT, public)

    async def limit(self, tenant: str, **changes: int) -> Grant:
        """Changes what an organisation may have; returns all of it.

        Args:
            tenant: The organisation.
            changes: Fields of `Grant`.

        Raises:
            IdentityError: There is none of this name, the numbers cannot be, or the server was not told.
        """
        authority = authority_of(self._settings)
        grant = authority.grant(tenant, **changes)
        await push_account(self._settings.nats, authority, tenant)
        await self._audit("limit", tenant, ", ".join(f"{value} {name}" for name, value in changes.items()))
        await ensure_own_streams(self._settings.nats, authority, tenant)
        return grant

    async def _audit(self, what: str, tenant: str, detail: str) -> None:
        await write_audit(
            self._client, self._settings, AuditEvent(what=what, actor=self._actor, tenant=tenant, detail=detail)
        )


_KEY_LENGTH = 56
