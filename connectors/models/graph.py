"""The dataflow beside the flow: the log in, a model's scores back into the log.

`connectors.models.graph:model('MODEL.toml', 'FOLDER')`. Signals are put in order by the same step as in the flow, so a
window holds what the flow saw. Recovery is the flow's, too: what a killed run published after its last epoch is made
again with the same ids, and left out because the log holds it; what was still on its way is refused by its fence.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import StatefulBatchLogic

from connectors.jetstream import JetStreamSink, JetStreamSource, OutMessage
from connectors.jetstream.ids import MessageIds
from connectors.jetstream.source import Item, JetStreamPartition, open_puller
from connectors.models.process import WINDOWS, Result, ScorerProcess
from dataflows._native import Items, Output
from dataflows.alerts.rules import PIPELINE_TENANT
from dataflows.contracts.frames import message_id, subject_of
from dataflows.models.features import Window
from dataflows.models.scores import LARGEST, score_frame
from dataflows.models.spec import Model, read_model
from dataflows.models.windows import Windows
from dataflows.monitor.checking import validator
from dataflows.monitor.patient import signals_config
from dataflows.monitor.state import refusing
from dataflows.monitor.steps import signals_step
from dataflows.settings import Settings
from dataflows.vitals import as_items, validate

PLAN = "plan.json"
MODELS = "models"
"""The patient of the tenant `tick` under which models say that they live (`native/src/wire/subject.rs`)."""
PIPELINE_KEY = f"{PIPELINE_TENANT}/{MODELS}"
NS = 1_000_000_000


class ModelPlan(msgspec.Struct, frozen=True):
    """Where a model's first run began, kept for all later ones.

    Attributes:
        digest: Of the declaration: another one needs another version.
        first: Sequence of the log at which reading began.
        since_ns: The first windows end then: before, the log was not read from their beginning.
    """

    digest: str
    first: int
    since_ns: int


class _Source(FixedPartitionedSource[Item, bytes]):
    """The log from the plan's first message on, or from the recovery state."""

    def __init__(self, settings: Settings, first: int) -> None:
        self._settings = settings
        self._first = first

    def list_parts(self) -> list[str]:
        """Names of the partitions."""
        return JetStreamSource(self._settings).list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> JetStreamPartition:
        """Starts reading."""
        puller = open_puller(self._settings, step_id, for_part, resume_state, start_seq=self._first)
        return JetStreamPartition(puller, self._settings, step_id, for_part)


class _WindowsStep(StatefulBatchLogic[Output, Window, bytes]):
    """Step `windows`: a thin shell."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    def on_batch(self, values: list[Output]) -> tuple[list[Window], bool]:
        """Outputs of one patient, in log order."""
        return [window for output in values for window in self._windows.on_output(output)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Versioned bytes."""
        return self._windows.snapshot()


def _windows_step(model: Model, since_ns: int, resume: bytes | None) -> _WindowsStep:
    if resume is None:
        return _WindowsStep(Windows(model, since_ns))
    with refusing("windows"):
        return _WindowsStep(Windows.restore(resume, model, since_ns))


class Asking:
    """Step `score`: windows of many patients in, frames out.

    Each step in which no batch failed has a sign of life, a frame of the pipeline's own patient: when those stop, the
    flow tells it once, and not of every patient.

    Args:
        model: The declaration.
        scorer: Its process.
        ids: Of what is published.
        live: Log time is the time of day, so that a score can come too late.
    """

    def __init__(self, model: Model, scorer: ScorerProcess, ids: MessageIds, *, live: bool) -> None:
        self._model = model
        self._scorer = scorer
        self._ids = ids
        self._live = live
        self._begun = self._failed = False
        self._counts = {name: WINDOWS.labels(model.name, name) for name in ("scored", "no_score", "failed", "late")}

    def __call__(self, windows: list[tuple[str, Window]]) -> Iterator[tuple[str, OutMessage]]:
        """Asks the scorer about those that are ready; the others have no score, which is said, too."""
        beats = [one for one in windows if one[1].tenant == PIPELINE_TENANT]
        ready = [one for one in windows if one[1].ready]
        for key, window in windows:
            if not window.ready and window.tenant != PIPELINE_TENANT:
                yield key, self._message(window, float("nan"))
        yield from self._scores(ready)
        if ready and not self._begun and not self._failed:
            # From here on the ticks of the log ask for a sign of life each step.
            beats.append((PIPELINE_KEY, Window(PIPELINE_TENANT, MODELS, ready[-1][1].end_ns, {}, ready=False)))
        for key, window in beats:
            self._begun = True
            if not self._failed:
                yield key, self._outgoing(window, float("nan"))
            self._failed = False

    def _scores(self, ready: list[tuple[str, Window]]) -> Iterator[tuple[str, OutMessage]]:
        size = self._model.batch
        for start in range(0, len(ready), size):
            some = ready[start : start + size]
            result, scores = self._scorer.score([window for _, window in some])
            if result is not Result.SCORED:
                self._counts["failed"].inc(len(some))
                self._failed = True
                continue
            for (key, window), score in zip(some, scores, strict=True):
                yield key, self._message(window, score if abs(score) <= LARGEST else float("nan"))

    def _message(self, window: Window, score: float) -> OutMessage:
        late = self._is_late(window)
        self._counts["late" if late else "no_score" if score != score else "scored"].inc()  # noqa: PLR0124  (NaN)
        return self._outgoing(window, score)

    def _is_late(self, window: Window) -> bool:
        return self._live and time.time_ns() - window.end_ns > self._model.late_s * NS

    def _outgoing(self, window: Window, score: float) -> OutMessage:
        frame = score_frame(self._model, window, score, stored=self._is_late(window))
        return OutMessage(subject_of(frame), frame.SerializeToString(), self._ids.of(message_id(frame)))


def model(file: str, folder: str) -> Dataflow:
    """Builds the graph of the declaration in `file`; `<folder>/plan.json` says where it begins."""
    declared = read_model(Path(file).read_text())
    plan = msgspec.json.decode((Path(folder) / PLAN).read_bytes(), type=ModelPlan)
    settings = Settings()
    live = settings.streams.log_time == "server"
    scorer = ScorerProcess(declared, Path(file).parent)
    # Nobody is told of silence here, as in a replay; whoever sends too much is refused as by the flow.
    config = signals_config(settings, replay=True)
    graph = Dataflow(f"model_{declared.name}")
    messages = op.input("log", graph, _Source(settings, plan.first))
    items = op.filter_map_value(
        "passed", op.flat_map_batch("validate", messages, partial(validate, validator(settings))), as_items
    )
    if not declared.needs_waves:
        items = op.map_value("readings", items, Items.without_waves)
    signals = op.stateful_batch("signals", items, partial(signals_step, config))
    windows = op.stateful_batch("windows", signals, partial(_windows_step, declared, plan.since_ns))
    scores = op.flat_map_batch("score", windows, Asking(declared, scorer, MessageIds(settings.nats), live=live))
    stored = f"vp.*.*.*.{declared.device}.numeric"
    sink = JetStreamSink(settings.nats, settings.streams.vitals, subjects=[stored], writer=declared.device)
    op.output("scores", scores, sink)
    return graph
