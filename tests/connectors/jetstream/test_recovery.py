"""kill -9 of the flow or of the server: nothing lost, nothing twice, whatever the dedupe window."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from bytewax.recovery import init_db_dir

from connectors.jetstream import ensure_streams
from connectors.jetstream.streams import is_fence
from connectors.local.ports import free_ports
from connectors.local.recovery import roll_back
from dataflows._native import partition_of
from tests.connectors.jetstream.tools import Admin, alerts_in, frame, open_publisher, wait_for

pytestmark = pytest.mark.services

PATIENTS = [f"p{n}" for n in range(12)]
PER_PATIENT = 120


class Flow:
    """The processes of one flow, with a supervisor that starts the set anew when one of them dies."""

    def __init__(self, folder, settings, processes, workers):
        self._folder = folder
        (folder / "settings.json").write_text(settings.model_dump_json())
        (folder / "recovery").mkdir()
        init_db_dir(folder / "recovery", 2)
        self._processes, self._workers = processes, workers
        self._running = []
        self._starts = itertools.count()

    def start(self):
        roll_back(self._folder / "recovery")
        addresses = [f"127.0.0.1:{port}" for port in free_ports(self._processes)] if self._processes > 1 else []
        environment = os.environ | {"ADDRESSES": json.dumps(addresses), "WORKERS": str(self._workers)}
        self._log = self._folder / f"flow{next(self._starts)}.log"
        with self._log.open("w") as log:
            self._running = [
                subprocess.Popen(
                    [sys.executable, "-m", "tests.connectors.jetstream.small_flow", str(n), str(self._folder)],
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
                for n in range(self._processes)
            ]

    def kill(self):
        os.kill(self._running[0].pid, signal.SIGKILL)
        self.wait_ended()

    def wait_ended(self):
        """One process's death ends the others, unless they were still starting: then it falls to the supervisor."""
        for process in self._running:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def ended(self):
        return all(process.poll() is not None for process in self._running)

    def stop(self):
        for process in self._running:
            process.kill()
            process.wait()

    @property
    def logs(self):
        return "".join(path.read_text() for path in sorted(self._folder.glob("flow*.log")))


@pytest.fixture
def make_flow(tmp_path):
    flows = []

    def make(settings, processes=1, workers=1):
        flows.append(Flow(tmp_path, settings, processes, workers))
        return flows[-1]

    yield make
    for flow in flows:
        flow.stop()


def bodies(admin):
    """Every alert in ALERTS, by patient."""
    found = {}
    for seq in range(1, admin.info("ALERTS").state.last_seq + 1):
        message = admin(admin.js.get_msg("ALERTS", seq))
        if is_fence(message.subject):
            continue
        found.setdefault(message.subject.split(".")[3], []).append(json.loads(message.data))
    return found


def check(found):
    assert sorted(found) == sorted(PATIENTS)
    for alerts in found.values():
        assert [seen for seen, _, _ in alerts] == list(range(1, PER_PATIENT + 1))
        assert [total for _, total, _ in alerts] == [n * (n - 1) // 2 for n in range(1, PER_PATIENT + 1)]
        assert [seq for _, _, seq in alerts] == sorted({seq for _, _, seq in alerts})


def settings_for(nats_server):
    # The window is over before the flow is back: the server's own deduplication must not be what saves us.
    settings = nats_server.settings(partitions=4, dedupe_window_s=1.0)
    ensure_streams(settings)
    return settings


@pytest.mark.parametrize(("cluster", "kills"), [((1, 1), 2), ((1, 2), 1), ((2, 1), 1)])
def test_killed_flows_lose_nothing_and_double_nothing(nats_server, admin, make_flow, cluster, kills):
    settings = settings_for(nats_server)
    flow = make_flow(settings, *cluster)
    publisher = open_publisher(settings)
    chance = random.Random(sum(cluster))

    def written():
        return alerts_in(admin)

    rounds = iter(range(PER_PATIENT))

    def publish(count):
        for n in itertools.islice(rounds, count):
            publisher.publish_all([frame(patient, n) for patient in PATIENTS])

    def kill_amid_traffic(count, waiting):
        """In step with the flow, so that it dies a moment after a write; what waits is there when it is back."""
        for _ in range(count):
            before = written()
            publish(1)
            wait_for(lambda before=before: written() > before, interval_s=0.001)
        flow.kill()
        publish(waiting)
        before, back = written(), time.monotonic() + 1.3
        wait_for(lambda: time.monotonic() > back)
        flow.start()
        wait_for(lambda: written() > before)

    def looked_up():
        """Messages that a writer found to be there when it was back."""
        return sum(int(line.split(" holds ")[1].split()[0]) for line in flow.logs.splitlines() if " holds " in line)

    flow.start()
    for _ in range(kills):
        kill_amid_traffic(chance.randrange(5, PER_PATIENT // kills // 2), PER_PATIENT // kills // 3)
    for _ in range(4):
        if not looked_up():  # on a slow machine a kill may come after the end of the epoch that it was to fall into
            kill_amid_traffic(3, 2)
    publish(PER_PATIENT)
    publisher.publish_all([frame("last", 0)])
    wait_for(lambda: written() > len(PATIENTS) * PER_PATIENT)
    found = bodies(admin)
    assert found.pop("last") == [[1, 0, found_last_seq(admin)]]
    check(found)
    assert looked_up() > 0, "no kill fell between a write and the end of its epoch: this proved nothing"


def found_last_seq(admin):
    subject = f"vp.{partition_of('main', 'last', 4)}.main.last.d1.ecg-ii"
    return admin(admin.js.get_last_msg("VITALS", subject)).seq


def test_a_killed_server_ends_the_flow_and_both_resume(nats_server, make_flow):
    settings = settings_for(nats_server)
    flow = make_flow(settings)
    flow.start()
    numbers = iter(range(PER_PATIENT))
    for _ in range(3):
        for n in itertools.islice(numbers, PER_PATIENT // 3):
            open_publisher(settings).publish_all([frame(patient, n) for patient in PATIENTS])
        admin = Admin(nats_server.url)
        wait_for(lambda admin=admin: alerts_in(admin) > 0)
        admin.close()
        nats_server.kill()
        wait_for(flow.ended)
        nats_server.start()
        flow.start()
    admin = Admin(nats_server.url)
    wait_for(lambda: alerts_in(admin) >= len(PATIENTS) * PER_PATIENT)
    check(bodies(admin))
    admin.close()
    assert "JetStreamError" in flow.logs
