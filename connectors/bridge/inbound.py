"""Frames from a queue into the log: the same bytes, the flow's own checks, a reject for what would not be taken.

The source is told that it may forget only after `take` has returned, so a bridge that dies takes the same messages
again. Frames carry their own identity as message id, rejects the place where they were, so nothing is there twice
within the server's dedupe window; a frame that comes later is removed by the flow.
"""

import logging
import time
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from prometheus_client import Counter

from connectors.gateway.ingest import check_one, subject_for
from connectors.gateway.problems import FieldError
from connectors.jetstream.ids import MessageIds
from dataflows._native import Publisher, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, header_text, rejected_subject

logger = logging.getLogger(__name__)
MESSAGES = Counter("vitals_bridge_messages", "Messages by queue and what became of them", ["queue", "outcome"])
KEPT_BYTES = 64 << 10
"""What REJECTED keeps of a message: as much as a frame may have."""

Outgoing = tuple[str, list[tuple[str, str]], bytes]


@dataclass(frozen=True)
class Incoming:
    """A message of a queue.

    Attributes:
        payload: Its bytes: a frame of vitals.proto.
        place: Where it stands, the same whenever it comes again: `kafka/<topic>/<partition>/<offset>`.
    """

    payload: bytes
    place: str


class Inbound:
    """Takes what a queue delivers.

    Args:
        publisher: Connection to JetStream.
        ids: Of what is published on it.
        validator: The flow's own.
        tenant: The organisation that the queue belongs to; a frame of another one is refused.
        queue: Kind of queue, for metrics and logs.
    """

    def __init__(self, publisher: Publisher, ids: MessageIds, validator: Validator, tenant: str, queue: str) -> None:
        self._publisher, self._ids, self._validator = publisher, ids, validator
        self._tenant, self._queue = tenant, queue

    def take(self, messages: Sequence[Incoming]) -> int:
        """Stores frames and rejects; returns how many were frames, once JetStream has all of them.

        Raises:
            dataflows._native.PublishError: One was not acknowledged; others may be stored, and are duplicates later.
            dataflows._native.JetStreamError: The connection broke; likewise.
        """
        now_ns, refused = time.time_ns(), Tally[str]()
        outgoing: list[Outgoing] = []
        for message in messages:
            found = self._checked(message.payload, now_ns)
            if isinstance(found, FieldError):
                refused[found.reason] += 1
                outgoing.append(self._reject(message, found))
            else:
                subject, identity, payload = found
                outgoing.append((subject, [("Nats-Msg-Id", self._ids.of(identity))], payload))
        if outgoing:
            self._publisher.publish_all(outgoing)
        MESSAGES.labels(self._queue, "stored").inc(len(messages) - refused.total())
        for reason, number in refused.items():
            MESSAGES.labels(self._queue, reason).inc(number)
            logger.warning("bridge: %d of %d messages rejected: %s", number, len(messages), reason)
        return len(messages) - refused.total()

    def _checked(self, payload: bytes, now_ns: int) -> tuple[str, str, bytes] | FieldError:
        if len(payload) > KEPT_BYTES:
            return FieldError(index=0, reason="too_large", detail=f"{len(payload)} bytes; a frame has {KEPT_BYTES}")
        try:
            frame = pb.Frame.FromString(payload)
        except DecodeError:
            return FieldError(index=0, reason="undecodable", detail="no vitals.v1 frame")
        try:
            origin = Origin(frame.patient, frame.device, tenant=self._tenant)
        except ValueError as error:
            return FieldError(index=0, reason="subject_invalid", detail=str(error))
        return check_one(self._validator, frame, payload, origin, now_ns=now_ns)

    def _subject(self, payload: bytes) -> str:
        """Where a refused message would have gone, as far as it says so: what drives it again needs it."""
        try:
            frame = pb.Frame.FromString(payload[:KEPT_BYTES])
            return subject_for(frame, Origin(frame.patient, frame.device, tenant=self._tenant))
        except (DecodeError, ValueError):
            return f"vitals.v1.{self._tenant}.unknown.bridge.unknown"

    def _reject(self, message: Incoming, found: FieldError) -> Outgoing:
        subject = self._subject(message.payload)
        headers = [
            ("Nats-Msg-Id", self._ids.of(message.place)),
            ("Vitals-Reason", found.reason),
            ("Vitals-Detail", header_text(found.detail, 500)),
            ("Vitals-Subject", subject),
            ("Vitals-Source", message.place),
        ]
        if len(message.payload) > KEPT_BYTES:
            headers.append(("Vitals-Cut-From-Bytes", str(len(message.payload))))
        # The organisation is in the subject, where the server checks it: a reject can be driven again.
        return rejected_subject(found.reason, subject, "bridge"), headers, message.payload[:KEPT_BYTES]
