"""What was handed out: one record per identity in the key-value bucket IDENTITY, which gateways watch.

A record never holds a secret: of an API key it has the SHA-256, of a token nothing. The secret of an API key is 256
random bits, so a plain hash is enough: there is nothing to guess, and no slow hash to pay on every request.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
from nats.aio.client import Client
from nats.js.errors import BucketNotFoundError
from nats.js.kv import KeyValue

from connectors.jetstream.history import bounds, messages
from dataflows.contracts.frames import Origin

BUCKET = "IDENTITY"
By = Literal["nats", "mqtt", "http"]
"""How a device comes in; an identity is good for one way alone."""
_KEY_PREFIX = "vd"


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """An identity that was handed out.

    Attributes:
        tenant: Organisation.
        patient: Pseudonym of the patient.
        device: Name of the device.
        id: Public key of a NATS or MQTT user, name of an API key.
        by: How the device comes in.
        issued_s: When it was made, s since 1970.
        expires_s: When it ends, s since 1970.
        revoked_s: When it was revoked, s since 1970; 0 when it was not.
        secret_sha256: Of an API key, hexadecimal; empty for the others.
    """

    tenant: str
    patient: str
    device: str
    id: str
    by: By
    issued_s: int
    expires_s: int
    revoked_s: int = 0
    secret_sha256: str = ""

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{self.tenant}.{self.patient}.{self.device}.{self.id}"

    @property
    def origin(self) -> Origin:
        """Whom it lets speak."""
        return Origin(self.patient, self.device, tenant=self.tenant)

    def state(self, now_s: float) -> Literal["valid", "revoked", "expired"]:
        """Whether it is good now."""
        if self.revoked_s:
            return "revoked"
        return "expired" if now_s >= self.expires_s else "valid"


def new_api_key(tenant: str, patient: str, device: str, days: float) -> tuple[Credential, str]:
    """Makes an API key: its record, and the key itself, which is shown once and kept nowhere."""
    name, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    now = int(time.time())
    credential = Credential(
        tenant=tenant, patient=patient, device=device, id=name, by="http",
        issued_s=now, expires_s=int(now + days * 86_400), secret_sha256=digest(secret),
    )  # fmt: skip
    return credential, f"{_KEY_PREFIX}_{name}_{secret}"


def digest(secret: str) -> str:
    """Returns what is kept of a secret. It is long and random, so a plain digest is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


class ApiKeys:
    """The API keys that are good now, by their names; fed by a watch of the bucket."""

    def __init__(self) -> None:
        self._by_name: dict[str, Credential] = {}

    def put(self, credential: Credential) -> None:
        """Takes a record."""
        if credential.by == "http":
            self._by_name[credential.id] = credential

    def find(self, presented: str, now_s: float) -> tuple[Credential | None, str]:
        """Returns whose key was presented, or nobody and why: `malformed`, `unknown`, `revoked`, `expired`."""
        prefix, _, rest = presented.partition("_")
        name, _, secret = rest.partition("_")
        if prefix != _KEY_PREFIX or not name or not secret or not presented.isascii():
            return None, "malformed"
        credential = self._by_name.get(name)
        # Compared in constant time, and also when there is no such name: time must not tell which names exist.
        expected = credential.secret_sha256 if credential else digest("")
        same = hmac.compare_digest(digest(secret), expected)
        if credential is None or not same:
            return None, "unknown"
        state = credential.state(now_s)
        return (credential, "") if state == "valid" else (None, state)


class Registry:
    """The bucket, on a connection."""

    def __init__(self, client: Client, bucket: KeyValue) -> None:
        self._client = client
        self._bucket = bucket

    @classmethod
    async def open(cls, client: Client, *, replicas: int = 1) -> "Registry":
        """Opens the bucket, and makes it where it is missing."""
        js = client.jetstream()
        try:
            return cls(client, await js.key_value(BUCKET))
        except BucketNotFoundError:
            return cls(client, await js.create_key_value(bucket=BUCKET, history=5, replicas=replicas))

    async def put(self, credential: Credential) -> None:
        """Writes a record; returns once it is stored."""
        await self._bucket.put(credential.key, msgspec.json.encode(credential))

    async def all(self, tenant: str = "", patient: str = "", device: str = "") -> list[Credential]:
        """Returns the records of a tenant, patient, device, or of everybody, by their keys.

        Read from the bucket's stream: the client's own listing of keys ends early when the first records are still on
        the wire at its look at the consumer, and a revocation would then say that there is nothing to revoke.
        """
        subject = ".".join(("$KV", BUCKET, tenant or "*", patient or "*", device or "*", "*"))
        stream = f"KV_{BUCKET}"
        found: dict[str, Credential] = {}
        async for message in messages(self._client, stream, *await bounds(self._client, stream), subject):
            found[message.subject] = msgspec.json.decode(message.data, type=Credential)
        return [found[key] for key in sorted(found)]

    @asynccontextmanager
    async def api_keys(self) -> AsyncIterator[ApiKeys]:
        """The API keys, complete, and kept current for the time of a `with`."""
        keys = ApiKeys()
        # First all, then the watch, which says everything again: a record never comes after a newer one of its key.
        for credential in await self.all():
            keys.put(credential)
        watcher = await self._bucket.watchall()

        async def follow() -> None:
            while True:
                entry: Any = await watcher._updates.get()  # noqa: SLF001  (its iterator ends at the first pause)
                if entry is not None and entry.operation is None:  # a put: records are never deleted
                    keys.put(msgspec.json.decode(entry.value, type=Credential))

        task = asyncio.create_task(follow())
        try:
            yield keys
        finally:
            task.cancel()
            await watcher.stop()  # type: ignore[no-untyped-call]  # nats-py leaves it without annotations
