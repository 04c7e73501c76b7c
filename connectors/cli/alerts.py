"""`vitals alerts`: what the pipeline had to say, and says from now on."""

import asyncio
import json
import sys
from collections import deque
from typing import Annotated, Any

import typer
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from rich.text import Text

from connectors.cli.console import CliError, clock, console, load_settings, nats_client
from connectors.cli.noted import noted
from dataflows.settings import Settings

_NO_STREAM = 10059
"""Error code of the server: no such stream."""
_COLOURS = {"high": "bold red", "medium": "yellow", "low": "cyan"}


def line(alert: dict[str, Any]) -> Text:
    """Returns an alert as a line: when, how urgent, who, what."""
    style = _COLOURS.get(alert["priority"], "") if alert["notify"] else "dim"
    text = Text(f"{clock(alert['log_ns'])}  ")
    text.append(f"{alert['priority']:<6} {alert['event']:<12}", style)
    text.append(f"  {alert['tenant']}/{alert['patient']}  ")
    text.append(alert["rule"], style)
    text.append(
        f"  {alert['value']:.4g} {alert['unit']} (limit {alert['limit']:g})  {alert['code'] or alert['signal']}"
    )
    if alert["actor"]:
        text.append(f"  by {alert['actor']}")
    return text


async def read(client: Client, settings: Settings, subject: str) -> list[Msg]:
    """Returns every message of ALERTS under `subject`, in order.

    Raises:
        CliError: There is no such stream.
    """
    js = client.jetstream(timeout=settings.nats.ack_timeout_s)
    stream = settings.streams.alerts
    try:
        last = await js.get_last_msg(stream, subject)
    except NotFoundError as error:
        if error.err_code == _NO_STREAM:
            text = f"there is no stream {stream} yet: `vitals up` and the flow make it"
            raise CliError(text) from error
        return []
    subscription = await js.subscribe(subject, stream=stream, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
    messages: list[Msg] = []
    while not messages or messages[-1].metadata.sequence.stream < (last.seq or 0):
        try:
            messages.append(await subscription.next_msg(timeout=settings.nats.ack_timeout_s))
        except NatsTimeoutError as error:
            text = "NATS stopped sending alerts; try again"
            raise CliError(text) from error
    await subscription.unsubscribe()
    return messages


async def _show(settings: Settings, subject: str, last: int, follow: bool, as_json: bool) -> None:
    def show(message: Msg) -> None:
        if as_json:
            sys.stdout.write(message.data.decode() + "\n")
            sys.stdout.flush()
        else:
            console.print(line(json.loads(message.data)), soft_wrap=True)

    async with nats_client(settings, "vitals alerts") as client:
        past = await read(client, settings, subject)
        _, _, tenant, patient, rule = subject.split(".", 4)
        await noted(client, settings, f"alerts {rule}{' followed' if follow else ''}", tenant, patient)
        for message in deque(past, maxlen=last):
            show(message)
        if not follow:
            if not past and not as_json:
                console.print("no alerts yet")
            return
        js = client.jetstream(timeout=settings.nats.ack_timeout_s)
        after = past[-1].metadata.sequence.stream + 1 if past else 1
        subscription = await js.subscribe(
            subject,
            stream=settings.streams.alerts,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            config=ConsumerConfig(opt_start_seq=after),
        )
        async for message in subscription.messages:
            show(message)
        text = f"the connection to NATS at {settings.nats.url} was lost"
        raise CliError(text)


def alerts(
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new ones until Ctrl-C.")] = False,
    last: Annotated[int, typer.Option(min=0, help="How many of the past to print.")] = 20,
    patient: Annotated[str, typer.Option(help="Only this patient.")] = "*",
    rule: Annotated[str, typer.Option(help="Only this rule.")] = "*",
    tenant: Annotated[str, typer.Option(help="Only this organisation.")] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print the bodies as they were published.")] = False,
) -> None:
    """Print alerts: the last ones, and with --follow new ones as they come."""
    asyncio.run(_show(load_settings(), f"alerts.v1.{tenant}.{patient}.{rule}", last, follow, as_json))
