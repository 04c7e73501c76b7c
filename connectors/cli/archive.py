"""`vitals archive`: the data lake's dataflow, kept running."""

import typer

from connectors.cli.console import load_settings, say
from connectors.cli.noted import note_read
from connectors.cli.supervised import supervised
from connectors.jetstream.streams import ensure_streams
from connectors.local.health import Health
from connectors.local.recovery import RecoveryStore
from connectors.local.supervisor import Supervisor
from dataflows.settings import Settings

GRAPH = "dataflows.archive"


def supervisor_of(settings: Settings) -> Supervisor:
    """Returns what keeps the archive's flow running, on a recovery store of its own."""
    folder = settings.stack.data_dir.absolute()
    # A relative folder would be another one for the flow's processes, which run elsewhere.
    lake = settings.lake.model_copy(update={"root": settings.lake.root.absolute()})
    lake.model_fields_set.add("root")
    stack = settings.stack.model_copy(update={"snapshot_interval_s": settings.lake.epoch_s})
    settings = settings.model_copy(update={"lake": lake, "stack": stack})
    store = RecoveryStore(folder / "lake-recovery", settings)

    def before() -> None:
        ensure_streams(settings)
        note_read(settings, f"archive to {lake.root}")

    return Supervisor(settings, store, folder / "archive", say, before, graph=GRAPH)


def archive() -> None:
    """Keep the data lake up to date: every table as Parquet files under `lake.root`.

    Reads the log beside the live flow, which does not notice it, and goes on where it was from a recovery store of its
    own. Start it before `streams.vitals_max_age_h` has removed what it has not read yet. docs/lake.md.
    """
    settings = load_settings()
    supervisor = supervisor_of(settings)
    host, port = settings.run.health_host, settings.lake.health_port
    with supervised(supervisor, Health(supervisor, bool), host, port, setting="lake.health_port") as server:
        say(f"lake: {settings.lake.root.absolute()}; health: http://{host}:{server.port}/status")
        code = supervisor.run()
    raise typer.Exit(code)
