"""Real servers for tests, on free ports, started and stopped by the tests themselves."""

import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from connectors.local.artefacts import java_binary, questdb_jar
from connectors.local.process import ServerProcess
from connectors.local.servers import questdb_config, questdb_healthy, questdb_process
from connectors.questdb.reads import QuestDBReader
from dataflows.settings import QuestDBSettings, StackSettings


def free_ports(count: int) -> list[int]:
    """Returns ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


class QuestDB:
    """A QuestDB server with its data in `directory`; keeps its ports over a restart."""

    def __init__(self, directory: Path, extra: Mapping[str, str] | None = None) -> None:
        http, pg, self.health_port = free_ports(3)
        self._ports = (http, pg, self.health_port)
        self._directory = directory
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
        self._process.wait_until(lambda: questdb_healthy(self.settings), 60.0)
        return self

    def stop(self) -> None:
        """Stops the server in an orderly way."""
        self._process.stop()

    def kill(self) -> None:
        """Ends the server with SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Stops the process where it is: connections stay open, nothing is answered."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a paused process go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def reader(self) -> QuestDBReader:
        """Read access."""
        return QuestDBReader(self.settings)

    def _make(self) -> ServerProcess:
        stack = StackSettings()
        return questdb_process(
            java_binary(),
            questdb_jar(stack.questdb_version, stack.cache_dir, print),
            self._directory,
            config=questdb_config(self._ports, {}, self.extra),
            pid_file=self._directory / "questdb.pid",
            log=self._directory / "questdb.log",
            heap="256m",
        )
