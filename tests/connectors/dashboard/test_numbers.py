"""Every number that a page shows is marked with its source, and is what the API answers there and SQL finds."""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpx
import pytest
from playwright.sync_api import expect

from connectors.api.rules import rules_of
from dataflows.alerts.rules import BUILTIN
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import DEFAULT_TENANT, NumericFramer, Origin, Reading, message_id, subject_of
from tests.connectors.dashboard.numbers import COLLECT, OPEN, Number, heart_rate, resolve
from tests.connectors.dashboard.ward import screenshots
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
SOON_MS = 60_000
MINUTE_NS = 60_000_000_000
BOUND = f"tenant = '{DEFAULT_TENANT}'"
MUST_BE_SEEN = {
    "/patients/*/observations#observations/0/value",
    "/patients/*/observations#observations/0/quality_pct",
    "/patients/*/observations#observations|least:low",
    "/patients/*/beats#beats|rate",
    "/patients/*/beats#beats|greatest:high",
    "/patients/*/scores#scores/0/value",
    "/patients/*/limits#limits/rule=*/limit_value",
    "/rules#rules/rule=*/limit",
    "/rules#rules/rule=*/greatest",
    "/alerts#alerts|count:",
    "/alerts/*#transitions/transition=*/value",
    "/alerts/*#transitions/transition=*/limit",
    "/alerts#alerts|count:open",
    "/status#flow/lag_s",
    "/status#ledger/patient=*/received",
    "/status#rejects/seq=*/bytes",
    "/status#rejects_by_reason/reason=*/messages",
    "/status#streams/stream=*/messages",
    "/status#tables/table=*/pending",
}
"""Classes of numbers without which the test would have looked at nothing."""


SPOT_CHECK = [
    Reading(pb.CODE_SBP, 86.0, pb.UNIT_MM_HG),
    Reading(pb.CODE_DBP, 48.0, pb.UNIT_MM_HG),
    Reading(pb.CODE_TEMP, 39.4, pb.UNIT_CEL),
    Reading(pb.CODE_RESP_RATE, 17.0, pb.UNIT_PER_MIN, quality_pct=40),
]
"""What a nurse measures: pressure and temperature that each have an alert, breaths that were hard to count."""


@pytest.fixture(scope="module")
def busy(ward):
    """The ward with blood pressure, a limit that somebody set, and a message that was refused."""
    frame = NumericFramer(Origin("100", "spot", boot_id=1)).frame(SPOT_CHECK, time.time_ns())
    publisher = ward.whole.publisher()
    publisher.publish_all([(subject_of(frame), {"Nats-Msg-Id": message_id(frame)}, frame.SerializeToString())])
    publisher.publish_all([("vitals.v1.main.100.spot.numeric", {}, b"no frame")])
    publisher.close()
    command = {"idempotency_key": "n-1", "argument": {"rule": "tachycardia", "limit": 135}}
    httpx.post(f"{ward.url}/api/v1/patients/100/commands/threshold", json=command, timeout=60).raise_for_status()
    return ward


