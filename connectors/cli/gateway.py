"""`vitals gateway`: the way in over HTTP and gRPC."""

from typing import Annotated

import typer
from prometheus_client import start_http_server

from connectors.cli.console import CliError, load_settings, say
from connectors.local.doors import with_own_certificate
from connectors.local.ports import LOOPBACK
from dataflows.settings import Settings


def gateway(
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; default gateway.port.", show_default=False)
    ] = None,
) -> None:
    """Serve POST /v1/frames, /v1/observations, /v1/questionnaires, and gRPC, until Ctrl-C (docs/devices.md).

    A device's key comes from `vitals devices enrol --by http`.
    """
    try:
        import uvicorn  # noqa: PLC0415  (an optional extra)

        from connectors.gateway.server import UnsafeError, application  # noqa: PLC0415
        from connectors.local.listener import serving  # noqa: PLC0415
    except ImportError as error:
        message = f"{error.name} is missing: the gateway needs the extra `web` (pip install 'vitals[web]')"
        raise CliError(message) from error
    settings = with_gateway_credentials(load_settings())
    if port is not None:
        settings = settings.model_copy(update={"gateway": settings.gateway.model_copy(update={"port": port})})
    settings = with_own_certificate(settings, "gateway")
    door = settings.gateway
    try:
        app = application(settings)
    except UnsafeError as error:
        raise CliError(str(error)) from error
    if door.grpc_port:
        try:
            import connectors.gateway.streaming  # noqa: F401, PLC0415  (an optional extra)
        except ImportError as error:
            message = f"{error.name} is missing: gateway.grpc_port needs the extra `grpc` (pip install 'vitals[grpc]')"
            raise CliError(message) from error
        say(f"gRPC at {door.host}:{door.grpc_port} (vitals.v1.Ingest/Upload)")
    if door.metrics_port:
        start_http_server(door.metrics_port, LOOPBACK)
    scheme = "https" if door.tls_cert else "http"
    say(f"gateway at {scheme}://{door.host}:{door.port}/v1 (description: /v1/openapi.json); Ctrl-C stops it")
    uvicorn.run(app, **serving(door))


def with_gateway_credentials(settings: Settings) -> Settings:
    """Returns settings with the gateway's own, narrower credentials where the pipeline's would have been found."""
    own = settings.stack.identity_dir.absolute()
    if not settings.stack.security or settings.nats.credentials != own / "pipeline.creds":
        return settings
    nats = settings.nats.model_copy(update={"credentials": own / "gateway.creds"})
    return settings.model_copy(update={"nats": nats})
