"""`vitals tenants`: organisations and what their accounts may have."""

from typing import Annotated

import typer
from rich.table import Table

from connectors.cli.console import console, load_settings, say
from connectors.cli.services import with_services
from connectors.identity.devices import authority_of

tenants_app = typer.Typer(no_args_is_help=True, help="Organisations and their limits.")


@tenants_app.command("list")
def list_tenants() -> None:
    """List organisations with their limits. Rates are settings: `stack.tenant_*`, `gateway.tenant_*`."""
    authority = authority_of(load_settings())
    table = Table("tenant", "connections", "bytes a message", box=None, pad_edge=False)
    for tenant in authority.tenants():
        limits = authority.limits(tenant)
        table.add_row(tenant, str(limits["conn"]), str(limits["payload"]))
    console.print(table)


@tenants_app.command()
def limit(
    tenant: Annotated[str, typer.Argument(help="Organisation.")],
    connections: Annotated[int, typer.Option(help="Connections of its devices at once.")],
) -> None:
    """Limit how many connections an organisation may have at once; the server knows it when this returns."""
    with_services(lambda services: services.limit(tenant, connections))
    say(f"{tenant}: at most {connections} connections")
