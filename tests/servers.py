"""Real servers for tests, on free ports, started and stopped by the tests themselves."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from connectors.local.artefacts import java_binary, nats_server_binary, questdb_jar
from connectors.local.ports import free_ports
from connectors.local.process import ServerProcess
from connectors.local.servers import nats_healthy, nats_process, questdb_config, questdb_healthy, questdb_process
from connectors.questdb.http import QuestDBHttp
from connectors.questdb.reads import QuestDBReader
from dataflows.settings import NatsSettings, QuestDBSettings, Settings, StackSettings, StreamSettings
from tests.waiting import until


def pause_process(pid: int) -> None:
    """Stops a process and returns once all its threads stand still: on a busy machine that takes a while."""

    def state(stat: Path) -> str:
        try:
            return stat.read_text().rsplit(")", 1)[1].split()[0]
        except OSError:  # a thread that ended meanwhile
            return "T"

    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(state(stat) == "T" for stat in Path("/proc").glob(f"{pid}/task/*/stat")))


class NatsServer:
    """A nats-server with JetStream, its data in `store_dir`; keeps its port over a restart."""

    def __init__(self, store_dir: Path) -> None:
        (self.port,) = free_ports(1)
        self.url = f"nats://127.0.0.1:{self.port}"
        self.store_dir = store_dir
        self._process = nats_process(
            nats_server_binary(),
            store_dir,
            port=self.port,
            pid_file=store_dir / "nats.pid",
            log=store_dir / "nats.log",
        )

    def settings(self, **streams: object) -> Settings:
        """Returns settings for this server, with small streams; `streams` changes fields of StreamSettings."""
        small = {"vitals_max_bytes": 1 << 30, "rejected_max_bytes": 1 << 28, "spill_max_bytes": 1 << 28}
        return Settings(
            nats=NatsSettings(url=self.url),
            streams=StreamSettings.model_validate(small | streams),
        )

    def start(self) -> "NatsServer":
        """Starts the server and waits until it greets with JetStream."""
        self._process.start()
        self._process.wait_until(lambda: nats_healthy("127.0.0.1", self.port), 60.0)
        return self

    def stop(self) -> None:
        """Stops the server in an orderly way."""
        self._process.stop()

    def kill(self) -> None:
        """Ends the server with SIGKILL."""
        self._process.kill()

    def restart(self) -> None:
        """Kills the server and starts it on the same data and port."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Stops the process where it is: connections stay open, nothing is answered."""
        pause_process(self._process.pid)

    def resume(self) -> None:
        """Lets a paused process go on."""
        os.kill(self._process.pid, signal.SIGCONT)


class NatsCluster:
    """Three nats-servers that replicate their streams, their data under `folder`."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(6)
        self.ports, routes = ports[:3], ports[3:]
        self.url = ",".join(f"nats://127.0.0.1:{port}" for port in self.ports)
        listed = ",".join(f"nats://127.0.0.1:{port}" for port in routes)
        self._processes = []
        for n, (port, route) in enumerate(zip(self.ports, routes, strict=True)):
            home = folder / f"n{n}"
            home.mkdir(parents=True)
            command = [str(nats_server_binary()), "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(home)]
            command += ["--server_name", f"n{n}", "--cluster_name", "tests", "--routes", listed]
            command += ["--cluster", f"nats://127.0.0.1:{route}"]
            self._processes.append(ServerProcess("NATS", command, home / "nats.log", home / "nats.pid"))

    def settings(self) -> Settings:
        """Settings for it: every stream has three replicas."""
        small = {"vitals_max_bytes": 1 << 30, "rejected_max_bytes": 1 << 28, "spill_max_bytes": 1 << 28}
        return Settings(nats=NatsSettings(url=self.url), streams=StreamSettings.model_validate(small | {"replicas": 3}))

    def start(self) -> "NatsCluster":
        """Starts the servers."""
        for process in self._processes:
            process.start()
        return self

    def kill(self, n: int) -> None:
        """Ends one server with SIGKILL."""
        self._processes[n].kill()

    def stop(self) -> None:
        """Stops all of them."""
        for process in self._processes:
            process.stop()


class QuestDB:
    """A QuestDB server with its data in `directory`; keeps its ports over a restart."""

    def __init__(self, directory: Path, extra: Mapping[str, str] | None = None) -> None:
        http, pg, self.health_port = free_ports(3)
        self._ports = (http, pg, self.health_port)
        self.directory = directory
        self.extra = dict(extra or {})
        self.settings = QuestDBSettings(
            http_url=f"http://127.0.0.1:{http}",
            pg_dsn=f"host=127.0.0.1 port={pg} user=admin password=quest dbname=qdb",
        )
        self._process = self._make()

    def start(self) -> "QuestDB":
        """Starts the server and waits until it answers a query."""
        self._process = self._make()
        self._process.start()
        self._process.wait_until(lambda: questdb_healthy(self.settings), 180.0)
        return self

    def stop(self) -> None:
        """Stops the server in an orderly way."""
        self._process.stop()

    def kill(self) -> None:
        """Ends the server with SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Stops the process where it is: connections stay open, nothing is answered."""
        pause_process(self._process.pid)

    def resume(self) -> None:
        """Lets a paused process go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def reader(self) -> QuestDBReader:
        """Read access."""
        return QuestDBReader(self.settings)

    @property
    def http(self) -> QuestDBHttp:
        """Statements; the first ones of a server that has just started take their time."""
        return QuestDBHttp(self.settings, 60)

    def _make(self) -> ServerProcess:
        stack = StackSettings()
        return questdb_process(
            java_binary(),
            questdb_jar(stack.questdb_version, stack.cache_dir, print),
            self.directory,
            config=questdb_config(self._ports, {}, self.extra),
            pid_file=self.directory / "questdb.pid",
            log=self.directory / "questdb.log",
            heap="256m",
        )
