"""The API on real servers: uvicorn in a thread, behind it NATS, QuestDB and the flow with recorded patients."""

import asyncio
import threading
from pathlib import Path

import httpx
import uvicorn

from connectors.api.server import WEBSOCKETS, application
from connectors.cli.replay import read_recordings, run
from connectors.dashboard import PAGES
from connectors.devices.plan import Plan
from connectors.devices.samples import ALL
from connectors.local.listener import serving
from connectors.local.ports import free_ports
from dataflows.settings import Settings, WebSettings
from tests.faults.whole import Whole
from tests.waiting import until

TENANT = "api"


class Served:
    """A server of the API and the dashboard; keeps its port over a restart."""

    def __init__(self, settings: Settings, **web: object) -> None:
        (self.port,) = free_ports(1)
        self.settings = settings.model_copy(update={"web": WebSettings(port=self.port, **web)})
        self.url = f"http://127.0.0.1:{self.port}"
        self.live_url = f"ws://127.0.0.1:{self.port}/api/v1/live"

    def start(self) -> "Served":
        """Starts it and waits until it answers and NATS is there."""
        app = application(self.settings, PAGES)
        config = uvicorn.Config(app, **serving(self.settings.web), **WEBSOCKETS)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started and app.state.context.hub.client)
        return self

    def stop(self) -> None:
        """Stops it; open screens are cut off."""
        self._server.should_exit = True
        self._thread.join()

    def client(self, key: str | None = None) -> httpx.Client:
        """A client of the API."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, params={"tenant": TENANT}, timeout=20)


def replayed(nats, questdb, folder: Path) -> Whole:
    """The whole pipeline after the sample was replayed through it: everything is judged and stored."""
    whole = Whole(nats, questdb, folder, log_time="header")
    flow = whole.flow()
    plan = Plan(read_recordings(ALL, None, 60), tenant=TENANT, speed=0)
    asyncio.run(run(whole.settings, plan, lambda *_: None))
    last = whole.publisher().stream_state("VITALS")[2]
    until(lambda: flow.done_to() >= last, 90, poll_s=0.2)
    flow.stop()

    def spill_is_empty() -> bool:  # on a busy machine QuestDB is late at times, and its rows take that way
        _, first, last = whole.publisher().stream_state(whole.settings.streams.spill)
        return last == 0 or first > last

    until(spill_is_empty, 90, poll_s=0.2)
    questdb.reader.wait_applied()
    return whole
