"""A stack whose doors are locked: TLS, signed identities, NATS, MQTT and WebSocket listeners."""

import asyncio
from contextlib import asynccontextmanager

import nats
import pytest

from connectors.identity.devices import Devices
from connectors.identity.files import write_secret
from connectors.identity.registry import Registry
from connectors.jetstream.connection import connect
from connectors.local.own import SMALL_STREAMS
from connectors.local.ports import free_ports
from connectors.local.stack import Stack
from dataflows.settings import NatsSettings, QuestDBSettings, Settings, StackSettings, StreamSettings


class Locked:
    """The stack and short ways to its doors."""

    def __init__(self, folder, **stack):
        self.port, self.mqtt_port, self.websocket_port = free_ports(3)
        self.folder = folder
        self.settings = Settings(
            nats=NatsSettings(url=f"nats://127.0.0.1:{self.port}"),
            questdb=QuestDBSettings(enabled=False),
            streams=StreamSettings(**SMALL_STREAMS),
            stack=StackSettings(
                data_dir=folder / "data",
                security=True,
                mqtt_port=self.mqtt_port,
                websocket_port=self.websocket_port,
                **stack,
            ),
        )
        self.said = []
        self.stack = Stack(self.settings, self.said.append)

    @property
    def ca(self):
        return self.settings.nats.tls_ca

    @property
    def server_log(self):
        return (self.settings.stack.data_dir / "log" / "nats.log").read_text(errors="replace")

    @asynccontextmanager
    async def devices(self):
        client = await connect(self.settings.nats, "test")
        try:
            yield Devices(client, await Registry.open(client), self.settings, "test")
        finally:
            await client.close()

    @asynccontextmanager
    async def pipeline(self):
        client = await connect(self.settings.nats, "test")
        try:
            yield client
        finally:
            await client.close()

    def enrol(self, origin, by="nats", days=1.0):
        async def run():
            async with self.devices() as devices:
                return await devices.enrol(origin, by, days)

        return asyncio.run(run())

    def credentials(self, enrolled):
        file = self.folder / f"{enrolled.credential.id}.creds"
        write_secret(file, enrolled.secret)
        return file

    @asynccontextmanager
    async def device(self, enrolled, *, url=""):
        """A device's own client; yields it, what the server refused, and an event for the end of the connection."""
        origin = enrolled.credential.origin
        refused, closed = [], asyncio.Event()

        async def on_error(error):
            refused.append(str(error))

        async def on_closed():
            closed.set()

        settings = self.settings.nats.model_copy(update={"credentials": self.credentials(enrolled)})
        client = await nats.connect(
            url or f"tls://127.0.0.1:{self.port}",
            user_credentials=str(settings.credentials),
            tls=tls_context(self.ca),
            inbox_prefix=f"_INBOX.{origin.patient}.{origin.device}",
            error_cb=on_error,
            closed_cb=on_closed,
            allow_reconnect=False,
            connect_timeout=5,
        )
        try:
            yield client, refused, closed
        finally:
            await client.close()


def tls_context(ca):
    import ssl

    return ssl.create_default_context(cafile=ca)


@pytest.fixture(scope="package")
def locked(tmp_path_factory):
    locked = Locked(tmp_path_factory.mktemp("locked"))
    with locked.stack:
        yield locked