class Held:
    """What is really there, read past the API."""

    def __init__(self, ward):
        self._whole, self._flow = ward.whole, ward.flow

    def sql(self, query):
        return self._whole.questdb.reader.query(query)

    def of(self, number):
        """The value that a number must have; None for what nobody but the server knows."""
        path, query = number.address.partition("?")[0].split("/")[1:], number.query
        if path[0] == "status":
            return self._status(number.way)
        if path[0] == "rules":
            rule, field = number.way.removeprefix("rules/rule=").split("/")
            return next(one[field] for one in rules_of(BUILTIN, query["profile"]) if one["rule"] == rule)
        return self._alerts(path[1:], query, number.way) if path[0] == "alerts" else self._rows(path, query, number)

    def _rows(self, path, query, number):
        where = f"{BOUND} AND patient = '{path[1]}'"
        if path[2] == "limits":
            rule, field = number.way.removeprefix("limits/rule=").split("/")
            sql = f"SELECT {field} FROM thresholds WHERE {where} AND rule = '{rule}' LATEST ON ts PARTITION BY rule"
            return self.sql(sql).item()
        where += "".join(
            f" AND {name} = '{query[name]}'" for name in ("code", "device", "signal", "score") if name in query
        )
        begin = int(query["from"]) - (int(query["from"]) % MINUTE_NS if "every" in query else 0)
        where += f" AND ts >= {begin} AND ts < {query['to']}"
        if number.way == "beats|rate":
            return heart_rate(self.sql(f"SELECT rr_ms FROM beats WHERE {where} ORDER BY ts").to_dicts())
        if "|" in number.way:
            column = "60000.0 / rr_ms" if path[2] == "beats" else "value"
            where += " AND rr_ms > 0" if path[2] == "beats" else " AND suspect = false"
            least = "min" if "least" in number.way else "max"
            return self.sql(f"SELECT {least}({column}) FROM {path[2]} WHERE {where}").item()
        return self.sql(f"SELECT {number.way.rpartition('/')[2]} FROM {path[2]} WHERE {where}").item()

    def _alerts(self, path, query, way):
        if path:
            transition, field = way.removeprefix("transitions/transition=").split("/")
            column = {"limit": "limit_value"}.get(field, field)
            sql = f"SELECT {column} FROM alerts WHERE alert_id = '{path[0]}' AND transition = {transition}"
            return self.sql(sql).item()
        last = self.sql(
            f"SELECT patient, state, transition n, alert_id FROM alerts WHERE {BOUND} ORDER BY transition"
        ).unique("alert_id", keep="last", maintain_order=True)
        standing = [row for row in last.to_dicts() if row["state"] != "cleared"]
        wanted = way.rpartition(":")[2]
        if not wanted:
            return sum(row["patient"] == query["patient"] for row in standing)
        return sum((row["state"] in OPEN) == (wanted == "open") for row in standing)

    def _status(self, way):
        part, _, rest = way.partition("/")
        name = rest.rpartition("/")[2]
        if part == "streams":
            stream = rest.split("/")[0].removeprefix("stream=")
            _, first, last = self._whole.publisher().stream_state(stream)
            return {"first_seq": first, "last_seq": last}.get(name)
        if part in {"ledger", "clocks"} and "=" in rest:
            where = rest.split("/")[0].replace("=", " = '").replace(",", "' AND ") + "'"
            table = "clock_segments" if part == "clocks" else "ledger"
            if name == "frames_per_min":
                return None
            by = "LATEST ON ts PARTITION BY patient, device, signal"
            return self.sql(f"SELECT {name} FROM {table} WHERE {where} AND {BOUND} {by}").item()
        if part.startswith("rejects"):
            # The browser has the event loop of this thread.
            with ThreadPoolExecutor(1) as other:
                messages = other.submit(self._whole.messages, "REJECTED").result()
            sizes = [len(text.partition(b" ")[2]) for _, text in messages if text.startswith(b"rejected.")]
            return len(sizes) if part == "rejects_by_reason" else sizes[0]
        if part == "flow" and name in {"restarts", "unaccounted"}:
            return getattr(self._flow.supervisor.status, name)
        return None


def numbers_of(page):
    found = page.evaluate(COLLECT)
    assert found["bare"] == [], "numbers without a source"
    return {Number(*one) for one in found["found"]}


def opened(page, ward, path):
    page.goto(f"{ward.url}/{path}")
    expect(page.locator("#banner")).to_be_hidden(timeout=SOON_MS)
    expect(page.locator("main")).not_to_be_empty(timeout=SOON_MS)
    if path == "#/":
        # The tiles and what stands in them come after the frame of the page.
        expect(page.locator(".tile .more").first).to_be_visible(timeout=SOON_MS)
    if "patient/" in path:
        page.wait_for_function("document.querySelectorAll('.chart canvas').length > 0", timeout=SOON_MS)
    for details in page.locator("details").all():
        details.evaluate("node => (node.open = true)")
    page.wait_for_timeout(1500)  # what an opened section asks for arrives


def right(number, asked, held):
    """Whether API and database both say what the page says."""
    answer = asked(number.address)
    if answer.status_code in {404, 503}:  # not there yet, or the database is slow
        return False
    told = resolve(answer.raise_for_status().json(), number.way)
    there = held.of(number)
    return number.shows(told) and (there is None or number.shows(there))


