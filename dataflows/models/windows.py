"""A patient's windows: readings and derived values in, one window a step of log time out.

Windows end at whole multiples of the step. Before each event every window that is due is closed, so what a window holds
is a function of the log: the values of before its end that had come by then, of each signal the last in every
`sample_s`. Where a window has no value of any signal there is none. Readings that were uploaded later, are marked as
lead off or in motion, or come from a model, are left out.
"""

import math
import struct
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from dataflows._native import Command, Output, Reading
from dataflows.alerts.rules import PIPELINE_TENANT
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import MODEL_PREFIX
from dataflows.contracts.tables import TABLES
from dataflows.models.features import Series, Window
from dataflows.models.spec import Model

_VERSION = 1
_UNUSABLE = pb.STATUS_LEAD_OFF | pb.STATUS_MOTION
_DISCHARGE = "discharge"
_DERIVED = {name: place for place, (name, _) in enumerate(TABLES["derived"].columns)}
_CODE, _SCOPE, _VALUE, _LOG_NS = (_DERIVED[name] for name in ("code", "scope", "value", "log_ns"))
_TS = 0
_Slots = dict[int, float]
_Point = tuple[int, str, int, float]
"""Log time, code, event time, value; an empty code is the patient's discharge."""


class Windows:
    """The windows of one patient.

    Args:
        model: What it is given.
        since_ns: No window ends before this: the log was not read from its beginning.
    """

    def __init__(self, model: Model, since_ns: int = 0) -> None:
        self._model = model
        self._since_ns = since_ns
        self._slots: dict[str, _Slots] = {}
        self._next_ns: int | None = None

    def on_output(self, output: Output) -> list[Window]:
        """Takes what the step `signals` says of a list; log time has come to its end then."""
        if output.tenant == PIPELINE_TENANT:
            return list(self._beats(output.tenant, output.patient, output.log_ns))
        return self.on_points(output.tenant, output.patient, self._points(output), output.log_ns)

    def on_points(self, tenant: str, patient: str, points: Iterable[_Point], log_ns: int) -> list[Window]:
        """Takes values in log order, then log time."""
        closed: list[Window] = []
        for at_ns, code, ts_ns, value in points:
            closed += self._close(tenant, patient, at_ns)
            if not code:
                self._slots, self._next_ns = {}, None
                continue
            self._slots.setdefault(code, {})[ts_ns // self._model.sample_ns] = value
            if self._next_ns is None:
                self._next_ns = self._after(at_ns)
        closed += self._close(tenant, patient, log_ns)
        return closed

    def _beats(self, tenant: str, patient: str, log_ns: int) -> Iterator[Window]:
        """An empty window each step, where the model says that it lives: ticks bring log time there, too."""
        if self._next_ns is None:
            self._next_ns = self._after(log_ns)
        while self._next_ns <= log_ns:
            yield Window(tenant, patient, self._next_ns, {}, ready=False)
            self._next_ns += self._model.step_ns

    def _after(self, log_ns: int) -> int:
        """The first end of a window after a moment."""
        step_ns = self._model.step_ns
        return max(log_ns // step_ns + 1, -(-self._since_ns // step_ns)) * step_ns

    def _points(self, output: Output) -> list[_Point]:
        codes, points = self._model.codes, []
        for event in output.events if output.has_events else ():
            if isinstance(event, Reading):
                if event.code in codes and _usable(event):
                    points.append((event.log_ns, event.code, event.ts_ns, event.value))
            elif isinstance(event, Command) and event.name == _DISCHARGE:
                points.append((event.log_ns, "", 0, 0.0))
        if self._model.needs_waves and output.has_rows:
            points += self._derived(output)
            points.sort(key=lambda point: point[0])
        return points

    def _derived(self, output: Output) -> Iterator[_Point]:
        for table, rows in output.rows():
            for row in rows if table == "derived" else ():
                if row[_SCOPE] == "window" and row[_CODE] in self._model.codes and math.isfinite(row[_VALUE]):
                    yield row[_LOG_NS], row[_CODE], row[_TS], row[_VALUE]

    def _close(self, tenant: str, patient: str, log_ns: int) -> Iterator[Window]:
        while self._next_ns is not None and self._next_ns <= log_ns:
            end_ns = self._next_ns
            self._forget(end_ns)
            if not self._slots:
                # The next value sets the clock again: a patient who is away for days costs nothing.
                self._next_ns = None
                return
            self._next_ns = end_ns + self._model.step_ns
            window = self._window(tenant, patient, end_ns)
            if window.series:
                yield window

    def _forget(self, end_ns: int) -> None:
        oldest = (end_ns - self._model.window_ns) // self._model.sample_ns
        for code in list(self._slots):
            kept = {slot: value for slot, value in self._slots[code].items() if slot >= oldest}
            if kept:
                self._slots[code] = kept
            else:
                del self._slots[code]

    def _window(self, tenant: str, patient: str, end_ns: int) -> Window:
        sample_ns, found = self._model.sample_ns, {}
        end = end_ns // sample_ns
        for code, slots in self._slots.items():
            # A device's clock may run ahead of the log by a little: that value is the next window's.
            inside = sorted(slot for slot in slots if slot < end)
            if inside:
                time_s = (np.array(inside, dtype=np.float64) + 1 - end) * (sample_ns / 1e9)
                found[code] = Series(time_s, np.array([slots[slot] for slot in inside]))
        return Window(tenant, patient, end_ns, found, self._model.require <= found.keys())

    def snapshot(self) -> bytes:
        """Versioned bytes; at most 12 bytes a sample."""
        slots = {code: (list(slots), list(slots.values())) for code, slots in self._slots.items()}
        return struct.pack("<H", _VERSION) + msgspec.msgpack.encode((self._next_ns, slots))

    @classmethod
    def restore(cls, snapshot: bytes, model: Model, since_ns: int = 0) -> "Windows":
        """The windows of a snapshot.

        Raises:
            ValueError: It is damaged or of another version.
        """
        if len(snapshot) < 2 or struct.unpack_from("<H", snapshot)[0] != _VERSION:
            message = f"snapshot of the windows has another version than {_VERSION}"
            raise ValueError(message)
        windows = cls(model, since_ns)
        kind = tuple[int | None, dict[str, tuple[list[int], list[float]]]]
        try:
            windows._next_ns, slots = msgspec.msgpack.decode(snapshot[2:], type=kind)
        except msgspec.MsgspecError as error:
            message = f"snapshot of the windows is damaged: {error}"
            raise ValueError(message) from error
        windows._slots = {code: dict(zip(*pair, strict=True)) for code, pair in slots.items()}
        return windows


def _usable(reading: Reading) -> bool:
    from_a_device = not reading.device.startswith(MODEL_PREFIX)
    return from_a_device and not (reading.stored or reading.status & _UNUSABLE or math.isnan(reading.value))
