"""nats-server and QuestDB as child processes: their configuration, command line and health."""

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from connectors.local.doors import OPEN, Doors
from connectors.local.ports import LOOPBACK
from connectors.local.process import ServerProcess
from connectors.questdb.http import QueryError, QuestDBHttp, QuestDBUnavailableError
from dataflows.settings import QuestDBSettings

_SMALL_MACHINE_CPUS = 4
_LOG_BYTES, _LOGS = 64 << 20, 4


def nats_process(
    binary: Path,
    directory: Path,
    *,
    port: int,
    pid_file: Path,
    log: Path,
    login: tuple[str, str] | None = None,
    max_file_bytes: int | None = None,
    doors: Doors = OPEN,
    power_loss: bool = False,
) -> ServerProcess:
    """Returns a nats-server with JetStream, its data under `directory`; `login` is (user, password).

    With `power_loss` a message is on the disk before it is acknowledged; otherwise the server syncs every two minutes.

    `max_file_bytes` is what the streams' `max_bytes` may add up to; without it three quarters of the free disk.
    `doors` says where it listens and whom it believes; on loopback and everybody when absent.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "nats-server.conf"
    config.touch(mode=0o600)
    # Refusals are logged: whoever is refused again and again must not fill the disk.
    logs = f"log_file: {json.dumps(str(log))}\nlogfile_size_limit: {_LOG_BYTES}\nlogfile_max_num: {_LOGS}\n"
    log.parent.mkdir(parents=True, exist_ok=True)
    limit = "" if max_file_bytes is None else f"  max_file_store: {max_file_bytes}\n"
    sync = "  sync_interval: always\n" if power_loss else ""
    accounts = ""
    if login is not None:
        accounts = f"authorization {{\n  user: {json.dumps(login[0])}\n  password: {json.dumps(login[1])}\n}}\n"
    config.write_text(
        f"server_name: vitals-local\nlisten: {json.dumps(f'{doors.host}:{port}')}\n"
        f"{logs}jetstream {{\n  store_dir: {json.dumps(str(directory))}\n{limit}{sync}}}\n"
        f"{accounts}{doors.config()}"
    )
    return ServerProcess("NATS", [str(binary), "-c", str(config)], log, pid_file)


def nats_healthy(host: str, port: int, timeout_s: float = 1.0) -> bool:
    """Whether a nats-server with JetStream greets there."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            greeting = connection.makefile("rb").readline()
        verb, _, info = greeting.partition(b" ")
        return verb == b"INFO" and bool(json.loads(info).get("jetstream"))
    except (OSError, ValueError):
        return False


def questdb_config(
    ports: tuple[int, int, int],
    credentials: Mapping[str, str],
    extra: Mapping[str, str] | None = None,
    *,
    power_loss: bool = False,
) -> str:
    """Returns server.conf for loopback.

    Args:
        ports: HTTP, PostgreSQL wire, health and metrics.
        credentials: `http.user`, `http.password`, `pg.user`, `pg.password`, as far as they are set.
        extra: Further properties; they win.
        power_loss: Rows are on the disk before they are acknowledged.
    """
    http, pg, health = ports
    properties = {
        # A misspelt key fails the start instead of being ignored.
        "config.validation.strict": "true",
        "http.net.bind.to": f"{LOOPBACK}:{http}",
        "http.min.net.bind.to": f"{LOOPBACK}:{health}",
        "pg.net.bind.to": f"{LOOPBACK}:{pg}",
        # Who reads for people cannot write, whatever reaches the database.
        "pg.readonly.user.enabled": "true",
        "pg.readonly.user": "reader",
        "pg.readonly.password": "reader",
        "line.tcp.enabled": "false",
        # A table made by the first row would have no DEDUP keys: tables come from connectors/questdb/schema.py alone.
        "line.auto.create.new.tables": "false",
        "line.auto.create.new.columns": "false",
        "telemetry.enabled": "false",
        "metrics.enabled": "true",
        "cairo.writer.data.append.page.size": "1M",
        "ram.usage.limit.bytes": str(2 << 30),
        "cairo.commit.mode": "sync" if power_loss else "nosync",
        "http.min.worker.count": "1",
    }
    if (os.cpu_count() or 1) <= _SMALL_MACHINE_CPUS:
        properties |= {f"shared.{pool}.worker.count": "1" for pool in ("network", "query", "write")}
    properties |= credentials
    properties |= extra or {}
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def questdb_process(
    java: Path, jar: Path, directory: Path, *, config: str, pid_file: Path, log: Path, heap: str = "512m"
) -> ServerProcess:
    """Returns a QuestDB server with its data under `directory`."""
    (directory / "conf").mkdir(parents=True, exist_ok=True)
    (directory / "db").mkdir(parents=True, exist_ok=True)
    path = directory / "conf" / "server.conf"
    path.touch(mode=0o600)
    path.write_text(config)
    command = [
        str(java),
        "-Dcontainerized=false",
        "-ea",
        "-Dnoebug",
        f"-Xmx{heap}",
        "-XX:+UseParallelGC",
        f"-XX:ErrorFile={directory}/hs_err_pid%p.log",
        "--add-exports",
        "java.base/jdk.internal.math=io.questdb",
        "-p",
        str(jar),
        "-m",
        "io.questdb/io.questdb.ServerMain",
        "-d",
        str(directory),
    ]
    return ServerProcess("QuestDB", command, log, pid_file)


def questdb_healthy(settings: QuestDBSettings, timeout_s: float = 1.0) -> bool:
    """Whether QuestDB answers a query at the HTTP address of the settings."""
    try:
        return QuestDBHttp(settings, timeout_s).rows("SELECT 1 one") == [{"one": 1}]
    except (QuestDBUnavailableError, QueryError, KeyError):
        return False
