"""The dataflow as child processes, and how far it is by its own metrics."""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from connectors.local.ports import LOOPBACK, free_ports
from connectors.local.process import ServerProcess, end_leftover
from connectors.local.recovery import RecoveryStore
from connectors.local.worker import REFUSED
from dataflows.settings import Settings

GRAPH = "dataflows.vitals"


def settings_environment(settings: Settings) -> dict[str, str]:
    """Returns the settings that were set, as environment variables for a child process."""
    found: dict[str, str] = {}
    # The flow has no use for where alerts are delivered, and the secrets of that are not for its environment.
    for part in type(settings).model_fields.keys() - {"notify"}:
        section = getattr(settings, part)
        for name in section.model_fields_set:
            value = getattr(section, name)
            if value is not None:
                plain = value.get_secret_value() if hasattr(value, "get_secret_value") else value
                text = json.dumps([str(one) for one in plain]) if isinstance(plain, list) else str(plain)
                found[f"VITALS_{part.upper()}__{name.upper()}"] = text
    return found


class FlowProcess(ServerProcess):
    """One process of the flow as a child.

    Args:
        settings: Handed down through the environment.
        directory: Where it runs and logs.
        recovery: `RecoveryStore.environment`; empty: from the stream's first message.
        metrics_port: Port of the metrics; 0 for none.
        arguments: What `python -m bytewax.run` takes beside the recovery.
        number: Which process of a set it is.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        recovery: Mapping[str, str],
        metrics_port: int = 0,
        *,
        arguments: Sequence[str] = (GRAPH,),
        number: int = 0,
    ) -> None:
        environment = {**os.environ, **settings_environment(settings), **recovery}
        directory.mkdir(parents=True, exist_ok=True)
        self._metrics_url = f"http://{LOOPBACK}:{metrics_port}/metrics"
        # Wherever this checkout or package is, the child finds the same modules.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        command = [sys.executable, "-m", "connectors.local.worker", str(metrics_port), *arguments]
        name = f"flow-{number}" if number else "flow"
        log, pid_file = directory / f"{name}.log", directory / f"{name}.pid"
        super().__init__(name, command, log, pid_file, env=environment, cwd=directory)

    def metrics(self) -> dict[str, list[float]]:
        """Returns each metric's values, one per set of labels; empty while the flow does not answer."""
        values: dict[str, list[float]] = {}
        for name, value in self.samples().items():
            values.setdefault(name.partition("{")[0], []).append(value)
        return values

    def samples(self) -> dict[str, float]:
        """Returns every sample of the metrics by its name and labels as they are written."""
        try:
            with urllib.request.urlopen(self._metrics_url, timeout=2) as answer:  # noqa: S310  (loopback)
                text = answer.read().decode()
        except (OSError, HTTPException):  # the second: it was killed while it answered
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}


class FlowSet:
    """All processes of a flow, which live and die together.

    Args:
        settings: Handed down; `settings.run` says how many processes and workers.
        directory: Where they run and log.
        store: The recovery store, prepared.
        graph: Import string of the dataflow.
    """

    def __init__(self, settings: Settings, directory: Path, store: RecoveryStore, graph: str = GRAPH) -> None:
        self._settings = settings
        self._directory = directory
        self._store = store
        self._graph = graph
        self.processes: list[FlowProcess] = []

    def start(self) -> None:
        """Starts every process; each start takes free ports, so that an old set's sockets are in nobody's way."""
        run = self._settings.run
        ports = free_ports(2 * run.processes)
        metrics, addresses = ports[: run.processes], [f"{LOOPBACK}:{port}" for port in ports[run.processes :]]
        self.processes = []
        for number, port in enumerate(metrics):
            arguments = [self._graph, "-w", str(run.workers)]
            if run.processes > 1:
                arguments += ["-i", str(number), "-a", ";".join(addresses)]
            recovery = self._store.environment()
            process = FlowProcess(self._settings, self._directory, recovery, port, arguments=arguments, number=number)
            self.processes.append(process)
            process.start()

    @property
    def whole(self) -> bool:
        """Whether every process runs."""
        return bool(self.processes) and all(process.alive for process in self.processes)

    @property
    def ending(self) -> bool:
        """Whether some processes have come to their end and the others still run."""
        codes = [process.returncode for process in self.processes]
        return None in codes and 0 in codes and set(codes) <= {None, 0}

    @property
    def finished(self) -> bool:
        """Whether every process has come to its end."""
        return bool(self.processes) and all(process.returncode == 0 for process in self.processes)

    def end_leftovers(self, say: Callable[[str], None]) -> None:
        """Ends processes of a set whose supervisor was killed: two sets on one store would write everything twice."""
        for pid_file in sorted(self._directory.glob("flow*.pid")):
            end_leftover(pid_file, say, pid_file.stem)

    def kill(self) -> None:
        """Ends what is left of the set as a crash would."""
        for process in self.processes:
            process.kill()

    def drain(self, timeout_s: float) -> bool:
        """Asks every process to end at an epoch boundary; what has not ended in time is killed.

        Returns:
            Whether all ended by themselves.
        """
        for process in self.processes:
            process.signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        ended = [process.wait(max(0.0, deadline - time.monotonic())) for process in self.processes]
        self.kill()
        return all(code == 0 for code in ended)

    def end_code(self) -> int | None:
        """Returns the exit code of the first process that ended by itself with one that says more than "died"."""
        codes = [process.returncode for process in self.processes if process.returncode is not None]
        return next((code for code in codes if code == REFUSED), codes[0] if codes else None)

    def last_words(self) -> str:
        """Returns why the set ended, in the words of its logs."""
        words = (line for process in self.processes for line in process.log_tail(60).splitlines() if "ENDED: " in line)
        *_, last = ("", *words)
        return last.partition("ENDED: ")[2] or "it left no word (killed, or out of memory)"

    def samples(self) -> dict[str, float]:
        """Returns the metrics of all processes; what several have is added up."""
        total: dict[str, float] = {}
        for process in self.processes:
            for name, value in process.samples().items():
                total[name] = total.get(name, 0.0) + value
        return total
