"""The settings of a connection in the terms of the two clients: the native one of the flow, nats-py for set-up."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import nats
from nats.aio.client import Client
from nats.errors import NoServersError

from connectors.identity.claims import ClaimsError, subject_of
from dataflows._native import NatsOptions
from dataflows.settings import NatsSettings

logger = logging.getLogger(__name__)
# nats-py answers asyncio in a way that means nothing with TLS: a warning at the end of every connection, about nothing.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.msg)


def native_options(settings: NatsSettings, name: str) -> NatsOptions:
    """Returns the options of the native client; `name` is what the server's monitoring shows."""
    return NatsOptions(
        settings.url,
        name=name,
        timeout_s=settings.ack_timeout_s,
        credentials=settings.credentials,
        user=settings.user,
        password=settings.password.get_secret_value() if settings.password else None,
        tls_ca=settings.tls_ca,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        inbox_prefix=inbox_prefix(settings),
    )


def inbox_prefix(settings: NatsSettings) -> str | None:
    """Returns what the subjects of answers begin with: the identity's own name, which roles may hear and nobody else.

    All of the pipeline's traffic to its programs goes to such subjects, whole streams of it. None where there is no
    identity, and where the file cannot be read: then the client says so.
    """
    if settings.credentials is None:
        return None
    try:
        return f"_INBOX.{subject_of(settings.credentials.read_text())}"
    except (OSError, ClaimsError):
        return None


def raise_if_cancelled() -> None:
    """Ends a task whose cancellation was lost; for endless loops of requests.

    `asyncio.wait_for` of Python 3.11, with which nats-py waits, loses one that comes together with an answer.

    Raises:
        asyncio.CancelledError: The task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def connect(settings: NatsSettings, name: str, *, on_lost: Callable[[], Awaitable[None]] | None = None) -> Client:
    """Connects with nats-py: for set-up and tools, never for the hot path.

    Args:
        settings: Where and how.
        name: What the server's monitoring shows.
        on_lost: Called once when the connection ends; it does not come back by itself.

    Raises:
        nats.errors.Error: The server refuses.
        OSError: Nobody answers.
    """
    failures: list[Exception] = []

    async def on_error(error: Exception) -> None:
        # The client's own way is a traceback for every attempt, and an error in the end that hides the reason.
        failures.append(error)
        logger.info("%s: %s", name, error)

    options: dict[str, Any] = {
        "name": name,
        "allow_reconnect": False,
        "max_reconnect_attempts": 1,
        "reconnect_time_wait": 0.2,
        "connect_timeout": settings.ack_timeout_s,
        "error_cb": on_error,
        "closed_cb": on_lost,
    }
    if prefix := inbox_prefix(settings):
        options["inbox_prefix"] = prefix
    if settings.credentials:
        options["user_credentials"] = str(settings.credentials)
    if settings.user:
        options["user"] = settings.user
    if settings.password:
        options["password"] = settings.password.get_secret_value()
    if settings.tls_ca or settings.tls_cert:
        options["tls"] = ssl.create_default_context(cafile=settings.tls_ca)
    if settings.tls_cert:
        options["tls"].load_cert_chain(settings.tls_cert, settings.tls_key)
    try:
        return await nats.connect([server.strip() for server in settings.url.split(",")], **options)
    except NoServersError as error:
        raise (failures[-1] if failures else error) from None
