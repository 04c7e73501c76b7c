"""The dashboard in a real browser on the whole pipeline: recorded patients, live."""

import re
import time
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import expect

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, message_id, subject_of
from tests.connectors.dashboard.contrast import faint
from tests.connectors.dashboard.ward import screenshots
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow]
SOON_MS = 60_000


def shot(page, name, **more):
    """Leaves a screenshot."""
    page.evaluate("scrollTo(0, 0)")
    page.screenshot(path=screenshots() / f"{name}.png", **more)


def counters(page):
    """What the strips have drawn, and when by the page's clock."""
    return page.evaluate("({...window.vitals.counters, now_s: performance.now() / 1000})")


PICTURES = """() => {
  const mine = (window.pictures = { longest_ms: 0, last: performance.now() });
  const look = () => {
    const now = performance.now();
    mine.longest_ms = Math.max(mine.longest_ms, now - mine.last);
    mine.last = now;
    if (window.pictures === mine) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
LONGEST_MS = "Math.max(window.pictures.longest_ms, performance.now() - window.pictures.last)"


def drawn_per_s(page, strips):
    """Samples that the strips draw in a second of the page, over some seconds in which all of them draw."""
    page.wait_for_function(f"window.vitals.counters.pens == {strips}", timeout=SOON_MS)
    page.wait_for_function("window.vitals.counters.samples > 3000 && window.vitals.counters.marks > 5", timeout=SOON_MS)
    while True:
        page.evaluate(PICTURES)
        before = counters(page)
        page.wait_for_timeout(4000)  # the time over which the speed is measured
        after, longest_ms = counters(page), page.evaluate(LONGEST_MS)
        page.wait_for_timeout(2500)  # what was under way by then has come
        # Neither came a frame later than any before, nor did the browser stand still: a pen stands still for both.
        if counters(page)["waits"] == before["waits"] and longest_ms < 400:
            return (after["samples"] - before["samples"]) / (after["now_s"] - before["now_s"])


def stored(ward, patient, what):
    """What the roll-ups of a minute hold; a page asks for them once, and before a minute is over there are none."""
    answer = httpx.get(f"{ward.url}/api/v1/patients/{patient}/{what}", params={"every": "1m"}, timeout=20)
    return answer.raise_for_status().json()[what]


def test_the_ward_shows_every_patient_with_live_numbers(page, ward):
    page.goto(ward.url)
    expect(page.locator(".tile")).to_have_count(4, timeout=SOON_MS)
    tile = page.locator('[data-patient="100"]')
    expect(tile.locator('[data-value="hr"]')).to_have_text(re.compile(r"^[67]\d$|^8\d$"), timeout=SOON_MS)
    expect(page.locator('[data-patient="uw_100006"] [data-value="spo2"]')).to_have_text(
        re.compile(r"^[89]\d$"), timeout=SOON_MS
    )
    hours = datetime.now(ZoneInfo("Europe/Berlin")).utcoffset() // timedelta(hours=1)
    expect(page.locator("#clock")).to_have_text(re.compile(rf"UTC\+{hours}$"))
    shot(page, "ward-light")


def test_the_ward_is_there_before_a_second_of_the_page_has_passed(page, ward):
    page.add_init_script("performance.now = () => 500")
    page.goto(f"{ward.url}/")
    expect(page.locator(".tile")).to_have_count(4, timeout=SOON_MS)


def test_a_patient_has_strips_with_r_peaks_and_a_rate(page, ward):
    page.goto(f"{ward.url}/#/patient/a161l")
    expect(page.locator("canvas.strip.ecg")).to_have_count(2, timeout=SOON_MS)
    expect(page.locator("canvas.strip.pleth")).to_have_count(1)
    expect(page.locator('.number [data-value="hr"]')).to_have_text(re.compile(r"^\d{2,3}$"), timeout=SOON_MS)
    # Four waves of 250 Hz, no slower and no faster than life.
    assert drawn_per_s(page, 4) == pytest.approx(4 * 250, rel=0.15)
    shot(page, "patient-light")


def test_strips_of_every_patient_who_sends_a_wave(page, ward):
    page.goto(f"{ward.url}/#/strips")
    expect(page.locator(".wall figure")).to_have_count(3, timeout=SOON_MS)  # the fourth sends numbers alone
    assert sorted(page.locator(".wall figcaption a").all_inner_texts()) == ["100", "203", "a161l"]
    assert sorted(page.locator(".wall figcaption").all_inner_texts())[2] == "a161l ecg_ii"  # lead II before others
    assert drawn_per_s(page, 3) == pytest.approx(360 + 360 + 250, rel=0.15)
    shot(page, "strips")
    page.locator(".wall figcaption a", has_text="203").click()
    expect(page.locator(".patient-head h1")).to_have_text("203")


def test_an_alarm_comes_is_acknowledged_and_clears(page, ward):
    page.goto(f"{ward.url}/#/alerts")
    card = page.locator('.alert-card[data-patient="a161l"][data-rule="asystole"]').first
    expect(card).to_be_visible(timeout=2 * SOON_MS)
    expect(card.locator(".badge")).to_have_text(re.compile("high"))
    alert = card.get_attribute("data-alert")
    shot(page, "alerts")
    page.evaluate("location.hash = '#/'")
    expect(page.locator('.tile[data-patient="a161l"]')).to_have_attribute("data-priority", "high", timeout=SOON_MS)
    expect(page.locator(".tile").first).to_have_attribute("data-priority", "high", timeout=SOON_MS)
    shot(page, "ward-alarm")
    page.evaluate("location.hash = '#/alerts'")
    same = page.locator(f'[data-alert="{alert}"]')
    expect(same).to_be_visible()
    same.get_by_role("button", name="Acknowledge").click()
    expect(
        page.locator(f'[data-alert="{alert}"][data-state="acknowledged"], #main:not(:has([data-alert="{alert}"]))')
    ).to_have_count(1, timeout=SOON_MS)
    expect(same).to_have_count(0, timeout=2 * SOON_MS)


def test_the_strip_of_the_moment_and_the_trend_come_from_storage(page, ward):
    # The alarm that is over by now is the one of the test before: the tests of this file share a ward.
    until(lambda: stored(ward, "a161l", "beats") and stored(ward, "uw_100006", "observations"), 120, poll_s=1.0)
    page.goto(f"{ward.url}/#/patient/a161l")
    expect(page.locator(".chart canvas").first).to_be_visible(timeout=SOON_MS)
    page.get_by_text("Alerts of the last 24 hours").click()
    expect(page.locator(".past")).to_contain_text("asystole", timeout=SOON_MS)
    page.goto(f"{ward.url}/#/patient/uw_100006")
    expect(page.locator(".chart canvas").first).to_be_visible(timeout=SOON_MS)
    shot(page, "patient-trends", full_page=True)


def test_the_technical_page(page, ward):
    page.goto(f"{ward.url}/#/technical")
    expect(page.locator(".facts")).to_contain_text("connected since", timeout=SOON_MS)
    expect(page.locator("main")).to_contain_text("VITALS")
    shot(page, "technical", full_page=True)


AWAKE = """() => {
  const banner = document.getElementById("banner");
  let last = performance.now();
  window.awake = { ms: 0, said_ms: null };
  setInterval(() => {
    const now = performance.now();
    window.awake.ms += Math.min(now - last, 100);
    last = now;
    if (!banner.hidden) window.awake.said_ms ??= window.awake.ms;
  }, 20);
}"""
"""The page's clock without the time for which it stood still; and when by it the banner came."""


