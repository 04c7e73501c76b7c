"""The monitors as Bytewax steps: thin shells around engine-free logic."""

from collections.abc import Iterable

from bytewax.operators import StatefulBatchLogic
from prometheus_client import Counter

from dataflows._native import Items, Output, Signals, SignalsConfig
from dataflows.alerts.rules import RuleSet
from dataflows.monitor.judge import Judge, Verdict
from dataflows.monitor.rows import StoredRows
from dataflows.monitor.state import refusing

FRAMES = Counter("vitals_frames", "Frames by what became of them: stored, late, duplicate or rejected", ["result"])
RECEIVED = Counter("vitals_received", "Messages that the log handed over, ticks apart")
COMMANDS = Counter("vitals_commands", "Commands among them")
SAMPLES = Counter("vitals_samples", "Samples pushed into detectors")
_STORED, _LATE, _DUPLICATE, REJECTED = (FRAMES.labels(name) for name in ("stored", "late", "duplicate", "rejected"))


def count(output: Output) -> None:
    """Adds a list's balance to the counters."""
    _, stored, late, duplicate, rejected, samples = output.counts
    _STORED.inc(stored)
    if late or duplicate or rejected:
        _LATE.inc(late)
        _DUPLICATE.inc(duplicate)
        REJECTED.inc(rejected)
    SAMPLES.inc(samples)


class SignalsStep(StatefulBatchLogic[Items, Output, bytes]):
    """Step `signals`: one call into Rust per list of items."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals

    def on_batch(self, values: list[Items]) -> tuple[Iterable[Output], bool]:
        """Lists of one patient, in log order."""
        outputs = [self._signals.on_items(items) for items in values]
        for output in outputs:
            count(output)
        return outputs, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Versioned bytes, never a pickled class."""
        return self._signals.snapshot()


class JudgeStep(StatefulBatchLogic[Output, Verdict | StoredRows | Output, bytes]):
    """Step `judge`: findings in, alerts and records out, and what of the findings' own rows is stored."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def on_batch(self, values: list[Output]) -> tuple[Iterable[Verdict | StoredRows | Output], bool]:
        """Outputs of one patient, in log order."""
        out: list[Verdict | StoredRows | Output] = []
        for output in values:
            stored, verdicts = self._judge.stored(output, self._judge.on_output(output))
            out += verdicts
            if stored.has_rows:
                out.append(stored)
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Versioned bytes, never a pickled class."""
        return self._judge.snapshot()


def signals_step(config: SignalsConfig, resume: bytes | None) -> SignalsStep:
    """Builds the step for a patient, from a snapshot where there is one.

    Raises:
        StateRefusedError: The snapshot is damaged or of an unknown version.
    """
    if resume is None:
        return SignalsStep(Signals(config))
    with refusing("signals"):
        return SignalsStep(Signals.restore(resume, config))


def judge_step(rules: RuleSet, resume: bytes | None) -> JudgeStep:
    """Builds the step for a patient, from a snapshot where there is one.

    Raises:
        StateRefusedError: The snapshot is damaged or of an unknown version.
    """
    if resume is None:
        return JudgeStep(Judge(rules))
    with refusing("judge"):
        return JudgeStep(Judge.restore(resume, rules))
