"""One patient, engine-free: the two steps in a row, as a file runner or a test drives them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dataflows._native import Items, Messages, Output, Reject, Signals, SignalsConfig, Validator
from dataflows.alerts.alert import Alert
from dataflows.alerts.finding import TableRow
from dataflows.alerts.rules import BUILTIN, RuleSet
from dataflows.monitor.judge import Judge, Verdict
from dataflows.monitor.rows import StoredRows
from dataflows.settings import Settings

Entry = tuple[bytes, int, int, bytes]
"""Stored subject, log_seq, log_ns, payload; a tick has an empty subject, a hole its beginning as payload, too."""


def signals_config(settings: Settings, rules: RuleSet = BUILTIN, *, replay: bool = False) -> SignalsConfig:
    """What outputs depend on beside the log: settings, and the profiles of the rule set.

    In a replay silence says nothing: a recording that ends is no silent device, and log time moves as it likes. So it
    is for files, and for a log whose time is the header `Vitals-Log-Time`.
    """
    flow = settings.flow
    listens = not replay and settings.streams.log_time == "server"
    return SignalsConfig(
        reorder_s=flow.reorder_s,
        silence_wave_s=flow.silence_wave_s if listens else 0.0,
        silence_reading_s=flow.silence_reading_s if listens else 0.0,
        frames_per_s=flow.device_frames_per_s,
        bytes_per_s=flow.device_bytes_per_s,
        burst_s=flow.device_burst_s,
        profiles={one.name: one.detectors for one in rules.profiles.values()},
    )


class Patient:
    """Validates, listens and judges for one patient; the same logic as the flow, without engine, broker or database."""

    def __init__(
        self, key: str, validator: Validator, config: SignalsConfig | None = None, rules: RuleSet = BUILTIN
    ) -> None:
        self.key = key
        self._validator = validator
        self._config = config or SignalsConfig()
        self._signals = Signals(self._config)
        self._rules = rules
        self._judge = Judge(rules)

    def on_messages(self, messages: Messages) -> tuple[Output, list[Verdict | StoredRows], list[Reject]]:
        """Takes raw messages in log order: rows, what the judge says and what was refused."""
        items, rejects = self._validator.check(self.key, messages)
        output, verdicts = self.on_items(items)
        return output, verdicts, rejects + output.rejects

    def on_items(self, items: Items) -> tuple[Output, list[Verdict | StoredRows]]:
        """Takes checked items in log order; what is stored of them is what the patient's choice of waveforms leaves."""
        output = self._signals.on_items(items)
        return self._judge.stored(output, self._judge.on_output(output))

    def snapshot(self) -> tuple[bytes, bytes]:
        """State of both steps."""
        return self._signals.snapshot(), self._judge.snapshot()

    def restore(self, snapshot: tuple[bytes, bytes]) -> None:
        """Puts both steps back to a snapshot."""
        self._signals = Signals.restore(snapshot[0], self._config)
        self._judge = Judge.restore(snapshot[1], self._rules)


@dataclass(frozen=True)
class Step:
    """What one list of messages of one patient led to."""

    key: str
    output: Output
    verdicts: list[Verdict | StoredRows]
    rejects: list[Reject]

    @property
    def alerts(self) -> list[Alert]:
        """Transitions of alerts."""
        return [one for one in self.verdicts if isinstance(one, Alert)]

    @property
    def records(self) -> list[TableRow]:
        """What else the judge puts on record."""
        return [one for one in self.verdicts if isinstance(one, TableRow)]


def run(
    entries: Iterable[Entry],
    validator: Validator,
    *,
    batch: int = 500,
    config: SignalsConfig | None = None,
    rules: RuleSet = BUILTIN,
) -> Iterator[Step]:
    """Runs a log through the monitors, `batch` entries at a time, grouped by patient as the source does.

    Args:
        entries: The log, in order; an entry with an empty subject is a tick for every patient seen so far.
        validator: The validator to ask.
        batch: How many entries are taken at once; the results do not depend on it.
        config: What else the results depend on.
        rules: What may alert.

    Yields:
        A step per patient and batch.
    """
    patients: dict[str, Patient] = {}
    lists: dict[str, list[Entry]] = {}
    count = 0
    for entry in entries:
        for key in [_key(entry[0])] if entry[0] else list(patients):
            if key not in patients:
                patients[key] = Patient(key, validator, config, rules)
            lists.setdefault(key, []).append(entry)
        count += 1
        if count % batch == 0:
            yield from _flush(patients, lists)
    yield from _flush(patients, lists)


def _flush(patients: dict[str, Patient], lists: dict[str, list[Entry]]) -> Iterator[Step]:
    for key, entries in lists.items():
        yield Step(key, *patients[key].on_messages(Messages.build(entries)))
    lists.clear()


def _key(subject: bytes) -> str:
    tenant, patient = subject.decode(errors="replace").split(".")[2:4]
    return f"{tenant}/{patient}"
