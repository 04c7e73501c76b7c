"""Who read what of whom: every answer about patients is in AUDIT before it is given.

Screens ask again and again, so a person's reads of one patient by one route are one event in ten minutes. While NATS is
away care goes on: the answer is given, and what could not be noted is in the log of the server and counted.
"""

import logging
import time

from nats.aio.client import Client
from nats.errors import Error as NatsError
from prometheus_client import Counter

from connectors.api.access import Identity
from connectors.identity.audit import AuditEvent, write_audit
from dataflows.settings import Settings

logger = logging.getLogger(__name__)
UNNOTED = Counter("vitals_api_reads_unnoted", "Reads of patients that could not be noted in AUDIT")
EVERY_S = 600.0
_MOST = 100_000


class Readers:
    """Notes reads.

    Args:
        settings: Where the audit log is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._noted_s: dict[tuple[str, str, str, str], float] = {}

    async def note(self, client: Client | None, identity: Identity, tenant: str, patient: str, route: str) -> None:
        """Notes a read; returns when AUDIT has it, or it is known that it cannot be had now.

        Args:
            client: Connection to NATS; None while there is none.
            identity: Who reads.
            tenant: Organisation.
            patient: Pseudonym; empty for a list of many.
            route: What is read.
        """
        act, now = (identity.name, tenant, patient, route), time.monotonic()
        if now - self._noted_s.get(act, -EVERY_S) < EVERY_S:
            return
        event = AuditEvent(what="read", actor=identity.name, tenant=tenant, patient=patient, detail=route)
        try:
            if client is None or not client.is_connected:
                message = "NATS does not answer"
                raise OSError(message)
            await write_audit(client, self._settings, event)
        except (NatsError, OSError, TimeoutError) as error:
            UNNOTED.inc()
            logger.warning(
                "not in AUDIT: %s read %s of %s/%s (%s)", identity.name, route, tenant, patient or "*", error
            )
            return
        if len(self._noted_s) >= _MOST:
            self._noted_s = {one: at for one, at in self._noted_s.items() if now - at < EVERY_S}
        self._noted_s[act] = now
