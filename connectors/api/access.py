"""Who asks and what they may: API keys with a role and a tenant, and tokens of an issuer (`oidc.py`).

Without either, loopback only.

A key or token travels as `Authorization: Bearer KEY`, or, in a browser, as a cookie that scripts cannot read and other
sites cannot send. The file holds digests, so that reading it lets nobody in. It is read again when it changes: a key
that was taken out, locked or has expired is refused within a second, and what it had open is closed.
"""

import hmac
import logging
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from connectors.api.problems import ProblemError
from connectors.identity.registry import digest
from connectors.local.ports import LOOPBACK_HOSTS
from dataflows.contracts.frames import DEFAULT_TENANT

logger = logging.getLogger(__name__)
COOKIE = "vitals_key"
_LOOK_S = 0.5
_FOUND = "vitals.identity"


class Role(IntEnum):
    """What somebody may; a higher one may everything that a lower one may."""

    VIEWER = 1
    CLINICIAN = 2
    ADMIN = 3


COMMAND_ROLES = {
    **dict.fromkeys(("ack", "snooze", "silence", "handover", "remove", "note"), Role.CLINICIAN),
    **dict.fromkeys(("threshold", "profile", "spo2_scale", "context"), Role.CLINICIAN),
    **dict.fromkeys(("waveforms", "admit", "discharge"), Role.CLINICIAN),
    "delivered": Role.ADMIN,
}
"""Which role a command needs."""


class KeysError(ValueError):
    """The file of keys cannot be used; says why."""


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        name: Stands in AUDIT and beside commands.
        role: What they may.
        tenant: Their organisation; None for one who may see all of them.
        expires_s: When it ends, s since 1970; None for never.
        locked: The key is known, and lets nobody in for now.
        key: Digest of the key; empty for a token.
    """

    name: str
    role: Role
    tenant: str | None = None
    expires_s: float | None = None
    locked: bool = False
    key: str = field(default="", repr=False)

    def why_not(self, now_s: float) -> str:
        """Why it lets nobody in at this moment; "" when it does."""
        if self.locked:
            return f"the key of {self.name} is locked"
        if self.expires_s is not None and now_s >= self.expires_s:
            return f"the key of {self.name} has expired"
        return ""

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
    """Reads a file of keys: tables `[[key]]` with `name`, `role`, `sha256`.

    Further, where they are wanted: `tenant` (that one only), `locked = true`, `expires` (a time with its zone).

    Raises:
        KeysError: It cannot be read, or an entry is wrong.
    """
    found: dict[str, Identity] = {}
    try:
        entries = tomllib.loads(path.read_text())["key"]
        for entry in entries:
            role, name, sha256 = Role[str(entry["role"]).upper()], str(entry["name"]), str(entry["sha256"]).lower()
            expires, locked = entry.get("expires"), entry.get("locked", False)
            if not isinstance(locked, bool) or not (expires is None or getattr(expires, "tzinfo", None)):
                message = f"{name}: locked is true or false, expires a time with its zone"
                raise ValueError(message)
            expires_s = None if expires is None else expires.timestamp()
            found[sha256] = Identity(name, role, entry.get("tenant"), expires_s, locked, sha256)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is no file of keys ({type(error).__name__}: {error}); see docs/api.md"
        raise KeysError(message) from error
    return found


class Tokens(Protocol):
    """Who believes tokens: `oidc.Issuer`."""

    async def ready_for(self, token: str) -> None:
        """Fetches what is needed to check a token."""

    def identify(self, token: str) -> Identity:
        """Returns whose token it is, or raises `ProblemError`."""


class Access:
    """Finds out who asks.

    Args:
        keys: File of keys, or None for none.
        tokens: Who believes tokens, or None for none. Without either everybody on loopback may everything.
        clock: Seconds that never run back.
    """

    def __init__(
        self, keys: Path | None, tokens: Tokens | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file, self._tokens, self._clock = keys, tokens, clock
        self._version, self._looked_s = 0, -_LOOK_S
        self._keys = None if keys is None else read_keys(keys)
        self._changed()

    def _changed(self) -> bool:
        """Whether the file is another one than at the last look; looks twice a second at most."""
        if self._file is None or self._clock() - self._looked_s < _LOOK_S:
            return False
        self._looked_s = self._clock()
        try:
            before, self._version = self._version, self._file.stat().st_mtime_ns
        except OSError:
            return False
        return before != self._version

    def _known(self) -> dict[str, Identity]:
        if self._file is not None and self._changed():
            try:
                self._keys = read_keys(self._file)
            except KeysError:
                # A file that is half written must not lock a ward out; the next look finds it whole.
                logger.exception("the file of keys cannot be read: those of before go on")
                self._version = 0
        return self._keys or {}

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return self._keys is None and self._tokens is None

    async def prepare(self, connection: HTTPConnection) -> None:
        """Makes ready for a request's token: once, before whatever asks who it is."""
        if self._tokens is not None and _is_token(secret := _presented(connection) or ""):
            await self._tokens.ready_for(secret)

    async def admit(self, secret: str) -> Identity:
        """Returns whose key or token it is, for a page that wants to keep it.

        Raises:
            ProblemError: Nobody's.
        """
        if self._tokens is not None and _is_token(secret):
            await self._tokens.ready_for(secret)
        return LOCAL if self.open else self._of(secret)

    def _of(self, secret: str) -> Identity:
        if self._tokens is not None and _is_token(secret):
            return self._tokens.identify(secret)
        wanted = digest(secret)
        for known, identity in self._known().items():
            if hmac.compare_digest(known, wanted):
                if why := identity.why_not(time.time()):
                    raise ProblemError(403, why)
                return identity
        raise ProblemError(401, "this key is unknown")

    def valid(self, identity: Identity) -> bool:
        """Whether somebody who was let in still would be: asked for as long as a connection is open."""
        held = not identity.key or self._known().get(identity.key) == identity
        return held and not identity.why_not(time.time())

    def identify(self, connection: HTTPConnection, *, changes: bool = False) -> Identity:
        """Returns who asks.

        Args:
            connection: The request or WebSocket.
            changes: Whether it changes something or opens a socket: then a page of another site is refused.

        Raises:
            ProblemError: No key, an unknown key, or a page of another site.
        """
        secret = _presented(connection)
        if _bearer(connection) is None:
            self._same_site(connection, changes=changes)
        if self.open:
            return LOCAL
        if secret is None:
            raise ProblemError(401, "a key is needed: Authorization: Bearer KEY")
        # Once a request: who was let in at its beginning is whom its end is noted for.
        found: Identity = connection.scope.get(_FOUND) or self._of(secret)
        connection.scope[_FOUND] = found
        return found

    def _same_site(self, connection: HTTPConnection, *, changes: bool) -> None:
        """A browser names the page that asks; DNS rebinding and forged forms show there."""
        host = connection.headers.get("host", "")
        if self.open and urlsplit(f"//{host}").hostname not in LOOPBACK_HOSTS:
            raise ProblemError(403, f"without keys only loopback is served, not {host}")
        origin = connection.headers.get("origin")
        if changes and origin is not None and urlsplit(origin).netloc != host:
            raise ProblemError(403, f"a page of {origin} may not do this")


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None


def _presented(connection: HTTPConnection) -> str | None:
    """The key or token of a request."""
    return _bearer(connection) or connection.cookies.get(COOKIE)


def _is_token(secret: str) -> bool:
    """Whether it has the form of a signed token; keys have no dots."""
    return secret.count(".") == 2