def test_a_dead_server_is_said_within_seconds_and_the_screen_comes_back(page, ward):
    page.goto(f"{ward.url}/#/patient/100")
    expect(page.locator("canvas.strip").first).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#banner")).to_be_hidden()
    page.evaluate(AWAKE)
    ward.stop()
    stopped_ms = page.evaluate("window.awake.ms")
    expect(page.locator("#banner")).to_contain_text("NO DATA FROM THE SERVER")
    assert page.evaluate("window.awake.said_ms") - stopped_ms < 4000
    shot(page, "stale")
    assert faint(page, 20) == []
    ward.start()
    expect(page.locator("#banner")).to_be_hidden(timeout=SOON_MS)
    drawn = counters(page)["samples"]
    page.wait_for_function(f"window.vitals.counters.samples > {drawn + 500}", timeout=SOON_MS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark", {"color_scheme": "dark", "viewport": {"width": 1440, "height": 900}}),
        ("phone", {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2}),
    ],
)
def test_other_screens(chromium, ward, name, options):
    context = chromium.new_context(timezone_id="America/New_York", bypass_csp=True, **options)
    page = context.new_page()
    page.goto(ward.url)
    expect(page.locator(".tile").first).to_be_visible(timeout=SOON_MS)
    expect(page.locator("#banner")).to_be_hidden(timeout=SOON_MS)
    shot(page, f"ward-{name}")
    page.locator('[data-patient="a161l"]').click()
    page.wait_for_function("window.vitals.counters.samples > 3000", timeout=SOON_MS)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    shot(page, f"patient-{name}")
    context.close()


