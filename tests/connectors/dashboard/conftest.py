import os
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from connectors.devices.load import load
from connectors.devices.samples import HYPOXEMIA
from connectors.local.health import Health, HealthServer
from tests.connectors.api.served import Served
from tests.connectors.dashboard.ward import Ward, first_below, patients
from tests.faults.whole import Whole
from tests.servers import NatsServer

TENANT = "main"
# A bound that a page must keep is said where it is one; elsewhere a busy machine may take its time.
expect.set_options(timeout=60_000)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    """Reports failures without parsing the source of each frame.

    The browser's client runs tests in greenlets, where `ast.parse` of Python 3.11 raises SystemError now and then ("AST
    constructor recursion depth mismatch"): a test that failed took the whole run with it, and said nothing.
    """
    style, item.config.option.tbstyle = item.config.option.tbstyle, "native"
    try:
        return (yield)
    finally:
        item.config.option.tbstyle = style


class Present:
    """The supervisor that a flow has now: a test may stop it and begin another."""

    def __init__(self, flow):
        self._flow = flow

    def __getattr__(self, name):
        return getattr(self._flow.supervisor, name)


@pytest.fixture(scope="module")
def chromium(ward):
    """A browser. `VITALS_CHROMIUM` names its program where it is not Debian's.

    While it is open the main thread has a running event loop, so it comes after everything that needs `asyncio.run`.
    """
    names = (os.environ.get("VITALS_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        message = "no Chromium: `apt install chromium`, or name one in VITALS_CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--autoplay-policy=no-user-gesture-required",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    """The whole pipeline with live patients, and the dashboard on it."""
    from tests.servers import QuestDB

    folder = tmp_path_factory.mktemp("ward")
    nats, questdb = NatsServer(folder / "nats").start(), QuestDB(folder / "questdb").start()
    whole = Whole(nats, questdb, folder, log_time="server")
    flow = whole.flow()
    health = HealthServer(Health(Present(flow), bool), "127.0.0.1", 0)
    server = Served(whole.settings, flow_health=[f"http://127.0.0.1:{health.port}"]).start()
    server.whole, server.flow = whole, flow
    fall_s = first_below(load(HYPOXEMIA, None), 90)
    live = Ward(whole.settings, patients(TENANT, max(0.0, fall_s - 15)))
    live.start()
    yield server
    live.stop()
    server.stop()
    health.close()
    flow.stop()
    whole.close()
    questdb.stop()
    nats.stop()


@pytest.fixture
def page(chromium, ward):
    """A window on the dashboard that fails a test with any error of the page."""
    context = chromium.new_context(
        viewport={"width": 1440, "height": 900}, timezone_id="Europe/Berlin", bypass_csp=True
    )
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
