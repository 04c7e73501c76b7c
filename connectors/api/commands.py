"""Commands of people and programs: checked by the flow's own validator, stored in the log, answered when they are.

The answer says that the command is on record. What it led to comes as a transition of the alert (or as a row of
`commands`), like everything else that the log decides.
"""

import time
from dataclasses import dataclass

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError

from connectors.api.access import COMMAND_ROLES, Identity
from connectors.api.problems import ProblemError
from connectors.identity.commands import publish_command
from dataflows._native import Messages, Validator
from dataflows.contracts.frames import command_frame, subject_of
from dataflows.settings import Settings

_SECOND_NS = 1_000_000_000


class CommandRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a command's POST."""

    idempotency_key: str
    """1 to 128 characters; the same key again has no second effect."""
    argument: dict[str, object] = {}
    """By the command: docs/api.md."""
    on_behalf_of: str = ""
    """Who asks, where a program speaks for a person; kept beside the key's own name."""


@dataclass(frozen=True)
class Stored:
    """A command that is in the log."""

    log_seq: int
    duplicate: bool
    actor: str


async def send(
    client: Client | None,
    validator: Validator,
    settings: Settings,
    *,
    identity: Identity,
    place: tuple[str, str],
    name: str,
    body: bytes,
) -> Stored:
    """Stores a command.

    Args:
        client: Connection to NATS; None while there is none.
        validator: The flow's.
        settings: Where AUDIT is.
        identity: Who asks.
        place: Tenant and patient.
        name: Name of the command.
        body: JSON of `CommandRequest`.

    Raises:
        ProblemError: Unknown, not allowed, invalid, or NATS does not take it.
    """
    if name not in COMMAND_ROLES:
        raise ProblemError(404, f"there is no command {name}; there are {', '.join(COMMAND_ROLES)}")
    identity.need(COMMAND_ROLES[name])
    try:
        request = msgspec.json.decode(body, type=CommandRequest)
    except msgspec.MsgspecError as error:
        raise ProblemError(422, f"the body must be {{idempotency_key, argument}}: {error}") from error
    tenant, patient = place
    actor = f"{request.on_behalf_of} ({identity.name})" if request.on_behalf_of else identity.name
    now_ns = time.time_ns()
    frame = command_frame(
        patient,
        name,
        actor=actor,
        idempotency_key=request.idempotency_key,
        argument_json=msgspec.json.encode(request.argument).decode(),
        device_ns=now_ns,
        tenant=tenant,
    )
    stored = ("vp.0." + subject_of(frame).removeprefix("vitals.v1.")).encode()
    message = (stored, 1, now_ns, frame.SerializeToString())
    _, rejects = validator.check(f"{tenant}/{patient}", Messages.build([message]))
    if rejects:
        raise ProblemError(422, f"{rejects[0].reason}: {rejects[0].detail}")
    if client is None or not client.is_connected:
        raise ProblemError(503, "NATS does not answer: the command was not stored")
    try:
        ack = await publish_command(client, settings, frame)
    except (NatsError, OSError) as error:
        # It may have been stored: with the same key a second attempt has no second effect.
        raise ProblemError(
            503, f"NATS did not confirm ({error or type(error).__name__}): send it again, same key"
        ) from error
    return Stored(ack.seq, bool(ack.duplicate), actor)
