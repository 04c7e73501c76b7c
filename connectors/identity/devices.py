"""Enrolling, revoking, rotating and listing devices: the same acts for every way in."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client

from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.authority import MAX_DAYS, Authority, IdentityError
from connectors.identity.claims import credentials_file
from connectors.identity.commands import publish_command
from connectors.identity.own_streams import ensure_own_streams
from connectors.identity.registry import By, Credential, Registry, new_api_key
from connectors.identity.resolver import push_account
from dataflows.contracts.frames import Origin, command_frame
from dataflows.settings import Settings

_ROLES = {"nats": "device", "mqtt": "device-mqtt"}
SUFFIX: dict[By, str] = {"nats": "creds", "mqtt": "token", "http": "key"}


@dataclass(frozen=True)
class Enrolled:
    """A new identity and its secret, which is shown once and kept nowhere.

    Attributes:
        credential: The record.
        secret: A `.creds` file, a token or an API key.
    """

    credential: Credential
    secret: str

    def __repr__(self) -> str:
        return f"Enrolled({self.credential.key})"


def authority_of(settings: Settings) -> Authority:
    """The keys of the local stack."""
    return Authority(settings.stack.identity_dir)


class Devices:
    """The acts, on a connection of the pipeline's account.

    Args:
        client: Connection.
        registry: Records.
        settings: Where the server and the keys are.
        actor: Who acts, for the audit log.
    """

    def __init__(self, client: Client, registry: Registry, settings: Settings, actor: str) -> None:
        self._client = client
        self._registry = registry
        self._settings = settings
        self._authority = authority_of(settings)
        self._actor = actor

    async def enrol(self, origin: Origin, by: By, days: float) -> Enrolled:
        """Makes an identity for a device; what it had before stays good.

        Raises:
            IdentityError: A name or `days` cannot be, or the way in needs `stack.security`.
        """
        enrolled = await self._issue(origin, by, days)
        await self._audit("enrol", origin, f"{by} {enrolled.credential.id}")
        return enrolled

    async def tell(self, origin: Origin, about: str, key: str) -> None:
        """Gives the command `context` for a device's patient; returns once the log has it.

        Args:
            origin: The device.
            about: JSON argument of the command.
            key: Idempotency key.
        """
        frame = command_frame(
            origin.patient, "context", actor=self._actor, idempotency_key=key, argument_json=about,
            device_ns=time.time_ns(), tenant=origin.tenant,
        )  # fmt: skip
        await publish_command(self._client, self._settings, frame)

    async def rotate(self, origin: Origin, by: By, days: float, *, keep_old: bool = False) -> Enrolled:
        """Makes a new identity for a device and revokes those it had for the same way in.

        Args:
            origin: The device.
            by: Way in.
            days: How long the new one holds.
            keep_old: Leave the old ones until they are revoked, so that the device can be told meanwhile.

        Raises:
            IdentityError: The device has none that is valid.
        """
        old = [credential for credential in await self._valid(origin) if credential.by == by]
        if not old:
            message = f"{origin.tenant}/{origin.patient}/{origin.device} has no valid identity for {by}: enrol it"
            raise IdentityError(message)
        enrolled = await self._issue(origin, by, days)
        if not keep_old:
            await self._void(old)
        await self._audit("rotate", origin, f"{by} {enrolled.credential.id}")
        return enrolled

    async def revoke(self, origin: Origin, identity: str = "") -> list[Credential]:
        """Revokes a device's identities, or one of them; open connections are closed at once.

        Raises:
            IdentityError: There is none, or the server was not told.
        """
        found = [credential for credential in await self._valid(origin) if identity in {"", credential.id}]
        if not found:
            which = f" {identity}" if identity else ""
            message = f"{origin.tenant}/{origin.patient}/{origin.device} has no valid identity{which}"
            raise IdentityError(message)
        await self._void(found)
        await self._audit("revoke", origin, " ".join(credential.id for credential in found))
        return found

    async def all(self, tenant: str = "", patient: str = "", device: str = "") -> list[Credential]:
        """Every identity of a tenant, patient or device, or of everybody."""
        return await self._registry.all(tenant, patient, device)

    async def _valid(self, origin: Origin) -> list[Credential]:
        now = time.time()
        found = await self._registry.all(origin.tenant, origin.patient, origin.device)
        return [credential for credential in found if credential.state(now) == "valid"]

    async def _issue(self, origin: Origin, by: By, days: float) -> Enrolled:
        if not 0 < days <= MAX_DAYS:
            message = f"an identity holds for more than 0 and at most {MAX_DAYS} days, not {days:g}"
            raise IdentityError(message)
        if by == "http":
            credential, secret = new_api_key(origin.tenant, origin.patient, origin.device, days)
        else:
            credential, secret = await self._sign(origin, by, days)
        # Recorded before it is handed out: an identity that nobody knows of could not be revoked.
        await self._registry.put(credential)
        return Enrolled(credential, secret)

    async def _sign(self, origin: Origin, by: By, days: float) -> tuple[Credential, str]:
        if not self._authority.exists:
            message = (
                f"identities for {by} need a server that checks them: set stack.security (VITALS_STACK__SECURITY=true) "
                "and start the stack anew"
            )
            raise IdentityError(message)
        if self._authority.add_tenant(origin.tenant):
            await push_account(self._settings.nats, self._authority, origin.tenant)
            await ensure_own_streams(self._settings.nats, self._authority, origin.tenant)
        names = (origin.tenant, origin.patient, origin.device)
        issued = self._authority.issue_device(*names, role=_ROLES[by], days=days)
        credential = Credential(
            tenant=origin.tenant, patient=origin.patient, device=origin.device, id=issued.public, by=by,
            issued_s=issued.issued_s, expires_s=issued.expires_s,
        )  # fmt: skip
        return credential, issued.token if by == "mqtt" else credentials_file(issued.token, issued.seed)

    async def _void(self, credentials: Sequence[Credential]) -> None:
        now = int(time.time())
        users: dict[str, dict[str, int]] = {}
        for credential in credentials:
            if credential.by != "http":
                users.setdefault(credential.tenant, {})[credential.id] = now
        for tenant, revoked in users.items():
            self._authority.revoke(tenant, revoked)
            await push_account(self._settings.nats, self._authority, tenant)
        for credential in credentials:
            await self._registry.put(revoked_at(credential, now))

    async def _audit(self, what: str, origin: Origin, detail: str) -> None:
        event = AuditEvent(
            what=what,
            actor=self._actor,
            tenant=origin.tenant,
            patient=origin.patient,
            device=origin.device,
            detail=detail,
        )
        await write_audit(self._client, self._settings, event)


def revoked_at(credential: Credential, now_s: int) -> Credential:
    """The record of a credential that is revoked since `now_s`."""
    return msgspec.structs.replace(credential, revoked_s=now_s)
