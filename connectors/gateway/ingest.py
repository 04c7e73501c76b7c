"""From checked frames to JetStream's acknowledgement, on a connection that comes back."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError

from connectors.gateway.problems import FieldError, RefusedError
from connectors.gateway.translate import invalid
from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.registry import ApiKeys, Credential, Registry
from connectors.jetstream.connection import connect
from dataflows._native import Messages, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, message_id, signal_token
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
_RETRY_S = 0.5
_AUDIT_EVERY_S = 3600.0
_WINDOW = 256


@dataclass(frozen=True)
class Stored:
    """What JetStream said.

    Attributes:
        log_seq: Its sequence number in the log.
        duplicate: Whether the log had it.
    """

    log_seq: int
    duplicate: bool


def subject_for(frame: pb.Frame, origin: Origin) -> str:
    """Returns the subject that a device may publish a frame on: its own, whatever the frame says."""
    known = frame.signal in pb.Signal.values() and frame.signal
    signal = signal_token(frame.signal) if known else "unknown"
    return f"vitals.v1.{origin.tenant}.{origin.patient}.{origin.device}.{signal}"


def check(
    validator: Validator, frames: Sequence[pb.Frame], origin: Origin, now_ns: int
) -> list[tuple[str, str, bytes]]:
    """Returns (subject, message id, payload) of frames that the flow will take.

    Raises:
        RefusedError: At least one it would reject; says which and why.
    """
    checked, errors = [], []
    for index, frame in enumerate(frames):
        subject, payload = subject_for(frame, origin), frame.SerializeToString()
        messages = Messages.build([(subject.encode(), 1, now_ns, payload)])
        _, rejects = validator.check(f"{origin.tenant}/{origin.patient}", messages)
        errors += [FieldError(index=index, reason=reject.reason, detail=reject.detail) for reject in rejects]
        checked.append((subject, message_id(frame), payload))
    if errors:
        raise invalid(errors)
    return checked


class Ingest:
    """The connection, the API keys, and what the flow would say of a frame.

    Args:
        settings: Where NATS is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._validator = Validator(
            max_ahead_s=settings.flow.max_ahead_s,
            keep_waves_h=float(settings.questdb.waveform_ttl_h),
            keep_rows_h=24.0 * settings.questdb.rows_ttl_d,
        )
        self._client: Client | None = None
        self._keys: ApiKeys | None = None
        self._audited_s: dict[str, float] = {}

    @property
    def ready(self) -> bool:
        """Whether frames can be taken."""
        return self._client is not None and self._client.is_connected and self._keys is not None

    async def run(self) -> None:
        """Keeps the connection and the keys until cancelled; a lost one is made anew, keys and all."""
        while True:
            try:
                await self._connected()
            except (OSError, NatsError, BucketNotFoundError, TimeoutError) as error:
                logger.warning("gateway: NATS is away: %s", error or type(error).__name__)
            self._client, self._keys = None, None
            await asyncio.sleep(_RETRY_S)

    async def _connected(self) -> None:
        lost = asyncio.Event()

        async def on_lost() -> None:
            lost.set()

        client = await connect(self._settings.nats, "vitals gateway", on_lost=on_lost)
        try:
            registry = await Registry.open(client, replicas=self._settings.streams.replicas)
            async with registry.api_keys() as keys:
                self._client, self._keys = client, keys
                await lost.wait()
        finally:
            with contextlib.suppress(Exception):
                await client.close()

    def identify(self, presented: str) -> Credential:
        """Returns whose key it is.

        Raises:
            RefusedError: Nobody's, a revoked or an expired one; or the keys are not known now.
        """
        if self._keys is None:
            raise _away(why="the registry of keys does not answer")
        credential, why = self._keys.find(presented, time.time())
        if credential is None:
            raise RefusedError(401, f"key_{why}", f"this key is {why}")
        return credential

    async def store(self, frames: Sequence[pb.Frame], credential: Credential, route: str) -> list[Stored]:
        """Checks frames and publishes them; returns once JetStream has all of them.

        Raises:
            RefusedError: One would be rejected (then none is stored), or JetStream does not answer (then some may be:
                the same request again stores the others).
        """
        messages = check(self._validator, frames, credential.origin, time.time_ns())
        client = self._client
        if client is None or not client.is_connected:
            raise _away(why="JetStream does not answer")
        js = client.jetstream(timeout=self._settings.nats.ack_timeout_s)
        stored: list[Stored] = []
        try:
            await self._audit(client, credential, route)
            for start in range(0, len(messages), _WINDOW):
                part = messages[start : start + _WINDOW]
                publishing = [js.publish(subject, data, headers={"Nats-Msg-Id": mid}) for subject, mid, data in part]
                acknowledged = await asyncio.gather(*publishing)
                stored += [Stored(ack.seq, bool(ack.duplicate)) for ack in acknowledged]
        except (OSError, NatsError, TimeoutError) as error:
            raise _away(why=f"JetStream did not acknowledge ({type(error).__name__})") from error
        return stored

    async def _audit(self, client: Client, credential: Credential, route: str) -> None:
        """Notes that a key writes: its first write of every hour and route, before it is done."""
        who, now = f"{credential.id}{route}", time.monotonic()
        if now - self._audited_s.get(who, -_AUDIT_EVERY_S) < _AUDIT_EVERY_S:
            return
        event = AuditEvent(
            what="write",
            actor=f"key:{credential.id}",
            tenant=credential.tenant,
            patient=credential.patient,
            device=credential.device,
            detail=f"gateway {route}",
        )
        await write_audit(client, self._settings, event)
        self._audited_s[who] = now


def _away(why: str) -> RefusedError:
    return RefusedError(503, "try_again", f"{why}; nothing is lost if the same request is sent again", retry_s=1.0)
