"""The local stack in one piece: NATS, QuestDB with its tables, the drainer of SPILL, and the flow's recovery folder.

The addresses of the settings say where. One that was configured and answers is used as it is; any other loopback
address gets a server started there.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from prometheus_client import start_http_server
from psycopg.conninfo import conninfo_to_dict

from connectors.identity.authority import IdentityError
from connectors.identity.devices import authority_of
from connectors.identity.own_streams import ensure_own_streams
from connectors.identity.warden import WardenThread
from connectors.jetstream.streams import StreamSetupError, ensure_streams
from connectors.local.artefacts import Say, java_binary, nats_server_binary, questdb_jar
from connectors.local.doors import doors_of
from connectors.local.ports import LOOPBACK
from connectors.local.process import ServerProcess, StackError, end_leftover, port_holder, port_is_free
from connectors.local.recovery import RecoveryStore
from connectors.local.refusals import Refusals
from connectors.local.servers import (
    nats_healthy,
    nats_process,
    questdb_config,
    questdb_healthy,
    questdb_process,
)
from connectors.questdb.drainer import DrainerThread
from connectors.questdb.http import QuestDBHttp
from connectors.questdb.schema import ensure_schema
from dataflows.monitor.state import StateRefusedError
from dataflows.settings import Settings

_UNLIMITED_STREAMS_BYTES = 8 << 30
"""Room in the server's account for streams without a limit of bytes, such as ALERTS."""
_START_S = 90.0
_WATCH_S = 0.2
_LOCAL_HOSTS = {"127.0.0.1", "localhost", "::1"}


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Stack:
    """Starts the stack on entering, stops it on leaving.

    Args:
        settings: Addresses, data folder, retention.
        say: Takes a line of progress at a time.
        cancel: Set from elsewhere (a signal handler) to give up starting.
    """

    def __init__(self, settings: Settings, say: Say = _print, cancel: threading.Event | None = None) -> None:
        self.settings = settings
        self.data_dir = settings.stack.data_dir.absolute()
        self.recovery = RecoveryStore(self.data_dir / "recovery", settings)
        self._say = say
        self._cancel = cancel or threading.Event()
        self._servers: list[ServerProcess] = []
        self._drainer: DrainerThread | None = None
        self._warden: WardenThread | None = None
        self._refusals: Refusals | None = None
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._take_folder()
            self._start_nats()
            self._make_streams()
            self._start_warden()
            self._start_questdb()
            self._start_recovery()
            self._start_drainer()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def environment(self) -> dict[str, str]:
        """Returns what the flow needs in its environment to resume where it was."""
        return self.recovery.environment()

    def pids(self) -> dict[str, int]:
        """Returns the process of each server that was started here."""
        return {server.name.lower(): server.pid for server in self._servers}

    def describe(self) -> str:
        """Returns where everything is, for people."""
        lines = [
            f"NATS      {self.settings.nats.url}",
            f"QuestDB   {self.settings.questdb.http_url} (console, REST, ILP), PostgreSQL wire: "
            f"port {conninfo_to_dict(self.settings.questdb.pg_dsn).get('port', '8812')}",
            *self._doors(),
            f"Data      {self.data_dir} (logs in {self.data_dir / 'log'})",
            "Flow      python -m bytewax.run dataflows.vitals, with:",
        ]
        lines += [f"  export {name}={value}" for name, value in self.environment().items()]
        return "\n".join(lines)

    def _doors(self) -> list[str]:
        stack = self.settings.stack
        lines = [f"MQTT      {stack.host}:{stack.mqtt_port}"] if stack.mqtt_port else []
        lines += [f"WebSocket {stack.host}:{stack.websocket_port}"] if stack.websocket_port else []
        if stack.security:
            lines.append(f"Identity  TLS and signed identities; keys in {stack.identity_dir.absolute()}")
        return lines

    def check(self) -> None:
        """Makes sure that everything that was started still runs; counts what NATS refused meanwhile.

        Raises:
            StackError: A server or the drainer ended by itself.
        """
        if self._refusals is not None:
            self._refusals.look()
        if self._drainer is not None and not self._drainer.is_alive():
            message = f"the drainer of SPILL ended by itself: {self._drainer.error}"
            raise StackError(message)
        if self._warden is not None and not self._warden.is_alive():
            message = "the warden of organisations' rates ended by itself"
            raise StackError(message)
        for server in self._servers:
            if not server.alive:
                message = f"{server.name} ended by itself; its log {server.log} ends with:\n{server.log_tail()}"
                raise StackError(message)

    def _take_folder(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = (self.data_dir / "stack.lock").open("a+")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            message = f"a stack already runs in {self.data_dir} (process {self._lock.read().strip() or 'unknown'})"
            self._lock.close()
            self._lock = None
            raise StackError(message) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _start_nats(self) -> None:
        nats = self.settings.nats
        url = urlsplit(nats.url.split(",")[0])
        host, port = url.hostname or LOOPBACK, url.port or 4222
        pid_file = self.data_dir / "nats.pid"
        end_leftover(pid_file, self._say, "NATS")
        if self._uses_running("NATS", "url" in nats.model_fields_set, host, lambda: nats_healthy(host, port)):
            return
        stack = self.settings.stack
        further = {
            "VITALS_STACK__MQTT_PORT=PORT": stack.mqtt_port,
            "VITALS_STACK__WEBSOCKET_PORT=PORT": stack.websocket_port,
        }
        self._need_ports(
            "NATS", {"VITALS_NATS__URL=nats://127.0.0.1:PORT": port} | {k: p for k, p in further.items() if p}
        )
        login = (nats.user, nats.password.get_secret_value() if nats.password else "") if nats.user else None
        log = self.data_dir / "log" / "nats.log"
        server = nats_process(
            nats_server_binary(),
            self.data_dir / "nats",
            port=port,
            pid_file=pid_file,
            log=log,
            login=login,
            max_file_bytes=self._stream_bytes(),
            doors=doors_of(self.settings),
            power_loss=self._power_loss,
        )
        self._refusals = Refusals(log)
        self._start(server, lambda: nats_healthy(host, port))

    @property
    def _locked(self) -> bool:
        """Whether a server that was started here believes signed identities alone."""
        return self.settings.stack.security and any(server.name == "NATS" for server in self._servers)

    @property
    def _power_loss(self) -> bool:
        return self.settings.stack.durability == "power-loss"

    def _stream_bytes(self) -> int:
        """Returns what the streams may grow to; said when the disk is smaller, because a small disk is no obstacle."""
        streams, authority = self.settings.streams, authority_of(self.settings)
        limits = streams.vitals_max_bytes + streams.rejected_max_bytes + streams.spill_max_bytes
        if self.settings.stack.security:
            limits += sum(authority.granted(tenant).disk_bytes for tenant in authority.tenants())
        free = shutil.disk_usage(self.data_dir).free
        if free < limits:
            self._say(
                f"NATS: the streams may grow to {limits / 1e9:.0f} GB, the disk has {free / 1e9:.0f} GB free: lower "
                "streams.vitals_max_bytes or spill_max_bytes if this is to run for long"
            )
        return limits + _UNLIMITED_STREAMS_BYTES

    def _make_streams(self) -> None:
        try:
            report = ensure_streams(self.settings)
            if self._locked:
                authority = authority_of(self.settings)
                for tenant in authority.tenants():
                    asyncio.run(ensure_own_streams(self.settings.nats, authority, tenant))
        except (StreamSetupError, IdentityError) as error:
            raise StackError(str(error)) from error
        if report.created:
            self._say(f"NATS: created the streams {', '.join(report.created)}")
        for line in report.differences:
            self._say(f"NATS: {line}")

    def _start_questdb(self) -> None:
        questdb, stack = self.settings.questdb, self.settings.stack
        if not questdb.enabled:
            self._say("QuestDB: disabled by questdb.enabled")
            return
        url = urlsplit(questdb.http_url)
        host, port = url.hostname or LOOPBACK, url.port or 9000
        pid_file = self.data_dir / "questdb.pid"
        end_leftover(pid_file, self._say, "QuestDB")
        explicit = "http_url" in questdb.model_fields_set
        if not self._uses_running("QuestDB", explicit, host, lambda: questdb_healthy(questdb)):
            pg = conninfo_to_dict(questdb.pg_dsn)
            pg_port = int(pg.get("port") or 8812)
            self._need_ports(
                "QuestDB",
                {
                    "VITALS_QUESTDB__HTTP_URL=http://127.0.0.1:PORT": port,
                    "VITALS_QUESTDB__PG_DSN='host=127.0.0.1 port=PORT ...'": pg_port,
                    "VITALS_STACK__QUESTDB_HEALTH_PORT=PORT": stack.questdb_health_port,
                },
            )
            credentials = {f"pg.{key}": str(pg[key]) for key in ("user", "password") if pg.get(key)}
            credentials["pg.readonly.user"] = questdb.reader
            credentials["pg.readonly.password"] = questdb.reader_password.get_secret_value()
            if questdb.user and questdb.password:
                credentials |= {"http.user": questdb.user, "http.password": questdb.password.get_secret_value()}
            server = questdb_process(
                java_binary(),
                questdb_jar(stack.questdb_version, stack.cache_dir, self._say),
                self.data_dir / "questdb",
                config=questdb_config(
                    (port, pg_port, stack.questdb_health_port), credentials, power_loss=self._power_loss
                ),
                pid_file=pid_file,
                log=self.data_dir / "log" / "questdb.log",
            )
            self._start(server, lambda: questdb_healthy(questdb))
        report = ensure_schema(QuestDBHttp(questdb, _START_S), questdb)
        if report.created:
            self._say(f"QuestDB: created {', '.join(report.created)}")
        for line in (*report.added_columns, *report.differences):
            self._say(f"QuestDB: {line}")

    def _start_recovery(self) -> None:
        try:
            made = self.recovery.prepare()
        except StateRefusedError as error:
            raise StackError(str(error)) from error
        if made:
            self._say(f"Recovery: created in {self.recovery.folder}")

    def _start_warden(self) -> None:
        if self._locked:
            self._warden = WardenThread(self.settings)
            self._warden.start()

    def _start_drainer(self) -> None:
        if self.settings.questdb.enabled:
            self._drainer = DrainerThread(self.settings)
            self._drainer.start()
            self._say(f"Drainer: moves what waits in {self.settings.streams.spill} to QuestDB")

    def _uses_running(self, name: str, explicit: bool, host: str, healthy: Callable[[], bool]) -> bool:
        """Whether a server that somebody else runs is to be used."""
        if explicit and healthy():
            self._say(f"{name}: using the server that runs at the configured address")
            return True
        if host not in _LOCAL_HOSTS:
            message = f"{name} at {host} does not answer, and only loopback addresses can be started here"
            raise StackError(message)
        return False

    def _need_ports(self, name: str, ports: dict[str, int]) -> None:
        for setting, port in ports.items():
            if not port_is_free(LOOPBACK, port):
                message = (
                    f"{name}: port {port} is taken by {port_holder(port)}. Stop it, or choose another port with "
                    f"{setting}. If it is the server to use, name its address in that setting."
                )
                raise StackError(message)

    def _start(self, server: ServerProcess, healthy: Callable[[], bool]) -> None:
        self._say(f"{server.name}: starting")
        self._servers.append(server)
        server.start()
        server.wait_until(healthy, _START_S, self._cancel)
        self._say(f"{server.name}: healthy (process {server.pid})")

    def _stop(self) -> None:
        if self._drainer is not None:
            self._drainer.stop()
            self._drainer = None
        if self._warden is not None:
            self._warden.stop()
            self._warden = None
        if self._refusals is not None:
            self._refusals.close()
            self._refusals = None
        while self._servers:
            server = self._servers.pop()
            server.stop()
            self._say(f"{server.name}: stopped")
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def run_stack(settings: Settings, *, on_ready: Callable[[Stack], None] | None = None, say: Say = _print) -> int:
    """Runs the stack until Ctrl-C or SIGTERM.

    Args:
        settings: Addresses, data folder, retention.
        on_ready: Called once everything is healthy.
        say: Takes a line of progress at a time.

    Returns:
        0 after a signal, 1 when the stack could not start or a server ended by itself.
    """
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        say(f"stopping ({signal.Signals(number).name})")
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with Stack(settings, say, stop) as stack:
            if settings.stack.metrics_port:
                start_http_server(settings.stack.metrics_port, LOOPBACK)
            say(stack.describe())
            if on_ready is not None:
                on_ready(stack)
            while not stop.wait(_WATCH_S):
                stack.check()
    except StackError as error:
        if not stop.is_set():
            say(f"stack: {error}")
            return 1
    finally:
        for number, handler in previous.items():
            with contextlib.suppress(ValueError):
                signal.signal(number, handler)
    return 0


def main() -> None:
    """Entry of `python -m connectors.local.stack`."""
    sys.exit(run_stack(Settings()))


if __name__ == "__main__":
    main()
