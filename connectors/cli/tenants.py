"""`vitals tenants`: organisations and what their accounts may have."""

from typing import Annotated

import typer
from rich.table import Table

from connectors.cli.console import CliError, console, load_settings, say
from connectors.cli.services import with_services
from connectors.identity.devices import authority_of

tenants_app = typer.Typer(no_args_is_help=True, help="Organisations and their limits.")


@tenants_app.command("list")
def list_tenants() -> None:
    """List organisations with their limits. Rates are settings: `stack.tenant_*`, `gateway.tenant_*`."""
    authority = authority_of(load_settings())
    table = Table("tenant", "connections", "bytes of its own frames", box=None, pad_edge=False)
    for tenant in authority.tenants():
        grant = authority.granted(tenant)
        table.add_row(tenant, str(grant.connections), str(grant.frames_bytes))
    console.print(table)


@tenants_app.command()
def limit(
    tenant: Annotated[str, typer.Argument(help="Organisation.")],
    connections: Annotated[
        int | None, typer.Option(help="Connections of its devices at once.", show_default=False)
    ] = None,
    frames_bytes: Annotated[
        int | None,
        typer.Option(help="What a copy of its frames in its own account may hold; 0: no copy.", show_default=False),
    ] = None,
) -> None:
    """Limit what an organisation may have; the server knows it when this returns.

    The copy of its frames begins with what the log still holds of them, and takes so much more disk (docs/devices.md).
    """
    given = {"connections": connections, "frames_bytes": frames_bytes}
    changes = {name: value for name, value in given.items() if value is not None}
    if not changes:
        message = "say what to limit: --connections or --frames-bytes"
        raise CliError(message)
    grant = with_services(lambda services: services.limit(tenant, **changes))
    say(f"{tenant}: at most {grant.connections} connections, {grant.frames_bytes} bytes of its own frames")
