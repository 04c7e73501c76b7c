"""Commands into the log, whoever gives them: each is in AUDIT before it is there."""

from nats.aio.client import Client
from nats.js.api import PubAck

from connectors.identity.audit import AuditEvent, write_audit
from connectors.jetstream.ids import MessageIds
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import message_id, subject_of
from dataflows.settings import Settings


async def publish_command(client: Client, settings: Settings, frame: pb.Frame) -> PubAck:
    """Notes a command and publishes it; returns once the log has it.

    The log forgets after days, AUDIT does not. A command that comes again with its key is noted again, and has no
    second effect.

    Args:
        client: Connection that may publish both.
        settings: How long JetStream may take.
        frame: Of `command_frame`.

    Raises:
        nats.errors.Error: It was not confirmed; it may be stored, and can be sent again with the same key.
    """
    command = frame.command
    event = AuditEvent(
        what="command", actor=command.actor, tenant=frame.tenant, patient=frame.patient, detail=command.name
    )
    await write_audit(client, settings, event)
    js = client.jetstream(timeout=settings.nats.ack_timeout_s)
    headers = {"Nats-Msg-Id": MessageIds(settings.nats).of(message_id(frame))}
    return await js.publish(subject_of(frame), frame.SerializeToString(), headers=headers)
