"""Dead-man watch: tells people when the pipeline itself is silent. It runs outside of the flow and needs nothing of it.

A pipeline that has died raises no alarm, which looks like a ward where all is well. So somebody else looks whether
every partition of the log still gets on: epochs are committed, and the broker's ticks move log time.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from prometheus_client import Gauge

from connectors.jetstream.connection import connect
from connectors.local.partitions import Partition
from dataflows.alerts.alert import alert_id
from dataflows.settings import Settings

SUBJECT = "alerts.v1.tick.pipeline.pipeline_silent"
"""The tenant `tick` is no organisation's, so this subject can be nobody's patient."""
SILENT = Gauge("vitals_pipeline_silent", "1 while the pipeline makes no progress")


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """Body of the message: the fields of an alert as far as they have a meaning for a pipeline."""

    schema: str = "vitals.pipeline.v1"
    alert_id: str
    transition: int
    event: str
    state: str
    notify: bool
    kind: str = "technical"
    actor: str = ""
    tenant: str = "tick"
    patient: str = "pipeline"
    rule: str = "pipeline_silent"
    priority: str = "high"
    device: str = "watch"
    signal: str = "tick"
    code: str = ""
    value: float
    limit: float
    unit: str = "s"
    partitions: list[str]
    since_ns: int
    log_seq: int
    log_ns: int


@dataclass(frozen=True)
class Change:
    """The pipeline fell silent, or came back."""

    silent: bool
    partitions: tuple[str, ...]
    since_s: float
    """Wall clock of the last progress."""
    durable_seq: int
    log_s: float


class Progress:
    """Decides whether the pipeline is silent; pure, driven by whoever has the time and the figures.

    Args:
        silent_s: A partition without progress for so long is silent.
        ticks: Log time moves by itself (`streams.log_time = server`), so it has to move as well.
        now_s: Wall clock of the start, from which the first progress is awaited.
    """

    def __init__(self, silent_s: float, now_s: float, *, ticks: bool) -> None:
        self.silent_s = silent_s
        self._ticks = ticks
        self._seen: dict[str, tuple[Partition, float, float]] = {}
        self._began_s = now_s
        self.silent = False

    def observe(self, partitions: Mapping[str, Partition], now_s: float) -> Change | None:
        """Takes a look (nothing when the flow does not answer); returns what it changes."""
        for name, found in partitions.items():
            before, epoch_s, tick_s = self._seen.get(name, (Partition(), now_s, now_s))
            # A new process counts from 0: another number is progress, except the 0 it starts with.
            epoch_s = now_s if found.epochs and found.epochs != before.epochs else epoch_s
            tick_s = now_s if found.log_s > before.log_s else tick_s
            self._seen[name] = (found, epoch_s, tick_s)
        last = {name: min(epoch, tick) if self._ticks else epoch for name, (_, epoch, tick) in self._seen.items()}
        nothing = not self._seen and now_s - self._began_s > self.silent_s
        silent = nothing or any(now_s - progress_s > self.silent_s for progress_s in last.values())
        # Who hears of one partition of a flow that stands still looks for a fault of that one: its neighbours were seen
        # to get on a moment later and stand just as still.
        stuck = sorted(name for name, progress_s in last.items() if silent and now_s - progress_s > self.silent_s / 2)
        if silent == self.silent:
            return None
        self.silent = silent
        looked = [partition for partition, _, _ in self._seen.values()]
        return Change(
            silent,
            tuple(stuck),
            min((last[name] for name in stuck), default=self._began_s),
            int(min((partition.durable_seq for partition in looked), default=0)),
            max((partition.log_s for partition in looked), default=0.0),
        )


class DeadManWatch:
    """Looks at the pipeline again and again, and publishes once when it falls silent and once when it is back.

    Args:
        settings: Where ALERTS is, and how long is silent.
        look: Returns how far each partition is; nothing when the flow does not answer.
        say: Takes a line at a time.
    """

    def __init__(
        self, settings: Settings, look: Callable[[], Mapping[str, Partition]], say: Callable[[str], None]
    ) -> None:
        self._settings = settings
        self._look = look
        self._say = say
        ticks = settings.streams.log_time == "server"
        self.progress = Progress(settings.run.silent_s, time.time(), ticks=ticks)
        self._unsent: list[Change] = []

    def step(self) -> None:
        """Looks once, and sends what is to be sent; what NATS does not take now is tried again at the next step."""
        change = self.progress.observe(self._look(), time.time())
        SILENT.set(self.progress.silent)
        if change is not None:
            self._say("the pipeline is SILENT" if change.silent else "the pipeline is back")
            self._unsent.append(change)
        if self._unsent:
            try:
                asyncio.run(self._send())
            except (nats.errors.Error, OSError) as error:
                self._say(f"the silence cannot be reported yet: {error or type(error).__name__}")

    async def _send(self) -> None:
        client = await connect(self._settings.nats, "vitals watch")
        try:
            while self._unsent:
                await self._publish(client, self._unsent[0])
                self._unsent.pop(0)
        finally:
            await client.close()

    async def _publish(self, client: Client, change: Change) -> None:
        """Publishes a change unless the stream's last word on the subject says the same already (another watch)."""
        jetstream = client.jetstream(timeout=self._settings.nats.ack_timeout_s)
        try:
            message = await jetstream.get_last_msg(self._settings.streams.alerts, SUBJECT)
            last = msgspec.json.decode(message.data or b"")
        except NotFoundError:
            last = {"state": "cleared"}
        state = "active" if change.silent else "cleared"
        if last["state"] == state:
            return
        since_ns = int(change.since_s * 1e9)
        name = alert_id("tick", "pipeline", "pipeline_silent", since_ns) if change.silent else last["alert_id"]
        body = Silence(
            alert_id=name,
            transition=0 if change.silent else 1,
            event="raised" if change.silent else "cleared",
            state=state,
            notify=change.silent,
            value=round(time.time() - change.since_s, 1),
            limit=self.progress.silent_s,
            partitions=list(change.partitions),
            since_ns=since_ns,
            log_seq=change.durable_seq,
            log_ns=int(change.log_s * 1e9),
        )
        headers = {"Nats-Msg-Id": f"{name}.{body.transition}"}
        await jetstream.publish(SUBJECT, msgspec.json.encode(body), headers=headers)
