"""Who and what is let in: the one place that every listener of the gateway asks, whatever it speaks.

A key says whose frames they are, a bucket how many may come, the flow's own validator what it would take. What passes
is in the log when the call returns; what does not is refused with a reason, logged and counted.
"""

import logging
from collections import Counter as Tally
from collections.abc import Sequence

from prometheus_client import Counter

from connectors.gateway.ingest import Ingest, Stored
from connectors.gateway.limits import RateLimit
from connectors.gateway.problems import FieldError, RefusedError
from connectors.identity.registry import Credential
from dataflows.contracts import vitals_pb2 as pb
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
REQUESTS = Counter("vitals_gateway_requests", "Requests by route and what became of them", ["route", "outcome"])
FRAMES = Counter("vitals_gateway_frames", "Frames stored", ["route"])


class Admission:
    """What the listeners share.

    Args:
        settings: Limits, and where NATS is.
    """

    def __init__(self, settings: Settings) -> None:
        door = settings.gateway
        self.ingest = Ingest(settings)
        self._devices = RateLimit("this device", door.frames_per_s, door.burst_frames)
        self._tenants = RateLimit("this organisation", door.tenant_frames_per_s, door.tenant_burst_frames)

    def identify(self, authorization: str) -> Credential:
        """Returns whose key a header `Authorization: Bearer KEY` holds.

        Raises:
            RefusedError: None, nobody's, a revoked or an expired one; or the keys are not known now.
        """
        scheme, _, presented = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise RefusedError(401, "key_missing", "a key is needed: Authorization: Bearer KEY")
        return self.ingest.identify(presented.strip())

    async def take(self, frames: Sequence[pb.Frame], credential: Credential, route: str) -> list[Stored]:
        """Stores all of a request's frames, or none of them.

        Raises:
            RefusedError: Says why.
        """
        if not frames:
            raise RefusedError(422, "empty", "the request holds nothing to store")
        self._count(credential, len(frames))
        stored = await self.ingest.store(frames, credential, route)
        FRAMES.labels(route).inc(len(stored))
        return stored

    async def take_each(
        self, payloads: Sequence[bytes], credential: Credential, route: str
    ) -> list[Stored | FieldError]:
        """Stores the frames of a stream that would be taken; answers each on its own.

        Raises:
            RefusedError: The device sends too fast (then nothing was looked at), or JetStream does not answer.
        """
        self._count(credential, len(payloads))
        answers = await self.ingest.store_each(payloads, credential, route)
        refused = Tally(answer.reason for answer in answers if isinstance(answer, FieldError))
        FRAMES.labels(route).inc(len(answers) - refused.total())
        REQUESTS.labels(route, "stored").inc(len(answers) - refused.total())
        for reason, number in refused.items():
            REQUESTS.labels(route, reason).inc(number)
            logger.warning("gateway refused %d of %s from %s: %s", number, route, credential.key, reason)
        return answers

    def refused(self, route: str, address: str, error: RefusedError) -> None:
        """Logs and counts a refusal: the address and the reason; never the key, never the body."""
        REQUESTS.labels(route, error.title).inc()
        logger.warning("gateway refused %s from %s: %s (%s)", route, address, error.title, error.status)

    def _count(self, credential: Credential, frames: int) -> None:
        self._tenants.take(credential.tenant, frames)
        try:
            self._devices.take(credential.key, frames)
        except RefusedError:
            # What a device may not send costs its neighbours nothing.
            self._tenants.give(credential.tenant, frames)
            raise
