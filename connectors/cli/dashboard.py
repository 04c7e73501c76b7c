"""`vitals dashboard` and `vitals key`: the screen and the API, and keys for them."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from prometheus_client import start_http_server

from connectors.cli.console import CliError, console, load_settings, say
from connectors.identity.registry import digest
from connectors.local.doors import with_own_certificate
from connectors.local.ports import LOOPBACK
from dataflows.alerts.rules import RuleError


def dashboard(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; default web.port.", show_default=False)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address; default web.host.", show_default=False)] = None,
) -> None:
    """Serve the dashboard and the API (docs/api.md) until Ctrl-C.

    On loopback nobody needs a key. Elsewhere `web.keys` names a file of keys (`vitals key` makes one), or `oidc.issuer`
    who makes tokens, and `web.tls_cert` a certificate.
    """
    try:
        import uvicorn  # noqa: PLC0415  (an optional extra)

        from connectors.api.access import KeysError  # noqa: PLC0415
        from connectors.api.server import WEBSOCKETS, UnsafeError, application  # noqa: PLC0415
        from connectors.dashboard import PAGES  # noqa: PLC0415
        from connectors.local.listener import serving  # noqa: PLC0415
    except ImportError as error:
        message = f"{error.name} is missing: the dashboard needs the extra `web` (pip install 'vitals[web]')"
        raise CliError(message) from error
    settings = load_settings()
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update={"web": settings.web.model_copy(update=given)})
    settings = with_own_certificate(settings, "web")
    try:
        app = application(settings, PAGES)
    except (UnsafeError, KeysError, RuleError) as error:
        raise CliError(str(error)) from error
    if settings.web.metrics_port:
        start_http_server(settings.web.metrics_port, LOOPBACK)
    scheme = "https" if settings.web.tls_cert else "http"
    say(
        f"dashboard at {scheme}://{settings.web.host}:{settings.web.port}/ (API: /api/v1/openapi.json); Ctrl-C stops it"
    )
    uvicorn.run(app, **serving(settings.web), **WEBSOCKETS)


def key(
    name: Annotated[str, typer.Argument(help="Who it is for: stands beside every command.")],
    role: Annotated[str, typer.Option(help="viewer, clinician or admin.")] = "viewer",
    tenant: Annotated[str | None, typer.Option(help="Only this organisation.", show_default=False)] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It expires after so many days.", show_default=False)] = None,
) -> None:
    """Make an API key: prints it once, and the lines for the file of keys, which holds only its digest."""
    from connectors.api.access import Role  # noqa: PLC0415  (needs the extra `web`)

    if role.upper() not in Role.__members__:
        message = f"role: one of {', '.join(one.name.lower() for one in Role)}"
        raise CliError(message)
    made = f"vk_{secrets.token_urlsafe(32)}"
    say(f"key, shown only now: {made}\n\nfor the file that VITALS_WEB__KEYS names:\n")
    lines = ["[[key]]", f'name = "{name}"', f'role = "{role.lower()}"', f'sha256 = "{digest(made)}"']
    if tenant:
        lines.append(f'tenant = "{tenant}"')
    if days:
        lines.append(f"expires = {datetime.now(UTC).replace(microsecond=0) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}")
    console.print("\n".join(lines), soft_wrap=True)
