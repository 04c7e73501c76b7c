"""`vitals services`: identities of programs that run elsewhere, with the rights of their role and no more."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from connectors.cli.console import CliError, load_settings, nats_client, say
from connectors.cli.noted import local_actor
from connectors.identity.authority import IdentityError, Issued
from connectors.identity.claims import ClaimsError, credentials_file, subject_of
from connectors.identity.files import write_secret
from connectors.identity.services import Services
from connectors.jetstream.streams import ensure_streams_async
from dataflows.contracts.frames import DEFAULT_TENANT

services_app = typer.Typer(no_args_is_help=True, help="Enrol and revoke programs that run elsewhere.")
Days = Annotated[float, typer.Option(help="How long the identity holds, at most 366.")]
Out = Annotated[Path | None, typer.Option(help="File for the secret, made with mode 0600.", show_default=False)]
_T = TypeVar("_T")


def with_services(act: Callable[[Services], Awaitable[_T]]) -> _T:
    """Acts on a connection of the pipeline's account.

    Raises:
        CliError: It cannot be done; says why.
    """
    settings = load_settings()

    async def run() -> _T:
        await ensure_streams_async(settings)
        async with nats_client(settings, "vitals services") as client:
            return await act(Services(client, settings, local_actor()))

    try:
        return asyncio.run(run())
    except IdentityError as error:
        raise CliError(str(error)) from error


def hand_over(issued: Issued, file: Path) -> None:
    """Writes the secret where its owner alone can read it, and says where."""
    write_secret(file, credentials_file(issued.token, issued.seed))
    say(f"identity {issued.public}; its secret is in {file.absolute()}, and nowhere else")


@services_app.command()
def bridge(
    tenant: Annotated[str, typer.Option(help="Organisation.")] = DEFAULT_TENANT, days: Days = 365.0, out: Out = None
) -> None:
    """Make an identity for the bridges of an organisation: its frames in, its alerts out, and nothing else.

    Name the file in VITALS_NATS__CREDENTIALS where `vitals bridge` runs; beside the keys it finds its own.
    """
    issued = with_services(lambda services: services.enrol("bridge", f"bridge {tenant}", {"tenant": tenant}, days))
    hand_over(issued, out or Path(f"bridge-{tenant}.creds"))


@services_app.command()
def reader(
    name: Annotated[str, typer.Argument(help="Name of the program, and of its consumers.")],
    *,
    tenant: Annotated[str, typer.Option(help="Organisation.")] = DEFAULT_TENANT,
    reads: Annotated[str, typer.Option(help="What it reads: alerts, rejected, frames, with commas.")] = "alerts",
    days: Days = 365.0,
    out: Out = None,
) -> None:
    """Make an identity for a program that reads an organisation's own streams (docs/alerts.md).

    It takes messages from the consumer NAME of the streams ALERTS, REJECTED and VITALS in the organisation's account,
    as far as it reads them, and may nothing else.
    """
    wanted = [one.strip() for one in reads.split(",") if one.strip()]
    issued = with_services(lambda services: services.enrol_reader(tenant, name, days, wanted))
    hand_over(issued, out or Path(f"reader-{tenant}-{name}.creds"))


@services_app.command()
def revoke(
    identity: Annotated[str, typer.Argument(help="Public key (U...), or the credentials file.")],
    tenant: Annotated[str, typer.Option(help="Organisation, for a reader of its streams.", show_default=False)] = "",
) -> None:
    """Revoke the identity of a program at once: its connections are closed, and it is let in no more.

    A gateway or bridge beside the keys gets a new one at its next start, when its old file is gone.
    """
    file = Path(identity)
    try:
        public = subject_of(file.read_text()) if file.is_file() else identity
    except (ClaimsError, OSError, UnicodeDecodeError) as error:
        message = f"{file}: {error}"
        raise CliError(message) from error
    with_services(lambda services: services.revoke(public, tenant))
    say(f"revoked: {public}")
