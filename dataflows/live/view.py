"""One patient as a screen shows it: strips, R-peak marks and the latest numbers, from the live frames.

A second look beside the flow, by the same code (`Validator`, `Signals`), so that a strip needs no database and no
detour: what the flow would reject is not shown, values are in canonical units, marks are the flow's detector's. It
starts with the first frame that it sees, so it is no record: the record is what the flow writes.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from dataflows._native import Messages, Reject, Signals, SignalsConfig, Validator
from dataflows.contracts.frames import INVALID_SAMPLE
from dataflows.contracts.tables import TABLES, Table

KEPT_FRAMES = 16
"""Frames of each wave that are kept, so that a strip that is opened is full at once."""
_RATE_BEATS = 8
_RATE_MAX_AGE_NS = 15_000_000_000


def _column(table: Table, name: str) -> int:
    return [column for column, _ in table.columns].index(name)


_WAVE = {name: _column(TABLES["waveforms"], name) for name, _ in TABLES["waveforms"].columns}
_OBSERVATION = {name: _column(TABLES["observations"], name) for name, _ in TABLES["observations"].columns}
_BEAT = {name: _column(TABLES["beats"], name) for name, _ in TABLES["beats"].columns}


@dataclass(frozen=True)
class Strip:
    """One frame of a wave. `counts` are int16 of `lsb` physical units; -32768 is an invalid sample."""

    device: str
    boot: int
    signal: str
    seq: int
    ts_ns: int
    fs_hz: float
    lsb: float
    status: int
    first_sample: int
    counts: npt.NDArray[np.int16]


@dataclass(frozen=True)
class Mark:
    """An R peak: which lead, when, and how long after the one before (None for the first)."""

    device: str
    signal: str
    ts_ns: int
    rr_ms: float | None
    label: str | None


@dataclass(frozen=True)
class Shown:
    """What a message added to the picture."""

    strips: list[Strip] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    readings: int = 0
    rejects: list[Reject] = field(default_factory=list)


class PatientView:
    """The picture of one patient.

    Args:
        tenant: Organisation.
        patient: Pseudonym.
        validator: Shared by the views of a process.
        config: As the flow's.
    """

    def __init__(self, tenant: str, patient: str, validator: Validator, config: SignalsConfig) -> None:
        self.tenant, self.patient = tenant, patient
        self.seen_ns = 0
        """When the last valid frame arrived, by the clock of whoever calls."""
        self._key = f"{tenant}/{patient}"
        self._validator = validator
        self._signals = Signals(config)
        self._values: dict[str, dict[str, Any]] = {}
        self._waves: dict[tuple[str, str], deque[Strip]] = {}
        self._beats: dict[tuple[str, str], deque[Mark]] = {}

    def push(self, subject: str, payload: bytes, log_seq: int, log_ns: int) -> Shown:
        """Takes a message of the patient, in the order of arrival.

        Args:
            subject: `vitals.v1.<tenant>.<patient>.<device>.<signal>`.
            payload: A frame.
            log_seq: Grows by one with each message.
            log_ns: When it arrived, ns since 1970.
        """
        stored = "vp.0." + subject.removeprefix("vitals.v1.")
        return self._take((stored.encode(), log_seq, log_ns, payload))

    def tick(self, log_seq: int, log_ns: int) -> Shown:
        """Lets time pass: a frame that waited for a missing one is shown now."""
        return self._take((b"", log_seq, log_ns, b""))

    def recent(self) -> Iterable[Strip]:
        """Yields the last frames of every wave, oldest first."""
        for strips in self._waves.values():
            yield from strips

    def recent_marks(self) -> Iterable[Mark]:
        """Yields the last R peaks of every lead."""
        for marks in self._beats.values():
            yield from marks

    def tile(self) -> dict[str, Any]:
        """Returns the numbers of a census tile: JSON values, times in ns since 1970.

        `hr` comes from the device's own readings where it sends them, else from the R peaks of the lead that had one
        last: 60,000 over the mean of the last eight intervals.
        """
        values = {code: dict(value) for code, value in self._values.items()}
        rate = self._rate()
        if rate is not None and values.get("hr", {}).get("ts_ns", 0) < rate["ts_ns"] - _RATE_MAX_AGE_NS:
            values["hr"] = rate
        waves = [
            {"device": device, "signal": signal, "fs_hz": strips[-1].fs_hz, "status": strips[-1].status}
            for (device, signal), strips in self._waves.items()
        ]
        return {
            "tenant": self.tenant,
            "patient": self.patient,
            "seen_ns": self.seen_ns,
            "values": values,
            "waves": waves,
        }

    def _take(self, entry: tuple[bytes, int, int, bytes]) -> Shown:
        items, rejects = self._validator.check(self._key, Messages.build([entry]))
        output = self._signals.on_items(items)
        shown = Shown(rejects=rejects + output.rejects)
        if entry[0] and output.has_rows:
            self.seen_ns = max(self.seen_ns, entry[2])
        readings = 0
        for table, rows in output.rows():
            if table == "waveforms":
                shown.strips.extend(map(self._strip, rows))
            elif table == "beats":
                shown.marks.extend(map(self._mark, rows))
            elif table == "observations":
                readings += len(rows)
                for row in rows:
                    self._reading(row)
        return Shown(shown.strips, shown.marks, readings, shown.rejects)

    def _strip(self, row: tuple[Any, ...]) -> Strip:
        lsb = row[_WAVE["lsb"]]
        with np.errstate(invalid="ignore"):
            counts = np.rint(np.asarray(row[_WAVE["samples"]]) / lsb)
        counts = np.where(np.isfinite(counts), counts, INVALID_SAMPLE).astype("<i2")
        named = {name: row[_WAVE[name]] for name in ("device", "boot", "signal", "seq", "fs_hz", "lsb", "status")}
        strip = Strip(**named, ts_ns=row[0], first_sample=row[_WAVE["first_sample"]], counts=counts)
        self._waves.setdefault((strip.device, strip.signal), deque(maxlen=KEPT_FRAMES)).append(strip)
        return strip

    def _mark(self, row: tuple[Any, ...]) -> Mark:
        mark = Mark(row[_BEAT["device"]], row[_BEAT["signal"]], row[0], row[_BEAT["rr_ms"]], row[_BEAT["label"]])
        self._beats.setdefault((mark.device, mark.signal), deque(maxlen=2 * KEPT_FRAMES)).append(mark)
        return mark

    def _reading(self, row: tuple[Any, ...]) -> None:
        code, value = row[_OBSERVATION["code"]], row[_OBSERVATION["value"]]
        before = self._values.get(code)
        if value is None or row[_OBSERVATION["suspect"]] or (before is not None and before["ts_ns"] > row[0]):
            return
        self._values[code] = {
            "value": value,
            "ts_ns": row[0],
            "source": row[_OBSERVATION["device"]],
            **{name: row[_OBSERVATION[name]] for name in ("unit", "quality_pct", "status")},
        }

    def _rate(self) -> dict[str, Any] | None:
        """Heart rate by the lead whose last beat is the newest."""
        lead = max(self._beats.items(), key=lambda item: item[1][-1].ts_ns, default=None)
        if lead is None:
            return None
        (device, signal), marks = lead
        intervals = [mark.rr_ms for mark in list(marks)[-_RATE_BEATS:] if mark.rr_ms]
        if not intervals:
            return None
        value = 60_000 * len(intervals) / sum(intervals)
        source = f"{device}/{signal}"
        return {"value": value, "ts_ns": marks[-1].ts_ns, "unit": "/min", "source": source, "status": 0}
