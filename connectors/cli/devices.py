"""`vitals devices` and `vitals certs`: who may come in."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.table import Table

from connectors.cli.console import CliError, PlainConsole, console, load_settings, nats_client, say
from connectors.cli.noted import local_actor, note_read
from connectors.devices.about import ContextError, context_of
from connectors.devices.check import CaptureError, check_capture, read_capture
from connectors.identity.authority import IdentityError
from connectors.identity.certs import LOCAL_NAMES, DevelopmentCA
from connectors.identity.devices import SUFFIX, Devices, Enrolled
from connectors.identity.files import write_secret
from connectors.identity.registry import By, Registry
from connectors.jetstream.streams import ensure_streams_async
from dataflows.contracts.frames import DEFAULT_TENANT, Origin

devices_app = typer.Typer(no_args_is_help=True, help="Enrol, revoke, rotate, list and check devices.")

_T = TypeVar("_T")
_WIDTH = 320
"""Characters of the longest line of the list."""
Patient = Annotated[str, typer.Argument(help="Pseudonym of the patient.")]
Device = Annotated[str, typer.Argument(help="Name of the device.")]
Tenant = Annotated[str, typer.Option(help="Organisation.")]
Way = Annotated[str, typer.Option("--by", help="How it comes in: nats (also WebSocket), mqtt or http.")]
Days = Annotated[float, typer.Option(help="How long the identity holds, at most 366.")]
Out = Annotated[Path | None, typer.Option(help="File for the secret, made with mode 0600.", show_default=False)]


def _run(act: Callable[[Devices], Awaitable[_T]]) -> _T:
    settings = load_settings()

    async def run() -> _T:
        await ensure_streams_async(settings)
        async with nats_client(settings, "vitals devices") as client:
            registry = await Registry.open(client, replicas=settings.streams.replicas)
            return await act(Devices(client, registry, settings, local_actor()))

    try:
        return asyncio.run(run())
    except IdentityError as error:
        raise CliError(str(error)) from error


def _origin(tenant: str, patient: str, device: str) -> Origin:
    try:
        return Origin(patient, device, tenant=tenant)
    except ValueError as error:
        raise CliError(str(error)) from error


def _way(by: str) -> By:
    for way in SUFFIX:
        if way == by:
            return way
    message = f"--by is one of {', '.join(SUFFIX)}, not {by!r}"
    raise CliError(message)


def _about(file: Path, device: str) -> str:
    try:
        found = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
        return msgspec.json.encode(context_of(found, device, datetime.now(UTC).date())).decode()
    except (OSError, msgspec.DecodeError, ContextError) as error:
        message = f"{file}: {error}"
        raise CliError(message) from error


def _hand_over(enrolled: Enrolled, out: Path | None) -> None:
    credential = enrolled.credential
    name = f"{credential.tenant}-{credential.patient}-{credential.device}.{SUFFIX[credential.by]}"
    file = out or Path(name)
    write_secret(file, enrolled.secret)
    say(f"{credential.by} identity {credential.id} until {_day(credential.expires_s)}")
    say(f"its secret is in {file.absolute()}, and nowhere else")


def _day(s: int) -> str:
    return datetime.fromtimestamp(s, UTC).strftime("%Y-%m-%d")


@devices_app.command()
def enrol(
    patient: Patient,
    device: Device,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    by: Way = "nats",
    days: Days = 365.0,
    out: Out = None,
    fhir: Annotated[
        Path | None,
        typer.Option(help="FHIR Patient, Device, ... or a Bundle: told to the rules as `context`.", show_default=False),
    ] = None,
) -> None:
    """Make an identity for a device: it may publish its own frames and nothing else.

    nats gives a credentials file for any NATS client (over TCP or WebSocket), mqtt a token that is the password of an
    MQTT 3.1.1 client, http an API key for the gateway.
    """
    origin, way = _origin(tenant, patient, device), _way(by)
    about = _about(fhir, device) if fhir else None
    enrolled = _run(lambda devices: devices.enrol(origin, way, days))
    _hand_over(enrolled, out)
    if about is not None:
        _run(lambda devices: devices.tell(origin, about, enrolled.credential.id))
        say(f"context of {tenant}/{patient}: {about}")


@devices_app.command()
def rotate(
    patient: Patient,
    device: Device,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    by: Way = "nats",
    days: Days = 365.0,
    keep_old: Annotated[bool, typer.Option(help="Leave the old ones valid until they are revoked.")] = False,
    out: Out = None,
) -> None:
    """Make a new identity for a device and revoke those it had for the same way in."""
    origin, way = _origin(tenant, patient, device), _way(by)
    _hand_over(_run(lambda devices: devices.rotate(origin, way, days, keep_old=keep_old)), out)


@devices_app.command()
def revoke(
    patient: Patient,
    device: Device,
    tenant: Tenant = DEFAULT_TENANT,
    identity: Annotated[str, typer.Option("--id", help="Only this identity.", show_default=False)] = "",
) -> None:
    """Revoke a device's identities at once: open connections are closed, API keys refused."""
    origin = _origin(tenant, patient, device)
    for credential in _run(lambda devices: devices.revoke(origin, identity)):
        say(f"revoked: {credential.by} identity {credential.id}")


@devices_app.command("list")
def list_devices(
    tenant: Annotated[str, typer.Option(help="Only this organisation.", show_default=False)] = "",
    patient: Annotated[str, typer.Option(help="Only this patient.", show_default=False)] = "",
) -> None:
    """List identities that were handed out, and whether they are valid."""
    found = _run(lambda devices: devices.all(tenant, patient))
    note_read(load_settings(), "devices list", tenant or None, patient)
    if not found:
        say("no device is enrolled")
        return
    table = Table("tenant", "patient", "device", "by", "state", "issued", "expires", "id", box=None, pad_edge=False)
    now = time.time()
    for credential in found:
        table.add_row(
            credential.tenant, credential.patient, credential.device, credential.by, credential.state(now),
            _day(credential.issued_s), _day(credential.expires_s), credential.id,
        )  # fmt: skip
    # An id that is cut cannot be given to `revoke --id`.
    PlainConsole(width=max(console.width, _WIDTH)).print(table)


@devices_app.command()
def check(
    capture: Annotated[
        Path, typer.Argument(help="JSON lines of subject and payload (base64), or a folder of payloads.")
    ],
) -> None:
    """Say what is wrong with a device's captured messages, in the words of the rejection reasons (docs/devices.md).

    Exit code 1 when the flow would reject one of them.
    """
    try:
        checked = check_capture(read_capture(capture), load_settings())
    except CaptureError as error:
        raise CliError(str(error)) from error
    for finding in [*checked.rejected, *checked.notes]:
        say(f"{finding.place}: {finding.reason}: {finding.detail}  ({finding.subject})")
    verdict = f"{checked.messages} messages, {len(checked.rejected)} rejected, {len(checked.notes)} notes"
    if checked.rejected or not checked.messages:
        raise CliError(verdict)
    say(verdict)


def certs(
    name: Annotated[list[str] | None, typer.Option(help="Host name or address of the server; repeat.")] = None,
    client: Annotated[str, typer.Option(help="Make a client's certificate of this name.", show_default=False)] = "",
) -> None:
    """Make certificates of a development authority for every listener, or for a client.

    `stack.security` makes the server's by itself; this adds names to it. For a real site use your own authority.
    """
    authority = DevelopmentCA(load_settings().stack.identity_dir / "tls")
    pair = authority.client(client) if client else authority.server([*LOCAL_NAMES, *(name or [])])
    say(f"certificate {pair.certificate}\nkey         {pair.key}\nauthority   {authority.certificate}")
