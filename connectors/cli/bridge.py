"""`vitals bridge kafka` and `vitals bridge amqp`: frames in from the queues that hospitals have, alerts out to them."""

import asyncio
import logging
from typing import Literal

import typer
from prometheus_client import start_http_server

from connectors.bridge.service import Session, keep_running
from connectors.cli.console import CliError, load_settings, say
from connectors.identity.authority import IdentityError
from connectors.identity.devices import authority_of
from connectors.local.ports import LOOPBACK
from dataflows.settings import Settings

bridge_app = typer.Typer(no_args_is_help=True, help="Frames in from Kafka or AMQP, alerts out (docs/devices.md).")


@bridge_app.command("kafka")
def kafka() -> None:
    """Move frames from `bridge.kafka_topics` into the log and alerts to `bridge.kafka_alerts` until Ctrl-C."""
    try:
        from connectors.bridge import kafka as queue  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise _missing(error, "kafka") from error
    bridge = load_settings().bridge
    if not (bridge.kafka_topics or bridge.kafka_alerts):
        message = "nothing to do: set bridge.kafka_topics (frames in) or bridge.kafka_alerts (alerts out)"
        raise CliError(message)
    _run("kafka", queue.session, queue.ERRORS)


@bridge_app.command("amqp")
def amqp() -> None:
    """Move frames from `bridge.amqp_queues` into the log and alerts to `bridge.amqp_exchange` until Ctrl-C."""
    try:
        from connectors.bridge import amqp as queue  # noqa: PLC0415  (an optional extra)
    except ImportError as error:
        raise _missing(error, "amqp") from error
    bridge = load_settings().bridge
    if not (bridge.amqp_queues or bridge.amqp_exchange):
        message = "nothing to do: set bridge.amqp_queues (frames in) or bridge.amqp_exchange (alerts out)"
        raise CliError(message)
    _run("amqp", queue.session, queue.ERRORS)


def _missing(error: ImportError, extra: Literal["kafka", "amqp"]) -> CliError:
    return CliError(f"{error.name} is missing: this bridge needs the extra `{extra}` (pip install 'vitals[{extra}]')")


def _run(name: str, session: Session, errors: tuple[type[Exception], ...]) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    settings = with_bridge_credentials(load_settings())
    if settings.bridge.metrics_port:
        start_http_server(settings.bridge.metrics_port, LOOPBACK)
    say(f"bridge {name} for {settings.bridge.tenant}; Ctrl-C stops it")
    asyncio.run(keep_running(settings, session, errors))


def with_bridge_credentials(settings: Settings) -> Settings:
    """Returns settings with the bridge's own, narrower credentials where the pipeline's would have been found."""
    stack = settings.stack
    if not stack.security or settings.nats.credentials != (stack.identity_dir / "pipeline.creds").absolute():
        return settings
    try:
        own = authority_of(settings).bridge(settings.bridge.tenant)
    except IdentityError as error:
        raise CliError(str(error)) from error
    return settings.model_copy(update={"nats": settings.nats.model_copy(update={"credentials": own})})
