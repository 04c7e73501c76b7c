"""`vitals run` and `vitals watch`: the flow's processes kept running, and the watch for the day that they are not."""

import json
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Mapping
from typing import Annotated

import typer

from connectors.cli.console import load_settings, say
from connectors.cli.supervised import supervised
from connectors.jetstream.streams import ensure_streams
from connectors.local.flow import settings_environment
from connectors.local.health import Health
from connectors.local.partitions import Partition
from connectors.local.process import ServerProcess, end_leftover
from connectors.local.recovery import RecoveryStore
from connectors.local.supervisor import Supervisor
from connectors.local.watch import DeadManWatch
from dataflows.settings import Settings

_WATCH_S = 1.0


def run(
    processes: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes of the flow; run.processes.", show_default=False)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker threads in each; run.workers.", show_default=False)
    ] = None,
) -> None:
    """Keep the dataflow running: start its processes, restart them all when one dies, drain on SIGTERM.

    Health is on http://127.0.0.1:9400 (/live, /ready, /status, /metrics). It goes on where it was from the recovery
    store in `stack.data_dir`, with any number of processes. systemd, Kubernetes or a terminal need nothing else.
    """
    settings = load_settings()
    changes = {"processes": processes, "workers": workers}
    wanted = settings.run.model_copy(update={name: value for name, value in changes.items() if value is not None})
    settings = settings.model_copy(update={"run": wanted})
    raise typer.Exit(keep_running(settings))


def keep_running(settings: Settings) -> int:
    """Runs supervisor, health endpoint, dead-man watch and drainer until SIGTERM or Ctrl-C; returns the exit code.

    Raises:
        CliError: The port of the health endpoint is taken.
        StateRefusedError: The recovery store cannot be continued.
    """
    folder = settings.stack.data_dir.absolute()
    store = RecoveryStore(folder / "recovery", settings)
    supervisor = Supervisor(settings, store, folder / "flow", say, before=lambda: ensure_streams(settings))
    watch = DeadManWatch(settings, lambda: supervisor.status.partitions, say)
    health = Health(supervisor, lambda: watch.progress.silent)
    host, port = settings.run.health_host, settings.run.health_port
    with supervised(supervisor, health, host, port, setting="run.health_port") as server:
        ended = threading.Event()
        beside = threading.Thread(target=_beside, args=(settings, watch, ended), name="watch", daemon=True)
        beside.start()
        say(f"health: http://{host}:{server.port}/status")
        try:
            return supervisor.run()
        finally:
            ended.set()
            beside.join(10)


def _beside(settings: Settings, watch: DeadManWatch, ended: threading.Event) -> None:
    """Keeps the watch and the drainer going until told."""
    folder = settings.stack.data_dir.absolute()
    environment = {**os.environ, **settings_environment(settings)}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "connectors.questdb.drainer"]
    pid_file = folder / "drainer.pid"
    drainer = ServerProcess("drainer", command, folder / "log" / "drainer.log", pid_file, env=environment)
    wanted = settings.questdb.enabled and settings.run.drainer
    end_leftover(pid_file, say, "drainer")
    while not ended.wait(_WATCH_S):
        watch.step()
        if wanted and not drainer.alive:
            drainer.start()
    drainer.stop()


def watch(
    url: Annotated[list[str], typer.Option(help="Health endpoint of a `vitals run`; repeat for several.")] = [  # noqa: B006  (typer's way)
        "http://127.0.0.1:9400"
    ],
) -> None:
    """Watch the pipeline from outside and say when it is silent, once, and when it is back.

    The message goes to alerts.v1.tick.pipeline.pipeline_silent. `vitals run` has the same watch in it; this
    one, best on another machine, also notices that `vitals run` itself is gone.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    dead_man = DeadManWatch(load_settings(), lambda: look(url), say)
    say(f"watching {', '.join(url)}")
    while not ended.wait(_WATCH_S):
        dead_man.step()


def look(urls: list[str]) -> Mapping[str, Partition]:
    """Returns how far every partition is by the health endpoints; nothing of those that do not answer."""
    found: dict[str, Partition] = {}
    for url in urls:
        try:
            with urllib.request.urlopen(f"{url}/status", timeout=2) as answer:  # noqa: S310  (named by the operator)
                status = json.load(answer)
        except (OSError, ValueError):
            continue
        found |= {name: Partition(**values) for name, values in status["partitions"].items()}
    return found
