"""Keeps a model's dataflow running, as `vitals run` keeps the flow."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from nats.aio.client import Client

from connectors.jetstream.history import seq_at
from connectors.local.recovery import RecoveryStore
from connectors.local.supervisor import Supervisor
from connectors.models.graph import NS, PLAN, ModelPlan
from dataflows.models.spec import Model, ModelError
from dataflows.settings import Settings


def model_folder(settings: Settings, model: Model) -> Path:
    """Where a version of a model keeps its state."""
    return settings.stack.data_dir.absolute() / "models" / f"{model.name}-{model.version}"


async def plan_of(client: Client, settings: Settings, model: Model, folder: Path, *, history: bool = False) -> None:
    """Decides where the first run begins, once for all: windows are whole, so reading begins a window earlier.

    Args:
        client: A connection.
        settings: Names.
        model: The declaration.
        folder: The model's.
        history: Begin with the log's first message; what is scored late pages nobody.

    Raises:
        ModelError: The folder belongs to another declaration with the same version.
    """
    file = folder / PLAN
    if file.exists():
        if msgspec.json.decode(file.read_bytes(), type=ModelPlan).digest != model.digest:
            message = f"model {model.name}, version {model.version}, was declared otherwise: raise its version"
            raise ModelError(message)
        return
    now_ns = time.time_ns()
    first = 0 if history else await seq_at(client, settings.streams.vitals, now_ns - model.window_ns - NS)
    plan = ModelPlan(model.digest, first, 0 if history else now_ns)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(plan))


def supervisor_of(settings: Settings, file: Path, folder: Path, say: Callable[[str], None]) -> Supervisor:
    """Returns what keeps the graph of the declaration in `file` running; the plan must be there."""
    run = settings.run.model_copy(update={"processes": 1, "workers": 1})
    settings = settings.model_copy(update={"run": run})
    store = RecoveryStore(folder / "recovery", settings)
    graph = f"connectors.models.graph:model({str(file.absolute())!r}, {str(folder)!r})"
    return Supervisor(settings, store, folder, say, graph=graph)
