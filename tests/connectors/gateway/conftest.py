"""The gateway on real servers: uvicorn in a thread, behind it a locked NATS."""

import asyncio
import contextlib
import os
import sys
import threading

import grpc
import httpx
import pytest
import uvicorn

from connectors.cli.gateway import with_gateway_credentials
from connectors.gateway.server import application
from connectors.local.listener import serving
from connectors.local.ports import free_ports
from dataflows.contracts.frames import Origin
from dataflows.settings import GatewaySettings
from tests.connectors.identity.conftest import Locked, tls_context
from tests.waiting import until


class Served:
    """A gateway; `settings` names its NATS."""

    def __init__(self, settings, ca=None, **gateway):
        self.port, self.grpc_port = free_ports(2)
        door = GatewaySettings(port=self.port, grpc_port=self.grpc_port, **gateway)
        self.settings = with_gateway_credentials(settings.model_copy(update={"gateway": door}))
        self.url = f"{'https' if ca else 'http'}://127.0.0.1:{self.port}"
        self._tls = tls_context(ca) if ca else True

    def __enter__(self):
        config = uvicorn.Config(application(self.settings), **serving(self.settings.gateway))
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)
        until(lambda: httpx.get(f"{self.url}/v1/health", verify=self._tls, timeout=60).status_code == 200)
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join(10)

    @contextlib.contextmanager
    def channel(self, **options):
        options = [(f"grpc.{name}", value) for name, value in options.items()]
        with grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=options) as channel:
            yield channel

    def knows(self, key):
        """Returns the key once it is known here: a gateway hears of a new one a moment after the registry has it."""
        with self.client(key) as client:
            until(lambda: client.post("/frames", headers={"Content-Type": "none"}).json()["title"] != "key_unknown")
        return key

    def client(self, key):
        return httpx.Client(
            base_url=f"{self.url}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=20, verify=self._tls
        )


@pytest.fixture(scope="package")
def behind(tmp_path_factory):
    """The locked stack behind the gateway."""
    locked = Locked(tmp_path_factory.mktemp("gateway"))
    with locked.stack:
        locked.enrol(Origin("first", "d"), by="http")  # the registry exists before a gateway looks for it
        yield locked


@pytest.fixture(scope="package")
def served(behind):
    with Served(behind.settings, burst_frames=400, frames_per_s=200.0) as gateway:
        yield gateway


@pytest.fixture
def sender(behind, served):
    """Makes clients: `sender("p1")` is a client with the key of p1's device `d`."""
    with contextlib.ExitStack() as stack:

        def make(patient, device="d"):
            key = served.knows(behind.enrol(Origin(patient, device), by="http").secret)
            return stack.enter_context(served.client(key))

        yield make


@pytest.fixture
def log(behind):
    """Reads the log: `log("p1")` is (subject, payload, message id) of every message of a patient."""

    def read(patient):
        async def run():
            async with behind.pipeline() as client:
                js = client.jetstream()
                found = (await js.stream_info("VITALS", subjects_filter=f"vp.*.*.{patient}.>")).state.subjects or {}
                wanted = sum(found.values())
                messages = []
                if wanted:
                    subscription = await js.subscribe(f"vp.*.*.{patient}.>", stream="VITALS", ordered_consumer=True)
                    messages = [await subscription.next_msg(timeout=10) for _ in range(wanted)]
                return [(m.subject, m.data, (m.headers or {}).get("Nats-Msg-Id")) for m in messages]

        return asyncio.run(run())

    return read


def gateway_command(settings, **gateway):
    """Command line and environment of `vitals gateway` on a locked stack."""
    values = {
        "VITALS_NATS__URL": settings.nats.url,
        "VITALS_QUESTDB__ENABLED": "false",
        "VITALS_STACK__SECURITY": "true",
        "VITALS_STACK__DATA_DIR": str(settings.stack.data_dir),
    } | {f"VITALS_GATEWAY__{name.upper()}": str(value) for name, value in gateway.items()}
    return [sys.executable, "-m", "connectors.cli", "gateway"], os.environ | values
