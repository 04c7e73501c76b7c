"""Who asks and what they may: API keys with a role and a tenant. Without a file of keys, loopback only.

A key travels as `Authorization: Bearer KEY`, or, in a browser, as a cookie that scripts cannot read and other sites
cannot send. The file holds digests, so that reading it lets nobody in.
"""

import hmac
import tomllib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from connectors.api.problems import ProblemError
from connectors.identity.registry import digest
from connectors.local.ports import LOOPBACK_HOSTS
from dataflows.contracts.frames import DEFAULT_TENANT

COOKIE = "vitals_key"


class Role(IntEnum):
    """What somebody may; a higher one may everything that a lower one may."""

    VIEWER = 1
    CLINICIAN = 2
    ADMIN = 3


COMMAND_ROLES = {
    **dict.fromkeys(("ack", "snooze", "silence", "handover", "note"), Role.CLINICIAN),
    **dict.fromkeys(("threshold", "profile", "context", "admit", "discharge"), Role.CLINICIAN),
    "delivered": Role.ADMIN,
}
"""Which role a command needs."""


class KeysError(ValueError):
    """The file of keys cannot be used; says why."""


@dataclass(frozen=True)
class Identity:
    """Who asks. `tenant` is None for one who may see every tenant."""

    name: str
    role: Role
    tenant: str | None = None

    def tenant_of(self, wanted: str | None) -> str:
        """Returns the tenant of a request.

        Raises:
            ProblemError: The caller belongs to another tenant.
        """
        own = self.tenant or DEFAULT_TENANT
        if wanted is None or wanted == own:
            return own
        if self.tenant is not None:
            raise ProblemError(403, f"this key is of tenant {self.tenant}")
        return wanted

    def need(self, role: Role) -> None:
        """Makes sure of a role.

        Raises:
            ProblemError: The caller has a lower one.
        """
        if self.role < role:
            raise ProblemError(403, f"this needs the role {role.name.lower()}; {self.name} is {self.role.name.lower()}")


LOCAL = Identity("local", Role.ADMIN)
"""Whoever sits at this machine, as long as there is no file of keys."""


def read_keys(path: Path) -> dict[str, Identity]:
    """Reads a file of keys: tables `[[key]]` with `name`, `role`, `sha256` and, for one tenant only, `tenant`.

    Raises:
        KeysError: It cannot be read, or an entry is wrong.
    """
    found: dict[str, Identity] = {}
    try:
        entries = tomllib.loads(path.read_text())["key"]
        for entry in entries:
            role = Role[str(entry["role"]).upper()]
            found[str(entry["sha256"]).lower()] = Identity(str(entry["name"]), role, entry.get("tenant"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no file of keys ({type(error).__name__}: {error}); see docs/api.md"
        raise KeysError(message) from error
    return found


class Access:
    """Finds out who asks.

    Args:
        keys: File of keys, or None for loopback without keys.
    """

    def __init__(self, keys: Path | None) -> None:
        self._keys = None if keys is None else read_keys(keys)

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return self._keys is None

    def of_key(self, key: str) -> Identity | None:
        """Returns whose key it is."""
        wanted = digest(key)
        for known, identity in (self._keys or {}).items():
            if hmac.compare_digest(known, wanted):
                return identity
        return None

    def identify(self, connection: HTTPConnection, *, changes: bool = False) -> Identity:
        """Returns who asks.

        Args:
            connection: The request or WebSocket.
            changes: Whether it changes something or opens a socket: then a page of another site is refused.

        Raises:
            ProblemError: No key, an unknown key, or a page of another site.
        """
        scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and bearer:
            identity = self.of_key(bearer.strip())
            if self.open or identity is not None:
                return identity or LOCAL
            raise ProblemError(401, "this key is unknown")
        self._same_site(connection, changes=changes)
        if self.open:
            return LOCAL
        identity = self.of_key(connection.cookies.get(COOKIE, ""))
        if identity is None:
            raise ProblemError(401, "a key is needed: Authorization: Bearer KEY")
        return identity

    def _same_site(self, connection: HTTPConnection, *, changes: bool) -> None:
        """A browser names the page that asks; DNS rebinding and forged forms show there."""
        host = connection.headers.get("host", "")
        if self.open and urlsplit(f"//{host}").hostname not in LOOPBACK_HOSTS:
            raise ProblemError(403, f"without keys only loopback is served, not {host}")
        origin = connection.headers.get("origin")
        if changes and origin is not None and urlsplit(origin).netloc != host:
            raise ProblemError(403, f"a page of {origin} may not do this")