def test_pages_by_keyboard(page, ward):
    page.goto(ward.url)
    expect(page.locator(".tile").first).to_be_visible(timeout=SOON_MS)
    for key, title in (("t", "technical"), ("a", "alerts"), ("s", "strips"), ("w", "ward")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_title(re.compile(f"^{title}"))
    page.locator(".tile").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".patient-head h1")).to_be_visible()


COUNT_PULSES = """
window.pulses = 0;
const make = AudioContext.prototype.createOscillator;
AudioContext.prototype.createOscillator = function () { window.pulses += 1; return make.call(this); };
"""


def low_pressure(ward, patient):
    """A systolic pressure of 80 mmHg: an alert of high priority at once, and the only ones of its organisation."""
    reading = Reading(pb.CODE_SBP, 80.0, pb.UNIT_MM_HG)
    frame = NumericFramer(Origin(patient, "cuff", boot_id=1, tenant="quiet")).frame([reading], time.time_ns())
    publisher = ward.whole.publisher()
    publisher.publish_all([(subject_of(frame), {"Nats-Msg-Id": message_id(frame)}, frame.SerializeToString())])
    publisher.close()


def test_sound_says_the_priority_and_a_mute_ends_by_itself_or_with_a_new_high_alert(page, ward):
    page.clock.install()
    page.add_init_script(COUNT_PULSES)
    page.goto(f"{ward.url}/?tenant=quiet")
    low_pressure(ward, "bed-1")
    expect(page.locator('.tile[data-patient="bed-1"]')).to_have_attribute("data-priority", "high", timeout=SOON_MS)
    button = page.locator("#sound")
    bursts = "window.vitals.sound.bursts"
    page.wait_for_timeout(3000)
    assert page.evaluate(bursts) == 0  # nothing sounds before somebody wanted it
    expect(button).to_have_text("Turn sound on")
    button.click()
    page.wait_for_function(f"{bursts} >= 1", timeout=SOON_MS)
    assert page.evaluate(f"window.pulses / {bursts}") == 10  # three for medium, one for low

    button.click()
    expect(button).to_have_text(re.compile(r"^Muted for 1\d\d s$"))
    before = page.evaluate(bursts)
    page.clock.fast_forward(60_000)
    page.wait_for_timeout(2000)
    assert page.evaluate(bursts) == before
    page.clock.fast_forward(60_000)
    page.wait_for_function(f"{bursts} > {before}", timeout=SOON_MS)
    expect(button).to_have_text("Mute for 2 min", timeout=SOON_MS)

    button.click()
    expect(button).to_have_text(re.compile("^Muted"))
    low_pressure(ward, "bed-2")
    expect(button).to_have_text("Mute for 2 min", timeout=SOON_MS)


