"""Contrast by WCAG AA of everything that is shown, on every page, light and dark; and the program that computes it."""

import time

import pytest
from playwright.sync_api import expect

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, message_id, subject_of
from tests.connectors.dashboard.contrast import faint
from tests.connectors.dashboard.ward import screenshots

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
SOON_MS = 60_000
PAGES = ("#/", "#/strips", "#/alerts", "#/patient/a161l", "#/patient/uw_100006", "#/technical")
SCREENS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
}


def text(style, ground="#fff", seen="#000"):
    return f'<body style="background:{ground};color:{seen}"><p style="{style}">words</p>seen</body>'


# Ratios by the formula of WCAG: #767676 on white is 4.54, #777777 is 4.48, #959595 is 2.98, #949494 is 3.03.
@pytest.mark.parametrize(
    ("html", "too_faint"),
    [
        (text("color:#767676"), 0),
        (text("color:#777777"), 1),
        (text("color:#949494;font-size:24px"), 0),
        (text("color:#959595;font-size:24px"), 1),
        (text("color:#949494;font-size:19px;font-weight:700"), 0),
        (text("color:rgb(0 0 0 / 53%)"), 1),  # as #777777
        (text("color:rgb(0 0 0 / 54%)"), 0),
        (text("color:#000;opacity:.53"), 1),
        (text("color:#000;background:linear-gradient(#fff, #555)"), 1),
        (text("color:color-mix(in srgb, #000 60%, #fff)"), 0),
        (text("color:color-mix(in srgb, #000 50%, #fff)"), 1),
        (text("color:#ccc", "#222", "#fff"), 0),
        (text("color:#ccc;display:none"), 0),
        ('<body style="background:#fff"><input style="border:1px solid #999" value="1"></body>', 1),
        ('<body style="background:#fff"><input style="border:1px solid #767676" value="1"></body>', 0),
    ],
)
def test_the_formula(chromium, html, too_faint):
    page = chromium.new_page()
    page.set_content(html)
    assert len(faint(page)) == too_faint
    page.close()


@pytest.fixture(scope="module")
def silent(ward):
    """A patient who sent one reading, ten seconds ago and more by the time that pages are looked at."""
    reading = Reading(pb.CODE_SPO2, 91.0, pb.UNIT_PERCENT, quality_pct=30)
    frame = NumericFramer(Origin("bed-9", "spot", boot_id=1)).frame([reading], time.time_ns())
    publisher = ward.whole.publisher()
    publisher.publish_all([(subject_of(frame), {"Nats-Msg-Id": message_id(frame)}, frame.SerializeToString())])
    publisher.publish_all([("vitals.v1.main.100.monitor.ecg_mlii", {}, b"no frame")])
    publisher.close()


@pytest.mark.parametrize("screen", SCREENS)
def test_everything_on_every_page(chromium, ward, silent, screen):
    context = chromium.new_context(bypass_csp=True, **SCREENS[screen])
    page = context.new_page()
    page.goto(ward.url)
    expect(page.locator('.tile.silent[data-patient="bed-9"]')).to_be_visible(timeout=SOON_MS)
    expect(page.locator(".tile[data-priority=high]").first).to_be_visible(timeout=SOON_MS)
    listed = {link.get_attribute("href") for link in page.locator("nav a[data-page]").all()}
    assert listed < set(PAGES)  # a page that is new is looked at, too
    for path in PAGES:
        page.evaluate("(path) => (location.hash = path)", path)
        opened(page, path)
        name = path.rpartition("/")[2] or "ward"
        page.screenshot(path=screenshots() / f"contrast-{screen}-{name}.png", full_page=True)
        assert faint(page, 20) == [], path
    context.close()


def opened(page, path):
    """Waits until a page has what it is about, with every section open."""
    if path == "#/technical":
        expect(page.locator("tr", has_text="undecodable").first).to_be_visible(timeout=SOON_MS)
    elif path == "#/alerts":
        expect(page.locator(".alert-card").first).to_be_visible(timeout=SOON_MS)
    elif path != "#/":
        expect(page.locator(".strip" if path != "#/patient/uw_100006" else ".chart canvas").first).to_be_visible(
            timeout=SOON_MS
        )
    if "patient" in path:
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        expect(page.locator("td").first).to_be_visible(timeout=SOON_MS)


def test_dark_by_the_button_is_dark_everywhere(page, ward, silent):
    page.emulate_media(color_scheme="light")
    page.goto(ward.url)
    expect(page.locator(".tile.silent").first).to_be_visible(timeout=SOON_MS)
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    assert faint(page, 20) == []
    page.locator(".tile").first.hover()
    page.get_by_role("button", name="Light or dark").hover()
    assert faint(page, 20) == []
