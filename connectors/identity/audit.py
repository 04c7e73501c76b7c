"""The audit log: who did what to whom, in the stream AUDIT and the table `audit`.

The stream is the record: nothing in it can be deleted or purged through JetStream. The row takes the way of every row
that cannot wait for the database, through SPILL, so an audited act never waits for QuestDB and never goes unwritten.
"""

import time
import uuid

import msgspec
from nats.aio.client import Client

from connectors.questdb.spill import spill_messages
from dataflows.contracts.frames import DEFAULT_TENANT
from dataflows.contracts.tables import AUDIT
from dataflows.settings import Settings


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One act.

    Attributes:
        what: `enrol`, `revoke`, `rotate`, `limit`, `command`, `read`, `write`, `refused`: a closed list.
        actor: Who did it: a program, a device, a person; never a secret.
        outcome: `done`, or why not in a word.
        tenant: Whom it concerns, as far as there is one.
        patient: Pseudonym.
        device: Device.
        detail: More in words; never a secret and never a payload.
        at_ns: When, ns since 1970.
        id: Identity of the event.
    """

    what: str
    actor: str
    outcome: str = "done"
    tenant: str = DEFAULT_TENANT
    patient: str = ""
    device: str = ""
    detail: str = ""
    at_ns: int = msgspec.field(default_factory=time.time_ns)
    id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))

    def row(self) -> tuple[object, ...]:
        """The row of the table `audit`."""
        who = (self.tenant, self.patient, self.device)
        return (self.at_ns, *who, self.what, self.actor, self.outcome, self.detail, self.id)


async def write_audit(client: Client, settings: Settings, event: AuditEvent) -> None:
    """Writes an event; returns once JetStream has it.

    Raises:
        nats.errors.Error: It was not stored; then what it tells of must not go on either.
    """
    js = client.jetstream(timeout=settings.nats.ack_timeout_s)
    headers = {"Nats-Msg-Id": event.id}
    await js.publish(f"audit.v1.{event.tenant}.{event.what}", msgspec.json.encode(event), headers=headers)
    if settings.questdb.enabled:
        for subject, spill_headers, payload in spill_messages([(AUDIT.name, event.row())]):
            await js.publish(subject, payload, headers=spill_headers)
