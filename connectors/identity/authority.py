"""The folder of keys that says who may come in: an operator, its accounts, their signing keys, what is revoked.

An account's token is the record of the account: what is revoked and since when is read from it. Every change is made
under a lock, written whole, and then told to the running server by who changed it (`resolver.py`).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from connectors.identity.claims import Key, Kind, credentials_file, decode, encode
from connectors.identity.files import locked, read_secret, secret_folder, write_secret
from connectors.identity.roles import (
    PIPELINE,
    SYSTEM,
    Grant,
    pipeline_account,
    pipeline_roles,
    system_account,
    tenant_account,
    tenant_roles,
)
from dataflows.contracts.frames import Origin

RESERVED = {PIPELINE, SYSTEM}
_DAY_S = 86_400
REVOCATIONS_KEPT_S = 400 * _DAY_S
"""A revocation is forgotten when every token that it could concern has expired; tokens live 366 days at most."""
MAX_DAYS = 366
_LOCAL_DAYS = 90
_MOST_CONNECTIONS = 1_000_000
_LEAST_FRAMES, _MOST_FRAMES = 1 << 20, 1 << 50


class IdentityError(Exception):
    """Something a person has to mend; the message says what."""


@dataclass(frozen=True)
class Issued:
    """A user's identity.

    Attributes:
        public: Its public key.
        seed: Its secret.
        token: Its JWT.
        issued_s: When it was made, s since 1970.
        expires_s: When it ends, s since 1970; 0 for never.
    """

    public: str
    seed: str
    token: str
    issued_s: int
    expires_s: int

    def __repr__(self) -> str:
        return f"Issued({self.public})"


class Authority:
    """The keys in a folder.

    Args:
        folder: Made with mode 0700; files in it have 0600.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    @property
    def exists(self) -> bool:
        """Whether keys were made here."""
        return (self.folder / "operator.seed").exists()

    def prepare(self) -> bool:
        """Makes what is missing: operator, system and pipeline accounts, the credentials of the pipeline's programs.

        Returns:
            Whether the operator was made now.
        """
        secret_folder(self.folder)
        made = not self.exists
        with locked(self.folder):
            operator = self._key("operator", "operator")
            system, pipeline = self._key(SYSTEM, "account"), self._key(PIPELINE, "account")
            self._write_account(operator, system, SYSTEM, system_account())
            self._write_with(PIPELINE, self.revocations(PIPELINE) if self._account_file(PIPELINE).exists() else {})
            for name, account in (("system", system), ("pipeline", pipeline)):
                if not self.credentials(name).exists():
                    self._write_credentials(name, self._user(account, account.public, name, {}))
            if not self.credentials("gateway").exists():
                signer = self._key(f"{PIPELINE}.gateway", "account")
                self._write_credentials("gateway", self._user(signer, pipeline.public, "gateway", None))
            for tenant in self.tenants():
                self._write_tenant(tenant, self.revocations(tenant))
        return made

    def credentials(self, name: str) -> Path:
        """The credentials file of a program: `pipeline`, `gateway`, `system`, `bridge-<tenant>` or `owner-<tenant>`."""
        return self.folder / f"{name}.creds"

    def add_tenant(self, tenant: str) -> bool:
        """Makes a tenant's account if there is none; returns whether it was made now.

        Raises:
            IdentityError: The name is no token of a subject, or reserved.
        """
        self._check_tenant(tenant)
        with locked(self.folder):
            if self._account_file(tenant).exists():
                return False
            self._write_tenant(tenant, {})
        return True

    def tenants(self) -> list[str]:
        """Names of the tenants."""
        return sorted(file.stem for file in self.folder.glob("*.account") if file.stem not in RESERVED)

    def issue_device(self, tenant: str, patient: str, device: str, *, role: str, days: float) -> Issued:
        """Makes the identity of a device.

        Args:
            tenant: Its organisation, which must have an account.
            patient: Pseudonym of its patient.
            device: Its name.
            role: `device` or `device-mqtt`.
            days: How long it holds.

        Raises:
            IdentityError: A name is no token of a subject or reserved, there is no such tenant, or `days` cannot be.
        """
        try:
            Origin(patient, device, tenant=tenant)
        except ValueError as error:
            raise IdentityError(str(error)) from error
        if not 0 < days <= MAX_DAYS:
            message = f"an identity holds for at most {MAX_DAYS} days, not {days:g}"
            raise IdentityError(message)
        account = self.account_public(tenant)
        signer = self._key(f"{tenant}.{role}", "account")
        tags = {"patient": patient, "device": device}
        expires = int(time.time() + days * _DAY_S)
        return self._user(signer, account, f"{tenant}/{patient}/{device}", None, tags=tags, expires_s=expires)

    def issue_service(
        self, role: str, name: str, tags: Mapping[str, str], *, days: float, owner: str = PIPELINE
    ) -> Issued:
        """Makes the identity of a program, with the rights of its role in an account.

        Args:
            role: `model` or `bridge` of the pipeline's account, `reader` of a tenant's.
            name: For people.
            tags: What rights depend on: `device` of a model (`model-<name>`), `tenant` of a bridge, name of a `reader`.
            days: How long it holds.
            owner: Whose account: the pipeline's, or a tenant.

        Raises:
            IdentityError: No keys were made here, a tag is no token of a subject, or `days` cannot be.
        """
        if not self.exists:
            message = f"an identity for a {role} needs stack.security (VITALS_STACK__SECURITY=true)"
            raise IdentityError(message)
        if not 0 < days <= MAX_DAYS:
            message = f"an identity holds for at most {MAX_DAYS} days, not {days:g}"
            raise IdentityError(message)
        if "tenant" in tags:
            self._check_tenant(tags["tenant"])
        signer, account = self._key(f"{owner}.{role}", "account"), self.account_public(owner)
        return self._user(signer, account, name, None, tags=tags, expires_s=int(time.time() + days * _DAY_S))

    def bridge(self, tenant: str) -> Path:
        """Returns the credentials of the bridges of an organisation on this machine, made when they are missing or old.

        Raises:
            IdentityError: The tenant cannot be.
        """
        file = self.credentials(f"bridge-{tenant}")
        with locked(self.folder):
            if not file.exists() or time.time() - file.stat().st_mtime > _LOCAL_DAYS * _DAY_S / 2:
                issued = self.issue_service("bridge", f"bridge {tenant}", {"tenant": tenant}, days=_LOCAL_DAYS)
                write_secret(file, credentials_file(issued.token, issued.seed))
        return file

    def revoke(self, account: str, users: Mapping[str, int]) -> str:
        """Voids the tokens of users that were made until a time (s since 1970); returns the account's new token.

        Args:
            account: A tenant, or the pipeline's for its programs.
            users: Public keys of the users, with the time.
        """
        with locked(self.folder):
            revoked = self.revocations(account)
            for user, until_s in users.items():
                revoked[user] = max(until_s, revoked.get(user, 0))
            oldest = int(time.time()) - REVOCATIONS_KEPT_S
            self._write_with(account, {user: until for user, until in revoked.items() if until >= oldest})
            return self.account_token(account)

    def revocations(self, account: str) -> dict[str, int]:
        """Public keys of revoked users, with the time (s since 1970) until which their tokens are void."""
        return dict(decode(self.account_token(account))["nats"].get("revocations", {}))

    def granted(self, tenant: str) -> Grant:
        """What a tenant was given.

        Raises:
            IdentityError: There is no such tenant.
        """
        return Grant.of(decode(self.account_token(tenant))["nats"])

    def grant(self, tenant: str, **changes: int) -> Grant:
        """Changes what a tenant was given; returns all of it.

        Args:
            tenant: The organisation.
            changes: Fields of `Grant`; the others stay.

        Raises:
            IdentityError: There is no such tenant, or the numbers cannot be.
        """
        self._check_tenant(tenant)
        with locked(self.folder):
            grant = replace(self.granted(tenant), **changes)
            if not 0 < grant.connections <= _MOST_CONNECTIONS:
                message = f"an organisation has 1 to {_MOST_CONNECTIONS} connections, not {grant.connections}"
                raise IdentityError(message)
            if grant.frames_bytes and not _LEAST_FRAMES <= grant.frames_bytes <= _MOST_FRAMES:
                message = f"the copy of frames holds 0 or {_LEAST_FRAMES} to {_MOST_FRAMES} bytes"
                raise IdentityError(message)
            self._write_with(tenant, self.revocations(tenant), grant)
            return grant

    def account_token(self, name: str) -> str:
        """The token of an account.

        Raises:
            IdentityError: There is no such account.
        """
        file = self._account_file(name)
        if not file.exists():
            message = f"there is no tenant {name!r}; `vitals devices enrol` makes it"
            raise IdentityError(message)
        return read_secret(file)

    def account_public(self, name: str) -> str:
        """The public key of an account."""
        return str(decode(self.account_token(name))["sub"])

    def server_config(self, resolver_dir: Path) -> str:
        """Returns the part of nats-server's configuration that makes it believe these identities alone.

        The server keeps accounts in `resolver_dir` and takes new ones at `$SYS.REQ.CLAIMS.UPDATE`.
        """
        operator = self._key("operator", "operator")
        system = self.account_public(SYSTEM)
        token = encode(operator, operator.public, "vitals", {"type": "operator", "system_account": system})
        names = [SYSTEM, PIPELINE, *self.tenants()]
        preload = "".join(f"  {self.account_public(name)}: {self.account_token(name)}\n" for name in names)
        return (
            f"operator: {token}\nsystem_account: {system}\n"
            f'resolver {{\n  type: full\n  dir: "{resolver_dir}"\n  allow_delete: false\n  interval: "2m"\n}}\n'
            f"resolver_preload {{\n{preload}}}\n"
        )

    def _check_tenant(self, tenant: str) -> None:
        try:
            Origin("p", "d", tenant=tenant)
        except ValueError as error:
            raise IdentityError(str(error)) from error
        if tenant in RESERVED:
            message = f"tenant {tenant} is reserved"
            raise IdentityError(message)

    def _account_file(self, name: str) -> Path:
        return self.folder / f"{name}.account"

    def _key(self, name: str, kind: Kind) -> Key:
        file = self.folder / f"{name}.seed"
        if not file.exists():
            write_secret(file, Key.new(kind).seed)
        return Key(read_secret(file))

    def _write_account(self, operator: Key, account: Key, name: str, claims: Mapping[str, object]) -> None:
        write_secret(self._account_file(name), encode(operator, account.public, name, claims))

    def _write_tenant(self, tenant: str, revoked: Mapping[str, int]) -> None:
        """Writes a tenant's account by the present roles, and the credentials that make its own streams."""
        self._write_with(tenant, revoked)
        owner, account = f"owner-{tenant}", self._key(tenant, "account")
        if not self.credentials(owner).exists():
            self._write_credentials(owner, self._user(account, account.public, owner, {}))

    def _write_with(self, name: str, revoked: Mapping[str, int], grant: Grant | None = None) -> None:
        """Writes the account of a tenant or of the pipeline; without a grant a tenant has what it had."""
        roles = pipeline_roles() if name == PIPELINE else tenant_roles(name)
        signing = {role: self._key(f"{name}.{role}", "account").public for role in roles}
        if name == PIPELINE:
            claims = pipeline_account(signing, revoked)
        else:
            has = grant or (self.granted(name) if self._account_file(name).exists() else Grant())
            claims = tenant_account(name, self._key(PIPELINE, "account").public, signing, revoked, has)
        self._write_account(self._key("operator", "operator"), self._key(name, "account"), name, claims)

    def _write_credentials(self, name: str, issued: Issued) -> None:
        write_secret(self.credentials(name), credentials_file(issued.token, issued.seed))

    def _user(
        self,
        signer: Key,
        account: str,
        name: str,
        rights: Mapping[str, object] | None,
        *,
        tags: Mapping[str, str] | None = None,
        expires_s: int = 0,
    ) -> Issued:
        """Makes a user; `rights` is None where the signing key's role decides, and then nothing may stand there."""
        key = Key.new("user")
        claims: dict[str, object] = {"type": "user", "issuer_account": account}
        if signer.public == account:
            del claims["issuer_account"]
        if rights is not None:
            claims |= {"subs": -1, "data": -1, "payload": -1, **rights}
        if tags:
            claims["tags"] = [f"{tag}:{value}" for tag, value in tags.items()]
        issued = int(time.time())
        token = encode(signer, key.public, name, claims, expires_s=expires_s, issued_s=issued)
        return Issued(key.public, key.seed, token, issued, expires_s)
