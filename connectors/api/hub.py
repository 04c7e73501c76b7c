"""From NATS to every open screen: frames into pictures of patients, alerts as they are published. No database.

Two subscriptions: the devices' frames (what is published now, not the log), and the stream ALERTS from a week back, so
that alerts that stand are known after a restart. A lost connection is told to every screen and made again.
"""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy

from connectors.api import wire
from connectors.api.pipeline import Pipeline
from connectors.jetstream.connection import connect
from dataflows._native import Validator
from dataflows.live import PatientView, Shown
from dataflows.monitor.patient import signals_config
from dataflows.settings import Settings

logger = logging.getLogger(__name__)

ALERTS_BACK = timedelta(days=7)
_BOARD_S = 0.5
_RETRY_S = 1.0
_QUEUE = 2000
_FORGET_NS = 24 * 3600 * 10**9


class Screen:
    """An open WebSocket: which tenant, which patients' strips, and what waits to be sent."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.patients: set[str] = set()
        self.queue: asyncio.Queue[str | bytes] = asyncio.Queue(_QUEUE)
        self.slow = False

    def put(self, message: str | bytes) -> None:
        """Queues a message; a screen that does not keep up is cut off rather than shown old things as new."""
        try:
            self.queue.put_nowait(message)
        except asyncio.QueueFull:
            self.slow = True


class Hub:
    """What is known now, and who watches."""

    def __init__(self, settings: Settings, validator: Validator) -> None:
        self.client: Client | None = None
        self.connected_ns: int | None = None
        """Since when NATS answers, None while it does not."""
        self.broker_ns = 0
        """When the last frame, alert or tick came from NATS."""
        self.rejected = 0
        self.listeners = 0
        """Open streams of server-sent events."""
        self.pipeline = Pipeline(settings.web.flow_health, ticks=settings.streams.log_time == "server")
        self._settings = settings
        self._validator = validator
        self._config = signals_config(settings)
        self._views: dict[tuple[str, str], PatientView] = {}
        self._changed: set[tuple[str, str]] = set()
        self._alerts: dict[str, dict[str, Any]] = {}
        self._screens: set[Screen] = set()
        self._arrivals = 0
        self._lost = asyncio.Event()

    # --- what is known ---------------------------------------------------------------------------------------------

    def tiles(self, tenant: str) -> list[dict[str, Any]]:
        """Returns the census tiles of a tenant."""
        return [view.tile() for (owner, _), view in self._views.items() if owner == tenant]

    def tile(self, tenant: str, patient: str) -> dict[str, Any] | None:
        """Returns one patient's tile."""
        view = self._views.get((tenant, patient))
        return None if view is None else view.tile()

    def standing(self, tenant: str) -> list[dict[str, Any]]:
        """Returns the alerts that stand, each by its last transition; the pipeline's concern every tenant."""
        return [alert for alert in self._alerts.values() if alert["tenant"] in (tenant, "tick")]

    def upstream(self) -> dict[str, Any]:
        """Returns how the connection to NATS is, and whether the flow gets on."""
        return {"connected_ns": self.connected_ns, "last_ns": self.broker_ns, "flow": self.pipeline.brief()}

    @property
    def screens(self) -> int:
        """How many screens are open."""
        return len(self._screens)

    # --- screens ---------------------------------------------------------------------------------------------------

    def open(self, screen: Screen, **who: Any) -> None:
        """Registers a screen and sends it everything that is known."""
        self._screens.add(screen)
        screen.put(
            wire.text(
                "hello",
                server_ns=time.time_ns(),
                tenant=screen.tenant,
                upstream=self.upstream(),
                tiles=self.tiles(screen.tenant),
                alerts=self.standing(screen.tenant),
                **who,
            )
        )

    def watch(self, screen: Screen, patients: set[str]) -> None:
        """Changes whose strips a screen gets; what is kept of the new ones is sent at once."""
        for patient in sorted(patients - screen.patients):
            view = self._views.get((screen.tenant, patient))
            if view is not None:
                for strip in view.recent():
                    screen.put(wire.wave(view, strip, kept=True))
                screen.put(wire.marks(view, list(view.recent_marks())))
        screen.patients = patients

    def close(self, screen: Screen) -> None:
        """Forgets a screen."""
        self._screens.discard(screen)

    # --- NATS ------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Runs until it is cancelled."""
        beside = [asyncio.create_task(self._board()), asyncio.create_task(self.pipeline.run())]
        try:
            while True:
                try:
                    await self._listen()
                except (NatsError, OSError) as error:
                    logger.warning("NATS: %s; trying again", error or type(error).__name__)
                await asyncio.sleep(_RETRY_S)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _listen(self) -> None:
        self._lost.clear()
        client = await connect(self._settings.nats, "vitals api", on_lost=self._on_lost)
        try:
            self.client, self.connected_ns = client, time.time_ns()
            self._alerts.clear()
            await client.subscribe("vitals.v1.*.*.*.*", cb=self._on_frame)
            await client.jetstream(timeout=self._settings.nats.ack_timeout_s).subscribe(
                "alerts.v1.>",
                stream=self._settings.streams.alerts,
                ordered_consumer=True,
                deliver_policy=DeliverPolicy.BY_START_TIME,
                config=ConsumerConfig(opt_start_time=datetime.now(UTC) - ALERTS_BACK),
                cb=self._on_alert,
            )
            await self._lost.wait()
        finally:
            self.client, self.connected_ns = None, None
            await client.close()

    async def _on_lost(self) -> None:
        self._lost.set()

    async def _on_frame(self, message: Msg) -> None:
        _, _, tenant, patient, device, _ = message.subject.split(".")
        self.broker_ns = time.time_ns()
        if device == "control" or tenant == "tick":
            return
        view = self._view(tenant, patient)
        self._arrivals += 1
        self._show(view, view.push(message.subject, message.data, self._arrivals, self.broker_ns))

    def _show(self, view: PatientView, shown: Shown) -> None:
        self.rejected += len(shown.rejects)
        if shown.strips or shown.marks or shown.readings:
            self._changed.add((view.tenant, view.patient))
        watching = [one for one in self._screens if one.tenant == view.tenant and view.patient in one.patients]
        if not watching:
            return
        messages: list[str | bytes] = [wire.wave(view, strip) for strip in shown.strips]
        if shown.marks:
            messages.append(wire.marks(view, shown.marks))
        for screen in watching:
            for message in messages:
                screen.put(message)

    async def _on_alert(self, message: Msg) -> None:
        self.broker_ns = time.time_ns()
        alert = json.loads(message.data)
        if alert["state"] == "cleared":
            self._alerts.pop(alert["alert_id"], None)
        else:
            self._alerts[alert["alert_id"]] = alert
        # What is older than a screen's opening was in its greeting.
        text = wire.text("alert", alert=alert)
        for screen in self._screens:
            if alert["tenant"] in (screen.tenant, "tick"):
                screen.put(text)

    def _view(self, tenant: str, patient: str) -> PatientView:
        key = (tenant, patient)
        if key not in self._views:
            self._views[key] = PatientView(tenant, patient, self._validator, self._config)
        return self._views[key]

    async def _board(self) -> None:
        """Sends what changed on the board, and a sign of life, twice a second."""
        while True:
            await asyncio.sleep(_BOARD_S)
            now_ns = time.time_ns()
            for key, view in list(self._views.items()):
                if now_ns - view.seen_ns > _FORGET_NS:
                    del self._views[key]
                elif view.seen_ns:
                    self._show(view, view.tick(self._arrivals, now_ns))
            changed, self._changed = self._changed, set()
            tiles: dict[str, list[dict[str, Any]]] = {}
            for tenant, patient in changed:
                if (tenant, patient) in self._views:
                    tiles.setdefault(tenant, []).append(self._views[tenant, patient].tile())
            for screen in self._screens:
                fields = {"server_ns": now_ns, "upstream": self.upstream(), "tiles": tiles.get(screen.tenant, [])}
                screen.put(wire.text("board", **fields))