DRAW = """
async () => {
  const { drawStill } = await import("/sweep.js");
  const { grid } = await import("/trends.js");
  const canvas = document.createElement("canvas");
  canvas.className = "strip";
  document.body.append(canvas);
  const wave = (from, to) => Array.from({ length: 250 }, (_, n) => (n >= from && n < to ? null : Math.sin(n / 8)));
  const frame = (second, samples) => ({ ts_ns: second * 1e9, fs_hz: 250, lsb: 0.001, samples });
  // The third second never came, half of the fourth was invalid.
  drawStill(canvas, "ecg_ii", [frame(0, wave(0, 0)), frame(1, wave(0, 0)), frame(3, wave(0, 125))], 0, 4000);
  const { data, width } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const inked = Array(width).fill(false);
  data.forEach((value, at) => { if (at % 4 === 3 && value) inked[((at - 3) / 4) % width] = true; });
  const rows = [0, 60, 240].map((s) => ({ ts_ns: s * 1e9, mean: 1, low: 1, high: 1 }));
  return { inked, mean: grid(rows, 0, 300, 60).mean };
}
"""


def test_a_gap_is_a_gap_in_a_strip_and_in_a_trend(page, ward):
    page.goto(ward.url)
    drawn = page.evaluate(DRAW)
    second = len(drawn["inked"]) / 4
    there, absent = drawn["inked"][: int(1.9 * second)], drawn["inked"][int(2.1 * second) : int(3.4 * second)]
    assert sum(there) > 0.95 * len(there)
    assert not any(absent)
    assert any(drawn["inked"][int(3.6 * second) :])
    assert drawn["mean"] == [1, 1, None, None, 1]


PEN = """
async () => {
  const { Sweep, counters } = await import("/sweep.js");
  const canvas = document.createElement("canvas");
  canvas.className = "strip";
  canvas.style.width = "1000px";
  document.body.append(canvas);
  const clock = Date.now;
  let now = 1e12;
  Date.now = () => now;
  const sweep = new Sweep(canvas, "ecg_ii");
  const before = counters.samples;
  const pens = [];
  const live = (seconds, lateMs, taken = (ms) => ms) => {
    for (const end = now + seconds * 1000; now < end; now += 20) {
      // Each second's samples arrive when the second is over, by this much later.
      const second = Math.floor((now - lateMs) / 1000) * 1000 - 1000;
      if (!sent.has(second)) {
        sent.add(second);
        sweep.push({ ts_ns: taken(second) * 1e6, fs_hz: 250, lsb: 0.001, counts: new Int16Array(250) });
      }
      sweep.draw();
      if (sweep.penMs !== null) pens.push([now, sweep.penMs]);
    }
    return [sweep.penMs, now];
  };
  const sent = new Set();
  try {
    live(20, 100);
    live(5, 1500);
    live(60, 100);
    const [penMs, atMs] = [sweep.penMs, now];
    const drawn = counters.samples - before;
    const expected = (sweep.penMs - Math.min(...sent)) / 4;
    const stepped = [3_600_000, -3_600_000].map((step) => {
      live(40, 100, (ms) => ms + step);
      return sweep.penMs - step - now;
    });
    return { pens: pens.filter(([at]) => at <= atMs), lateMs: atMs - penMs, drawn, expected, stepped };
  } finally {
    Date.now = clock;
    sweep.stop();
    canvas.remove();
  }
}
"""


def test_a_pen_waits_for_late_frames_and_never_leaps(page, ward):
    page.goto(ward.url)
    ran = page.evaluate(PEN)
    speeds = [(q - p) / (s - t) for (t, p), (s, q) in pairwise(ran["pens"])]
    assert 0 <= min(speeds)
    assert max(speeds) < 1.06
    assert sum(abs(speed - 1) < 0.01 for speed in speeds) > 0.5 * len(speeds)
    assert ran["lateMs"] < 2200  # a second of samples, its way, and the reserve
    assert ran["drawn"] == pytest.approx(ran["expected"], abs=2)  # each once, in spite of the frames that were late
    # A device whose clock is set is drawn by its new clock, forwards and backwards.
    assert all(-2200 < late < 0 for late in ran["stepped"]), ran["stepped"]


