"""`vitals models`: a scorer of the user's own beside the flow (docs/models.md)."""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from connectors.cli.console import CliError, load_settings, nats_client, say
from connectors.cli.services import hand_over, with_services
from connectors.cli.supervised import supervised
from connectors.local.health import Health
from connectors.models.process import Result, ScorerProcess, StartError
from connectors.models.run import model_folder, plan_of, supervisor_of
from dataflows.models.features import Series, Window
from dataflows.models.spec import Model, read_model

app = typer.Typer(help="Run a model of your own on every patient.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="Declaration of the model, a TOML file.")]
_NICE = 5
"""The flow goes first where both want the processor; the scorer's own process stands back further."""
_HOST = "127.0.0.1"


def _read(file: Path) -> Model:
    try:
        return read_model(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file} cannot be read: {error}"
        raise CliError(message) from error


@app.command("run")
def run(
    file: File,
    *,
    history: Annotated[bool, typer.Option(help="Score what the log holds already, too; it pages nobody.")] = False,
    health_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of /live, /ready, /metrics.")] = 9401,
) -> None:
    """Score every patient until SIGTERM: the log in, scores back into it as frames of `model-<name>`.

    A later run goes on where this one was. The model runs in a process of its own, which is ended when it takes longer
    than its budget and started again when it dies.
    """
    settings, model = load_settings(), _read(file)
    folder = model_folder(settings, model)

    async def planned() -> None:
        async with nats_client(settings, f"vitals models {model.name}") as client:
            await plan_of(client, settings, model, folder, history=history)

    asyncio.run(planned())
    os.nice(_NICE)
    supervisor = supervisor_of(settings, file, folder, say)
    with supervised(supervisor, Health(supervisor, lambda: False), _HOST, health_port, setting="port") as server:
        say(f"model {model.name}, version {model.version}: health on http://{_HOST}:{server.port}/status")
        code = supervisor.run()
    raise typer.Exit(code)


@app.command("check")
def check(
    file: File,
    patients: Annotated[int, typer.Option(min=1, help="Made-up patients in the batch.")] = 100,
) -> None:
    """Load the model as `run` does, score made-up patients once, and say how long it took.

    The values are noise: only whether it answers, and in its budget, means anything.
    """
    model = _read(file)
    scorer = ScorerProcess(model, file.parent)
    windows = _made_up(model, min(patients, model.batch))
    began = time.perf_counter()
    try:
        scorer.start()
        ready = time.perf_counter()
        result, scores = scorer.score(windows)
        took_s = time.perf_counter() - ready
    except StartError as error:
        message = f"model {model.name} did not start: {error}"
        raise CliError(message) from error
    finally:
        scorer.close()
    if result is not Result.SCORED:
        message = f"model {model.name}: {result.value}; its own words are above"
        raise CliError(message)
    absent = int(np.isnan(scores).sum())
    say(f"model {model.name}, version {model.version}: ready after {ready - began:.2f} s")
    say(f"{len(scores)} windows scored in {took_s * 1000:.1f} ms of {model.budget_s:g} s; {absent} without a score")
    say(f"scores from {np.nanmin(scores):g} to {np.nanmax(scores):g}" if absent < len(scores) else "no score at all")


def _made_up(model: Model, count: int) -> list[Window]:
    made = np.random.default_rng(0)
    slots = model.window_ns // model.sample_ns
    time_s = np.arange(1 - slots, 1, dtype=np.float64) * (model.sample_ns / 1e9)
    series = [{code: Series(time_s, made.normal(80, 10, slots)) for code in sorted(model.codes)} for _ in range(count)]
    return [Window("main", f"p{number}", time.time_ns(), one, ready=True) for number, one in enumerate(series)]


@app.command("enrol")
def enrol(
    file: File,
    days: Annotated[float, typer.Option(help="How long the identity holds, at most 366.")] = 365.0,
    out: Annotated[Path | None, typer.Option(help="File for the secret, mode 0600.", show_default=False)] = None,
) -> None:
    """Make an identity for a model: it may read the log, and publish scores of its own name alone.

    Name the file in VITALS_NATS__CREDENTIALS where `vitals models run` runs.
    """
    device = _read(file).device
    issued = with_services(lambda services: services.enrol("model", device, {"device": device}, days))
    hand_over(issued, out or Path(f"{device}.creds"))
