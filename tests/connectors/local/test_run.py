"""`vitals run` on a real server: restart of the whole set, drain, rescale, what it refuses, the dead-man watch."""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zlib
from contextlib import closing, contextmanager

import pytest

from bench.traffic import Ward
from connectors.jetstream.connection import connect, native_options
from connectors.jetstream.history import bounds, messages
from connectors.local.flow import settings_environment
from connectors.local.ports import free_ports
from connectors.local.process import start_time
from connectors.local.watch import SUBJECT
from connectors.local.worker import REFUSED
from dataflows._native import Publisher
from dataflows.settings import RunSettings, StackSettings
from tests.stalls import Stalls
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]


PARTITIONS = 8


class Run:
    """`vitals run` as a program."""

    def __init__(self, server, folder, processes=1, silent_s=15.0):
        (self.port,) = free_ports(1)
        base = server.settings()
        run = RunSettings(processes=processes, health_port=self.port, silent_s=silent_s, backoff_max_s=2.0)
        stack = StackSettings(data_dir=folder, snapshot_interval_s=1)
        questdb = base.questdb.model_copy(update={"enabled": False})
        # A flow dies when it hears nothing for two heartbeats: here that would be a machine that stands still for 4 s.
        nats = base.nats.model_copy(update={"heartbeat_s": 10.0})
        self.settings = base.model_copy(update={"run": run, "stack": stack, "questdb": questdb, "nats": nats})
        self.words = folder / "words"
        folder.mkdir(exist_ok=True)
        environment = os.environ | settings_environment(self.settings) | {"VITALS_QUESTDB__ENABLED": "false"}
        command = [sys.executable, "-m", "connectors.cli", "run"]
        with self.words.open("ab") as words:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=words, stderr=words)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    def status(self):
        return json.loads(self.get("/status")[1] or b"{}")

    def durable(self):
        """What every partition has kept; 0 while a process of them did not answer."""
        found = [p["durable_seq"] for p in self.status().get("partitions", {}).values()]
        return min(found) if len(found) == PARTITIONS else 0

    def counted(self):
        """Frames of all processes; None while a process did not answer."""
        lines = self.get("/metrics")[1].decode().splitlines()
        if sum(line.startswith("nats_snapshot_seq") for line in lines) < PARTITIONS:
            return None
        return sum(float(line.split()[-1]) for line in lines if line.startswith("vitals_frames_total"))

    def ready(self):
        assert self.process.poll() is None, self.words.read_text()
        return self.get("/ready")[0] == 200 and self.durable() > 0

    def pids(self):
        folder = self.settings.stack.data_dir / "flow"
        return [json.loads(file.read_text())["pid"] for file in sorted(folder.glob("flow*.pid"))]


@contextmanager
def running(server, folder, **options):
    run = Run(server, folder, **options)
    try:
        until(run.ready, 180, poll_s=0.1)
        yield run
    finally:
        run.process.terminate()
        try:
            run.process.wait(90)
        finally:
            run.process.kill()


def alerts_of(settings):
    async def read():
        connection = await connect(settings.nats, "test")
        found = [message async for message in messages(connection, "ALERTS", *await bounds(connection, "ALERTS"))]
        await connection.close()
        return found

    return asyncio.run(read())


@pytest.mark.alone
def test_one_of_two_dies_both_start_again_and_sigterm_drains(nats_server, tmp_path):
    with running(nats_server, tmp_path / "run", processes=2) as run:
        before = run.pids()
        starts = [start_time(pid) for pid in before]

        def both_end():
            os.kill(before[1], signal.SIGKILL)
            until(lambda: all(start_time(pid) != start for pid, start in zip(before, starts, strict=True)))

        with Stalls() as stalls:
            assert stalls.timed(both_end) < 1.0
        until(lambda: run.status().get("restarts") == 1 and run.ready(), 180, poll_s=0.1)
        assert b"vitals_supervisor_restarts_total 1.0" in run.get("/metrics")[1]
        assert run.get("/live")[0] == 200
        run.process.terminate()
        assert run.process.wait(90) == 0
    assert "the flow ended at the end of an epoch" in run.words.read_text()


