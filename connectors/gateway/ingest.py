"""From checked frames to JetStream's acknowledgement, on a connection that comes back."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import BucketNotFoundError

from connectors.gateway.problems import FieldError, RefusedError
from connectors.gateway.translate import invalid
from connectors.identity.audit import AuditEvent, write_audit
from connectors.identity.registry import ApiKeys, Credential, Registry
from connectors.jetstream.connection import connect
from connectors.jetstream.ids import MessageIds
from dataflows._native import Messages, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, message_id, signal_token
from dataflows.monitor.checking import validator
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
_RETRY_S = 0.5
_AUDIT_EVERY_S = 3600.0
_WINDOW = 256

Message = tuple[str, str, bytes]
"""Subject, identity, payload."""


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


def check_one(
    rules: Validator, frame: pb.Frame, payload: bytes, origin: Origin, *, now_ns: int, index: int = 0
) -> Message | FieldError:
    """Returns a frame as it is published, or why the flow would reject it.

    Args:
        rules: The flow's own validator.
        frame: The frame.
        payload: Its bytes, which are stored as they are.
        origin: Who sends; decides the subject, whatever the frame says.
        now_ns: Log time, as far as a door knows it.
        index: Which frame of its request.
    """
    subject = subject_for(frame, origin)
    messages = Messages.build([(subject.encode(), 1, now_ns, payload)])
    _, rejects = rules.check(f"{origin.tenant}/{origin.patient}", messages)
    for reject in rejects:
        return FieldError(index=index, reason=reject.reason, detail=reject.detail)
    return subject, message_id(frame), payload


def check(rules: Validator, frames: Sequence[pb.Frame], origin: Origin, now_ns: int) -> list[Message]:
    """Returns frames as they are published; all of them pass the flow's validator.

    Raises:
        RefusedError: At least one it would reject; says which and why.
    """
    checked = [
        check_one(rules, frame, frame.SerializeToString(), origin, now_ns=now_ns, index=index)
        for index, frame in enumerate(frames)
    ]
    if errors := [one for one in checked if isinstance(one, FieldError)]:
        raise invalid(errors)
    return [one for one in checked if not isinstance(one, FieldError)]


class Ingest:
    """The connection, the API keys, and what the flow would say of a frame.

    Args:
        settings: Where NATS is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._validator = validator(settings, models=False)
        self._ids = MessageIds(settings.nats)
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
        return await self._publish(check(self._validator, frames, credential.origin, time.time_ns()), credential, route)

    async def store_each(
        self, payloads: Sequence[bytes], credential: Credential, route: str
    ) -> list[Stored | FieldError]:
        """Publishes the frames that the flow would take; returns once JetStream has them, an answer for each frame.

        Raises:
            RefusedError: JetStream does not answer; some may be stored, and are duplicates when they come again.
        """
        now_ns = time.time_ns()
        checked = [self._check_payload(payload, credential.origin, now_ns) for payload in payloads]
        good = [one for one in checked if not isinstance(one, FieldError)]
        stored = iter(await self._publish(good, credential, route) if good else [])
        return [one if isinstance(one, FieldError) else next(stored) for one in checked]

    def _check_payload(self, payload: bytes, origin: Origin, now_ns: int) -> Message | FieldError:
        try:
            frame = pb.Frame.FromString(payload)
        except DecodeError:
            return FieldError(index=0, reason="undecodable", detail="no vitals.v1 frame")
        return check_one(self._validator, frame, payload, origin, now_ns=now_ns)

    async def _publish(self, messages: Sequence[Message], credential: Credential, route: str) -> list[Stored]:
        client = self._client
        if client is None or not client.is_connected:
            raise _away(why="JetStream does not answer")
        js = client.jetstream(timeout=self._settings.nats.ack_timeout_s)
        stored: list[Stored] = []
        try:
            await self._audit(client, credential, route)
            for start in range(0, len(messages), _WINDOW):
                part = messages[start : start + _WINDOW]
                publishing = (
                    js.publish(subject, data, headers={"Nats-Msg-Id": self._ids.of(identity)})
                    for subject, identity, data in part
                )
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