def wrong_of(numbers, client, held, patience_s):
    """Numbers that API or database contradict; rows take a moment until they can be seen."""
    deadline, left, looks = time.monotonic() + patience_s, set(numbers), 0
    while left and (looks < 3 or time.monotonic() < deadline):  # one look may take longer than that
        looks += 1
        asked = cache(client.get)  # many numbers of a page are of one answer
        for number in sorted(left, key=lambda one: one.source):
            try:
                if right(number, asked, held):
                    left.discard(number)
            except (IndexError, ValueError, KeyError):
                pass  # the row is not there yet
        time.sleep(0.2)
    return left


def shown_again(page):
    """The technical page, read anew."""
    page.evaluate("location.hash = '#/'")
    page.evaluate("location.hash = '#/technical'")
    page.wait_for_function("document.querySelectorAll('main [data-source]').length > 50")
    return {number for number in numbers_of(page) if number.address == "/status"}


def technical_wrong(page, client, held):
    """Sources of the technical page that were never right: its numbers move, so page, API and server must agree once.

    The page reads the API between two reads of the test, so a number of it lies between theirs.
    """
    first = {number.source for number in shown_again(page)}
    left, deadline = set(first), time.monotonic() + 150
    while left and time.monotonic() < deadline:
        before = client.get("/status").json()
        shown = shown_again(page)
        after = client.get("/status").json()
        for number in shown:
            if number.source not in left:
                continue
            try:
                bounds = sorted((resolve(before, number.way), resolve(after, number.way)))
                there = held.of(number)
            except (ValueError, KeyError, TypeError):
                continue  # a reject or a row that is new
            text, slack = float(number.text), 0.5 * 10.0 ** -len(number.text.partition(".")[2]) * (1 + 1e-6)
            between = bounds[0] * number.scale - slack <= text <= bounds[1] * number.scale + slack
            # What the server is asked last may have gone on; nothing on this page is ever ahead of it.
            if between and (there is None or there >= bounds[0] or number.shows(there)):
                left.discard(number.source)
    return left, first


PAGES = ("#/", "#/strips", "#/alerts", "#/patient/100", "#/patient/uw_100006", "#/patient/a161l")


@pytest.fixture
def client(busy):
    with httpx.Client(base_url=f"{busy.url}/api/v1", timeout=20) as client:
        yield client


def wait_for_everything(client):
    """Returns once there is something to show of every class: roll-ups, scores, ledger, a reject, two alerts of one."""

    def found(path, **params):
        """What an answer holds; nothing where the database was too busy for one."""
        return client.get(path, params=params).json().get(path.rpartition("/")[2], [])

    def all_there():
        status = client.get("/status").json()
        beats = found("/patients/100/beats", every="1m")
        readings = found("/patients/uw_100006/observations", every="1m")
        scores = found("/patients/uw_100006/scores")
        alerts = found("/alerts", state="standing", patient="100")
        return status["rejects"] and status["ledger"] and beats and readings and scores and len(alerts) > 1

    until(all_there, 120, poll_s=1.0)


def moving(number):
    """Whether it counts the alerts of now, or is of a minute that is not over: rows of it are still on their way."""
    return number.address.startswith("/alerts?") or "every" in number.query


def moving_again(page):
    """Those numbers, read anew."""
    if (hour := page.get_by_role("button", name="1 h", exact=True)).count():
        hour.click()
        page.wait_for_timeout(1000)
    return {number for number in numbers_of(page) if moving(number)}


def test_every_number_on_every_page_is_what_its_source_says(page, busy, client):
    wait_for_everything(client)
    held, seen = Held(busy), set()
    for path in PAGES:
        opened(page, busy, path)
        numbers = numbers_of(page)
        seen |= {number.kind for number in numbers}
        wrong = wrong_of({one for one in numbers if not moving(one)}, client, held, 20)
        assert not wrong, f"{path}: {sorted((one.source, one.text) for one in wrong)}"
        until(lambda: not wrong_of(moving_again(page), client, held, 1), 60)
        # What moves may have come only now: the alerts of a patient.
        seen |= {number.kind for number in numbers_of(page)}
    opened(page, busy, "#/technical")
    page.screenshot(path=screenshots() / "technical.png", full_page=True)
    seen |= {number.kind for number in numbers_of(page)}
    wrong, looked_at = technical_wrong(page, client, held)
    assert not wrong, sorted(wrong)
    assert len(looked_at) > 50
    assert not MUST_BE_SEEN - seen, sorted(MUST_BE_SEEN - seen)
