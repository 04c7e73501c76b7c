"""Which of a patient's waveforms are stored: all, those around alerts, or none. A command says so, with its author.

Detectors see every sample whatever is stored; this is about what the database and the lake keep. Around alerts, frames
are held until it is known whether an alert comes: they are part of the patient's state, so a restart loses none. Which
frames are kept is decided by frames, commands and alerts alone, each with its log time, not by how the log is cut.
"""

from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
import numpy as np

from dataflows.alerts.alert import Alert, Event
from dataflows.contracts.frames import INVALID_SAMPLE
from dataflows.contracts.tables import WAVEFORMS
from dataflows.monitor.rows import Row

Keep = Literal["all", "around_alerts", "none"]
MAX_AROUND_S = 120.0
SLACK_NS = 10_000_000_000
"""How much later than its frame a finding may be told: reordering, witnesses and the frame itself together."""
MOST_HELD = 2048
"""Frames that are held at once; beyond it the oldest go. Eight waves with a frame a second need a third of it."""
_SECOND_NS = 1_000_000_000
_NEWS = frozenset({Event.RAISED, Event.RECURRED, Event.WORSENED})
_NAMES = [name for name, _ in WAVEFORMS.columns]
_LOG, _SAMPLES, _LSB, _FS = (_NAMES.index(name) for name in ("log_ns", "samples", "lsb", "fs_hz"))
_WHO = _NAMES.index("patient") + 1
Around = Annotated[float, msgspec.Meta(ge=0, le=MAX_AROUND_S)]


class KeepWaveforms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Argument of the command `waveforms`; the seconds count where frames around alerts are kept."""

    keep: Keep
    before_s: Around = 30.0
    after_s: Around = 30.0


class Choice(msgspec.Struct, frozen=True, array_like=True):
    """What holds for frames whose log time is after `since_ns`."""

    since_ns: int
    keep: Keep = "all"
    before_ns: int = 0
    after_ns: int = 0


class Told(msgspec.Struct, frozen=True, array_like=True):
    """An alert was raised: event time of the deciding sample, log time of the decision."""

    sample_ns: int
    log_ns: int


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A frame that may have to be stored: its row without samples, counts, event times, and what held for it."""

    ts: int
    end_ns: int
    log_ns: int
    before_ns: int
    after_ns: int
    row: tuple[str | int | float | bool | None, ...]
    counts: bytes

    def near(self, told: Told) -> bool:
        """Whether the frame is one of those around an alert."""
        seen = self.end_ns >= told.sample_ns - self.before_ns and self.ts <= told.sample_ns + self.after_ns
        before = told.log_ns - self.log_ns <= self.before_ns + SLACK_NS
        return seen and before and self.log_ns - told.log_ns <= self.after_ns + SLACK_NS


class Waveforms(msgspec.Struct, array_like=True):
    """What holds for a patient, and the frames that wait."""

    choices: list[Choice] = []
    told: list[Told] = []
    held: list[Held] = []

    @property
    def idle(self) -> bool:
        """Whether everything is stored, as where nobody said anything."""
        return not self.choices

    def choose(self, wanted: KeepWaveforms, log_ns: int) -> None:
        """Takes a command."""
        before_ns, after_ns = round(wanted.before_s * _SECOND_NS), round(wanted.after_s * _SECOND_NS)
        self.choices.append(Choice(log_ns, wanted.keep, before_ns, after_ns))

    def at(self, log_ns: int) -> Choice:
        """What holds for a frame of this log time."""
        return next((one for one in reversed(self.choices) if one.since_ns < log_ns), Choice(0))

    def kept(self, who: tuple[str, str], rows: Iterable[Row], alerts: Iterable[Alert], log_ns: int) -> list[Row]:
        """Returns the rows that are to be stored, of these and of those that were held.

        Args:
            who: Tenant and patient.
            rows: Rows of `waveforms` in the order of arrival.
            alerts: What was told at the same time.
            log_ns: Log time up to which everything was judged.
        """
        self.told += [Told(one.sample_ns, one.log_ns) for one in alerts if one.event in _NEWS]
        out: list[Row] = []
        for row in rows:
            choice = self.at(row[_LOG])
            if choice.keep == "all":
                out.append(row)
            elif choice.keep == "around_alerts":
                self.held.append(_hold(row, choice))
        waiting = []
        for frame in self.held:
            if any(frame.near(told) for told in self.told):
                out.append(_row(frame, *who))
            elif log_ns - frame.log_ns <= frame.before_ns + SLACK_NS:
                waiting.append(frame)
        self.held = waiting[-MOST_HELD:]
        longest_ns = round(MAX_AROUND_S * _SECOND_NS) + SLACK_NS
        self.told = [told for told in self.told if log_ns - told.log_ns <= longest_ns]
        self._forget(log_ns)
        return out

    def _forget(self, log_ns: int) -> None:
        """Drops choices that no frame can fall under any more; none at all is as if nobody had said anything."""
        while len(self.choices) > 1 and self.choices[1].since_ns < log_ns:
            del self.choices[0]
        if not self.held and [one.keep for one in self.choices] == ["all"] and self.choices[0].since_ns < log_ns:
            self.choices.clear()
            self.told.clear()


def _hold(row: Row, choice: Choice) -> Held:
    samples = np.asarray(row[_SAMPLES], np.float64)
    counts = np.where(np.isnan(samples), INVALID_SAMPLE, np.rint(samples / row[_LSB])).astype("<i2")
    end_ns = row[0] + round(samples.size / row[_FS] * _SECOND_NS)
    rest = (*row[_WHO:_SAMPLES], *row[_SAMPLES + 1 :])
    return Held(row[0], end_ns, row[_LOG], choice.before_ns, choice.after_ns, rest, counts.tobytes())


def _row(frame: Held, tenant: str, patient: str) -> Row:
    counts = np.frombuffer(frame.counts, "<i2")
    at = _SAMPLES - _WHO
    samples = np.where(counts == INVALID_SAMPLE, np.nan, counts * float(frame.row[_LSB - _WHO]))  # type: ignore[arg-type]
    return (frame.ts, tenant, patient, *frame.row[:at], samples, *frame.row[at:])
