"""The local stack with real servers: start, stop, what an earlier run left behind, who holds a port."""

import functools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psycopg
import pytest

from connectors.local.artefacts import questdb_jar
from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess, StackError, end_leftover, port_is_free, start_time
from connectors.local.servers import nats_healthy, questdb_healthy
from connectors.local.stack import Stack
from connectors.questdb.reads import QuestDBReader
from connectors.questdb.schema import LOGGED
from dataflows.settings import NatsSettings, QuestDBSettings, Settings, StackSettings, StreamSettings

pytestmark = pytest.mark.services


def make_settings(folder: Path) -> Settings:
    nats, http, pg, health = free_ports(4)
    return Settings(
        nats=NatsSettings(url=f"nats://127.0.0.1:{nats}"),
        questdb=QuestDBSettings(
            http_url=f"http://127.0.0.1:{http}",
            pg_dsn=f"host=127.0.0.1 port={pg} user=admin password=s3cret dbname=qdb",
        ),
        stack=StackSettings(data_dir=folder / "data", questdb_health_port=health),
    )


def nats_port(settings: Settings) -> int:
    return int(settings.nats.url.rsplit(":", 1)[1])


def test_the_stack_starts_everything_and_stops_it(tmp_path, monkeypatch):
    # A busy machine answers late: here that is not the same as nobody there.
    for name, asked in (("nats_healthy", nats_healthy), ("questdb_healthy", questdb_healthy)):
        monkeypatch.setattr(f"connectors.local.stack.{name}", functools.partial(asked, timeout_s=60.0))
    settings, said = make_settings(tmp_path), []
    with Stack(settings, said.append) as stack:
        stack.check()
        assert nats_healthy("127.0.0.1", nats_port(settings), timeout_s=60.0)
        assert questdb_healthy(settings.questdb, timeout_s=60.0)
        assert {health.table for health in QuestDBReader(settings.questdb).health()} == LOGGED
        with psycopg.connect(settings.questdb.pg_dsn) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        environment = stack.environment()
        assert set(environment) == {
            "BYTEWAX_RECOVERY_DIRECTORY",
            "BYTEWAX_SNAPSHOT_INTERVAL",
            "BYTEWAX_RECOVERY_BACKUP_INTERVAL",
        }
        files = sorted(Path(environment["BYTEWAX_RECOVERY_DIRECTORY"]).glob("part-*.sqlite3"))
        assert len(files) == 2

        with pytest.raises(StackError, match=rf"already runs in .* \(process {os.getpid()}\)"):
            Stack(settings, said.append).__enter__()
        # Addresses that are configured and answer are used, whoever started the servers.
        other = settings.model_copy(update={"stack": StackSettings(data_dir=tmp_path / "other")})
        with Stack(other, said.append):
            pass
        assert said.count("QuestDB: using the server that runs at the configured address") == 1
        assert nats_healthy("127.0.0.1", nats_port(settings), timeout_s=60.0)
    assert not nats_healthy("127.0.0.1", nats_port(settings))
    assert not questdb_healthy(settings.questdb)
    assert list(settings.stack.data_dir.glob("*.pid")) == []
    assert any("healthy" in line for line in said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_program_and_its_servers(tmp_path, number):
    settings = make_settings(tmp_path)
    environment = os.environ | {
        "VITALS_NATS__URL": settings.nats.url,
        "VITALS_QUESTDB__ENABLED": "false",
        "VITALS_STACK__DATA_DIR": str(settings.stack.data_dir),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "connectors.local.stack"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "BACKUP_INTERVAL" in line:
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=20)
    assert process.returncode == 0, "".join(lines) + rest
    assert number.name in rest
    assert "NATS: stopped" in rest
    assert port_is_free("127.0.0.1", nats_port(settings))


def without_questdb(folder: Path) -> Settings:
    settings = make_settings(folder)
    return settings.model_copy(update={"questdb": QuestDBSettings(enabled=False)})


def test_a_server_that_outlived_its_stack_is_replaced(tmp_path):
    settings, said = without_questdb(tmp_path), []
    first = Stack(settings, said.append).__enter__()
    pid = json.loads((settings.stack.data_dir / "nats.pid").read_text())["pid"]
    first._lock.close()  # noqa: SLF001  (what the kernel does when the parent is killed)
    with Stack(settings, said.append) as second:
        second.check()
        assert f"NATS: process {pid} outlived an earlier stack, stopping it" in said
        assert json.loads((settings.stack.data_dir / "nats.pid").read_text())["pid"] != pid


def test_a_stale_pid_file_is_no_obstacle(tmp_path):
    said: list[str] = []
    pid_file = tmp_path / "nats.pid"
    # This process's id with another start time: the id was reused after a reboot.
    pid_file.write_text(json.dumps({"pid": os.getpid(), "started": "1"}))
    end_leftover(pid_file, said.append, "NATS")
    assert not pid_file.exists()
    pid_file.write_text("not json")
    end_leftover(pid_file, said.append, "NATS")
    assert not pid_file.exists()
    assert said[0] == f"NATS: stale pid file removed (process {os.getpid()} is gone)"
    assert start_time(os.getpid()) is not None


def test_both_servers_take_the_profile_for_power_loss(tmp_path):
    settings = make_settings(tmp_path)
    stack = settings.stack.model_copy(update={"durability": "power-loss"})
    with Stack(settings.model_copy(update={"stack": stack}), print) as running:
        assert "sync_interval: always" in (running.data_dir / "nats" / "nats-server.conf").read_text()
        with psycopg.connect(settings.questdb.pg_dsn) as connection:
            modes = connection.execute("SELECT value FROM (SHOW PARAMETERS) WHERE property_path = 'cairo.commit.mode'")
            assert modes.fetchall() == [("sync",)]


def test_streams_larger_than_the_disk_are_made_and_it_is_said(tmp_path):
    settings, said = without_questdb(tmp_path), []
    streams = StreamSettings(vitals_max_bytes=1 << 50)
    with Stack(settings.model_copy(update={"streams": streams}), said.append):
        assert any("the streams may grow to" in line for line in said)
        assert any("created the streams" in line and "VITALS" in line for line in said)


def test_a_taken_port_is_explained(tmp_path):
    settings = without_questdb(tmp_path)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", nats_port(settings)))
        holder.listen()
        expected = rf"NATS: port {nats_port(settings)} is taken by process {os.getpid()} \(.*VITALS_NATS__URL"
        with pytest.raises(StackError, match=expected):
            Stack(settings, lambda _: None).__enter__()


def test_a_remote_server_that_is_away_is_not_started_here(tmp_path):
    settings = without_questdb(tmp_path)
    settings = settings.model_copy(update={"nats": NatsSettings(url="nats://nats.invalid:4222")})
    with pytest.raises(StackError, match=r"NATS at nats.invalid does not answer"):
        Stack(settings, lambda _: None).__enter__()


def test_a_server_that_ends_is_noticed(tmp_path):
    settings = without_questdb(tmp_path)
    with Stack(settings, lambda _: None) as stack:
        pid = json.loads((settings.stack.data_dir / "nats.pid").read_text())["pid"]
        os.kill(pid, signal.SIGKILL)

        def watch() -> None:
            while True:
                stack.check()

        with pytest.raises(StackError, match="NATS ended by itself"):
            watch()


def test_a_server_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('bad setting: x.y'); raise SystemExit(3)"]
    server = ServerProcess("QuestDB", command, tmp_path / "log", tmp_path / "pid")
    server.start()
    with pytest.raises(StackError, match=r"(?s)QuestDB ended while starting.*bad setting: x.y"):
        server.wait_until(lambda: False, 10.0)


def test_the_jar_is_fetched_once_and_checked_at_each_use(tmp_path):
    said: list[str] = []
    version = StackSettings().questdb_version
    threads = [
        threading.Thread(target=questdb_jar, args=(version, tmp_path, said.append), daemon=True) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len([line for line in said if "fetching the jar" in line]) == 1

    jar = questdb_jar(version, tmp_path, said.append)
    whole = jar.stat().st_size
    with jar.open("r+b") as file:
        file.truncate(1000)
    assert questdb_jar(version, tmp_path, said.append).stat().st_size == whole
    assert len([line for line in said if "fetching the jar" in line]) == 2


def test_without_maven_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match="Maven"):
        questdb_jar("9.3.4", tmp_path / "cache", lambda _: None)