ARRANGE = """
async () => {
  const { arrange, answers } = await import("/alertview.js");
  const { el } = await import("/format.js");
  const alert = (id, transition) => ({ alert_id: id, transition, patient: "x", priority: "high", state: "active" });
  const list = document.body.appendChild(el("ul"));
  const make = (one) => el("li", {}, `${one.transition} `, answers(one));
  arrange(list, [alert("a", 0), alert("b", 0)], make);
  const [first, second] = list.children;
  const input = first.querySelector("input");
  input.value = "Dr Ni";
  input.focus();
  arrange(list, [alert("c", 0), alert("a", 0), alert("b", 1)], make);
  const stays = list.children[1] === first && document.activeElement === input && list.children[2] !== second;
  arrange(list, [alert("a", 1), alert("c", 0)], make);
  const [again] = list.children;
  const typed = again.querySelector("input");
  const carried = again !== first && typed.value === "Dr Ni" && document.activeElement === typed;
  arrange(list, [], make);
  const empty = list.textContent;
  list.remove();
  return [stays, carried, empty];
}
"""


def test_what_somebody_types_into_an_alert_stays_when_alerts_come_and_go(page, ward):
    page.goto(ward.url)
    page.wait_for_function("window.vitals.state.who !== null", timeout=SOON_MS)
    assert page.evaluate(ARRANGE) == [True, True, "No alert stands."]


LIMITS = """
async () => {
  const { limitEditor } = await import("/limits.js");
  const [fetched, timed] = [window.fetch, window.setTimeout];
  const rule = { rule: "tachycardia", text: "", unit: "/min", limit: 120, least: 60, greatest: 200 };
  const row = (limit_value, log_seq) => ({ rule: "tachycardia", source: "command", limit_value, log_seq, version: 1 });
  let [known, limits] = [true, [row(120, 1)]];
  const answer = (url) => {
    if (url.includes("/commands/threshold")) return { log_seq: 7 };
    if (url.includes("/commands")) return { commands: known ? [{ log_seq: 7, result: "done" }] : [] };
    return url.includes("/limits") ? { limits } : { rules: [rule], profile: "adult", profiles: [] };
  };
  window.setTimeout = (done) => timed(done, 0);
  const mine = (url) => /limits-test|rules/.test(url);
  window.fetch = async (url, more) => (mine(url) ? new Response(JSON.stringify(answer(url))) : fetched(url, more));
  const { node, show } = limitEditor("limits-test", true);
  const shown = () => [node.querySelector("[name=limit]").value, node.querySelector("[role=status]").textContent];
  const said = [];
  try {
    document.body.append(node);
    for (const act of [() => {}, () => (limits = [row(135, 7)]), () => (known = false)]) {
      await show();
      act();
      node.querySelector("[name=limit]").value = "140";
      node.querySelector("form.limits").requestSubmit();
      const earlier = ["", "sending", ...said.map(([, text]) => text)];
      while (earlier.includes(shown()[1])) await new Promise((done) => timed(done, 20));
      said.push(shown());
    }
  } finally {
    [window.fetch, window.setTimeout] = [fetched, timed];
    node.remove();
  }
  return said;
}
"""


def test_limits_that_the_database_does_not_have_yet_are_said_to_be_those_of_before(page, ward):
    page.goto(ward.url)
    page.wait_for_function("window.vitals.state.who !== null", timeout=SOON_MS)
    before, new, unknown = page.evaluate(LIMITS)
    late = "the limits above are those of before: the database does not have the new ones yet"
    assert before == ["120", f"done: tachycardia 140; {late}"]
    assert new == ["135", "done: tachycardia 140"]
    assert unknown == ["135", "in the log, and not known yet what became of it: tachycardia 140"]
