"""The outbox: every transition that has to be told is delivered to every target that wants it, at least once.

ALERTS is the outbox. Each target has a durable consumer, so what was not confirmed is sent again after a crash, and one
target that is away holds up no other. A message is acknowledged after the target has taken it and after the log has
been told (`delivered`); what is sent twice carries the same idempotency key. What cannot be delivered goes to the
stream of dead letters with the reason.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from connectors.fhir.resources import flag
from connectors.identity.commands import publish_command
from connectors.jetstream.connection import connect
from connectors.notify.post import Answer, post
from dataflows.contracts.frames import command_frame
from dataflows.settings import NotifyTarget, Settings

logger = logging.getLogger(__name__)

_RANKS = {"high": 0, "medium": 1, "low": 2}
DEAD = "notify.dead.v1"
"""Subjects of dead letters: `notify.dead.v1.<target>`."""


@dataclass
class Counts:
    """What the service has done since it started."""

    delivered: int = 0
    skipped: int = 0
    retried: int = 0
    dead: int = 0
    errors: list[str] = field(default_factory=list)


def wanted(target: NotifyTarget, alert: dict[str, Any]) -> bool:
    """Returns whether a target wants to hear of a transition."""
    if target.events == "notify" and not alert.get("notify"):
        return False
    if target.kinds and alert.get("kind") not in target.kinds:
        return False
    if target.tenant not in ("", alert.get("tenant")):
        return False
    return (
        _RANKS.get(str(alert.get("priority")), 0) <= _RANKS[target.least] and int(alert.get("level", 1)) >= target.level
    )


def body_for(target: NotifyTarget, alert: dict[str, Any], published: bytes) -> bytes:
    """Returns what a target is sent: the alert as it was published, or a FHIR Flag."""
    return published if target.form == "vitals" else json.dumps(flag(alert)).encode()


def back_off_s(target: NotifyTarget, attempt: int, seeded: random.Random) -> float:
    """Returns the pause after a failed attempt (from 1): exponential, with full jitter so that none come together."""
    return seeded.uniform(0.5, 1.0) * min(target.retry_max_s, target.retry_s * 2.0 ** min(attempt - 1, 20))


class Notifier:
    """Delivers to one target."""

    def __init__(self, settings: Settings, target: NotifyTarget, client: Client) -> None:
        self._settings, self._target, self._client = settings, target, client
        self._js: JetStreamContext = client.jetstream(timeout=settings.nats.ack_timeout_s)
        self._random = random.Random()  # noqa: S311  (spreads retries, keeps no secret)
        self.counts = Counts()

    @property
    def durable(self) -> str:
        """Name of the target's consumer."""
        return f"notify-{self._target.name}"

    async def run(self) -> None:
        """Delivers until it is cancelled or the connection ends."""
        subscription = await self._subscribe()
        slots = asyncio.Semaphore(self._target.in_flight)
        tasks: set[asyncio.Task[None]] = set()
        try:
            while self._client.is_connected:
                await slots.acquire()
                try:
                    (message,) = await subscription.fetch(1, timeout=1.0)
                except NatsTimeoutError:
                    slots.release()
                    continue
                task = asyncio.create_task(self._handle(message))
                tasks.add(task)
                for callback in (tasks.discard, self._note, lambda _: slots.release()):
                    task.add_done_callback(callback)
        finally:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _note(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # The message stays unacknowledged and comes again.
            self.counts.errors.append(str(error))
            logger.warning("%s: %s", self._target.name, error)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        stream = self._settings.streams.alerts
        try:
            await self._js.consumer_info(stream, self.durable)
        except NotFoundError:
            # A new target hears of what comes from now on: nobody wants a year of pages.
            policy = DeliverPolicy.ALL if self._target.history else DeliverPolicy.NEW
            config = ConsumerConfig(
                durable_name=self.durable,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=self._target.timeout_s + self._settings.nats.ack_timeout_s + 5.0,
                deliver_policy=policy,
                max_ack_pending=10_000,
                filter_subject="alerts.v1.>",
            )
            await self._js.add_consumer(stream, config)
        return await self._js.pull_subscribe_bind(durable=self.durable, stream=stream)

    async def _handle(self, message: Msg) -> None:
        alert = json.loads(message.data)
        if not wanted(self._target, alert):
            self.counts.skipped += 1
            await message.ack_sync(timeout=self._settings.nats.ack_timeout_s)
            return
        name = f"{alert['alert_id']}.{alert['transition']}"
        answer = await asyncio.to_thread(post, self._target, name, body_for(self._target, alert, message.data))
        attempt = message.metadata.num_delivered or 1
        if answer.delivered:
            await self._confirm(alert, name)
            self.counts.delivered += 1
            await message.ack_sync(timeout=self._settings.nats.ack_timeout_s)
        elif answer.permanent or self._too_old(message, attempt):
            await self._bury(message, name, answer, attempt)
            self.counts.dead += 1
            await message.ack_sync(timeout=self._settings.nats.ack_timeout_s)
        else:
            self.counts.retried += 1
            pause_s = max(answer.retry_after_s, back_off_s(self._target, attempt, self._random))
            logger.info(
                "%s: %s: attempt %d: %s, again in %.1f s", self._target.name, name, attempt, answer.text, pause_s
            )
            await message.nak(delay=pause_s)

    def _too_old(self, message: Msg, attempt: int) -> bool:
        age_s = time.time() - message.metadata.timestamp.timestamp()
        return attempt >= self._target.attempts or age_s > self._target.give_up_s

    async def _confirm(self, alert: dict[str, Any], name: str) -> None:
        """Tells the log that the target has it: the patient's judge stops waiting for the delivery.

        What is said of the pipeline itself (tenant `tick`) has no log of a patient.
        """
        if not self._target.confirm or alert["tenant"] == "tick":
            return
        argument = {"alert": alert["alert_id"], "transition": alert["transition"], "target": self._target.name}
        frame = command_frame(
            alert["patient"],
            "delivered",
            actor=f"notify/{self._target.name}",
            idempotency_key=f"{name}/{self._target.name}",
            argument_json=json.dumps(argument),
            device_ns=time.time_ns(),
            tenant=alert["tenant"],
        )
        await publish_command(self._client, self._settings, frame)

    async def _bury(self, message: Msg, name: str, answer: Answer, attempt: int) -> None:
        headers = {
            "Nats-Msg-Id": f"{name}/{self._target.name}",
            "Vitals-Reason": answer.text,
            "Vitals-Attempts": str(attempt),
            "Vitals-Subject": message.subject,
        }
        await self._js.publish(f"{DEAD}.{self._target.name}", message.data, headers=headers)
        logger.error("%s: %s given up after %d attempts: %s", self._target.name, name, attempt, answer.text)


class NotifyError(RuntimeError):
    """The service cannot go on; says why."""


async def _ensure_dead_letters(js: JetStreamContext, settings: Settings) -> None:
    try:
        await js.stream_info(settings.notify.dead_stream)
    except NotFoundError:
        age_s = settings.notify.dead_max_age_h * 3600
        await js.add_stream(
            StreamConfig(
                name=settings.notify.dead_stream,
                subjects=[f"{DEAD}.>"],
                max_age=age_s,
                num_replicas=settings.streams.replicas,
                duplicate_window=settings.streams.dedupe_window_s,
            )
        )


async def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Delivers to every target of the settings until it is cancelled.

    Raises:
        NotifyError: There is no target, no stream of alerts, or the connection to NATS was lost.
    """
    if not settings.notify.targets:
        message = "there is no target: docs/notifications.md shows one for vitals.toml ([[notify.targets]])"
        raise NotifyError(message)
    in_flight = sum(target.in_flight for target in settings.notify.targets)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(in_flight, "notify"))
    client = await connect(settings.nats, "vitals notify")
    try:
        await _ensure_dead_letters(client.jetstream(timeout=settings.nats.ack_timeout_s), settings)
        notifiers = [Notifier(settings, target, client) for target in settings.notify.targets]
        for target in settings.notify.targets:
            say(f"{target.name}: {target.url}, {target.least} and above, {target.events}")
        await asyncio.gather(*(one.run() for one in notifiers))
    except NotFoundError as error:
        message = f"there is no stream {settings.streams.alerts} yet: `vitals up` and the flow make it"
        raise NotifyError(message) from error
    finally:
        await client.close()
    message = f"the connection to NATS at {settings.nats.url} was lost"
    raise NotifyError(message)