def test_what_was_drained_is_not_done_again_after_a_rescale(nats_server, tmp_path):
    folder = tmp_path / "run"
    ward = Ward(4, time.time_ns() - 40 * 10**9)
    done = 0
    for processes, seconds in ((1, range(10)), (2, range(10, 20)), (1, range(20, 30))):
        with running(nats_server, folder, processes=processes) as run:
            publish = Publisher(native_options(run.settings.nats, "test"))
            for second in seconds:
                for patient in range(4):
                    last = publish.publish_all(ward.messages(patient, second))[-1]
            until(lambda last=last, run=run: run.durable() >= last, 180, poll_s=0.1)
            done += until(run.counted, 180)
    assert done == 4 * 30 * 2


def of_version(change, version):
    """A snapshot of `signals`, pickled as Bytewax does, that says to be of another version."""
    start = change.index(b"SIGS")
    end = change.rindex(b"\x94.")
    state = bytearray(change[start:end])
    state[4:6] = version.to_bytes(2, "little")
    state[-4:] = zlib.crc32(state[:-4]).to_bytes(4, "little")
    return change[:start] + bytes(state) + change[end:]


def test_a_state_of_another_version_is_refused_and_not_tried_again(nats_server, tmp_path):
    folder = tmp_path / "run"
    with running(nats_server, folder) as run:
        publish = Publisher(native_options(run.settings.nats, "test"))
        last = publish.publish_all(Ward(1, time.time_ns()).messages(0, 0))[-1]
        until(lambda: run.durable() > last, 180, poll_s=0.1)
    doctored = 0
    for file in (folder / "recovery").glob("part-*.sqlite3"):
        with closing(sqlite3.connect(file)) as connection, connection:
            rows = connection.execute("SELECT rowid, ser_change FROM snaps WHERE step_id = 'vitals.signals'")
            for rowid, change in rows.fetchall():
                connection.execute("UPDATE snaps SET ser_change = ? WHERE rowid = ?", (of_version(change, 77), rowid))
                doctored += 1
    assert doctored
    refused = Run(nats_server, folder)
    assert refused.process.wait(180) == REFUSED
    words = " ".join(refused.words.read_text().split())
    assert "the flow cannot go on: the recovery state of step signals cannot be used" in words
    assert "snapshot version 77 of SIGS is unknown" in words


def test_silence_is_said_once_and_taken_back(nats_server, tmp_path):
    with running(nats_server, tmp_path / "run", silent_s=8.0) as run:
        # The watch looks from the first moment: a start of more than 8 s is silence as well, raised and taken back.
        until(lambda: len(alerts_of(run.settings)) % 2 == 0 and not run.status()["silent"], 120, poll_s=0.2)
        before = len(alerts_of(run.settings))
        (pid,) = run.pids()
        os.kill(pid, signal.SIGSTOP)
        until(lambda: run.status()["silent"], 30, poll_s=0.1)
        assert run.get("/ready")[0] == 503
        until(lambda: len(alerts_of(run.settings)) == before + 1, 30, poll_s=0.2)
        os.kill(pid, signal.SIGCONT)
        until(lambda: not run.status()["silent"], 120, poll_s=0.1)
        until(lambda: len(alerts_of(run.settings)) == before + 2, 60, poll_s=0.2)
        raised, cleared = alerts_of(run.settings)[before:]  # a drain may last until it is silence again
    assert raised.subject == cleared.subject == SUBJECT
    first, second = json.loads(raised.data), json.loads(cleared.data)
    assert (first["state"], second["state"]) == ("active", "cleared")
    assert first["alert_id"] == second["alert_id"]
    assert len(first["partitions"]) == PARTITIONS
