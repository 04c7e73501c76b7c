"""Live strips in a browser: frames a second, how busy the page's thread is, and whether every sample is drawn.

Copies of a recorded ECG are published in real time as devices do; the API's server passes them to a headless Chromium
that shows one strip each. A sample that arrives after the pen has passed its place is not drawn and makes a gap: that
is counted. Devices, NATS, server and browser share the machine. Needs Chromium.

    python bench/strips.py [--seconds 15] [--json FILE]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from report import publish

from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.devices.samples import NORMAL
from connectors.jetstream.streams import ensure_streams
from tests.connectors.api.served import Served
from tests.connectors.dashboard.ward import Ward
from tests.servers import NatsServer

STRIPS = (4, 16, 32)
FS_HZ = 360


def one_lead() -> Any:
    """The recording's first lead alone."""
    recording = load(NORMAL, None)
    return type(recording)(recording.name, recording.waves[:1])


def cpu_s(session: Any) -> float:
    """Seconds that the page's main thread has worked."""
    metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"])


def measure(browser: Browser, server: Served, strips: int, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    context = browser.new_context(viewport={"width": 1920, "height": 1080}, bypass_csp=True)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Performance.enable")
    page.goto(f"{server.url}/?tenant=t{strips}#/strips")
    page.wait_for_function(f"document.querySelectorAll('canvas.strip').length === {strips}", timeout=60_000)
    page.wait_for_timeout(3000)
    before, busy, began = page.evaluate("({...window.vitals.counters})"), cpu_s(session), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, worked_s, took_s = (
        page.evaluate("({...window.vitals.counters})"),
        cpu_s(session) - busy,
        time.monotonic() - began,
    )
    context.close()
    return {
        "strips": strips,
        "frames_per_s": (after["frames"] - before["frames"]) / took_s,
        "main_thread_pct": 100 * worked_s / took_s,
        "samples_drawn_pct": 100 * (after["samples"] - before["samples"]) / (took_s * FS_HZ * strips),
        "gaps": after["gaps"] - before["gaps"],
    }


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        nats = NatsServer(Path(folder) / "nats").start()
        settings = nats.settings()
        ensure_streams(settings)
        server = Served(settings).start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            version = browser.version
            for strips in STRIPS:
                ward = Ward(settings, Plan([one_lead()], patients=strips, tenant=f"t{strips}", speed=1))
                ward.start()
                rows.append(measure(browser, server, strips, arguments.seconds))
                ward.stop()
            browser.close()
        server.stop()
        nats.stop()
    publish({"chromium": version, "seconds": arguments.seconds, "rows": rows}, arguments.json)


if __name__ == "__main__":
    main()
