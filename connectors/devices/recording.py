"""A recording as the wire contract sees it: waves in counts, readings at times.

Reading one from files is in `wfdb_record` and `numerics`, publishing it in `replay`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Reading, signal_token


class RecordingError(Exception):
    """A recording cannot be read or replayed; the message says why and what to do."""


@dataclass(frozen=True)
class WaveTrack:
    """One waveform of a recording.

    Attributes:
        name: Its name in the recording.
        signal: Its signal in the contract.
        fs_mhz: Sampling rate in mHz.
        lsb: Physical units per count.
        counts: int16 samples, 1-D; -32768 is invalid.
    """

    name: str
    signal: pb.Signal
    fs_mhz: int
    lsb: float
    counts: npt.NDArray[np.int16]

    @property
    def duration_s(self) -> float:
        """Length in s."""
        return self.counts.size * 1000 / self.fs_mhz


@dataclass(frozen=True)
class NumericTrack:
    """The readings of a recording, in order of time.

    Attributes:
        times_s: Seconds from the recording's start.
        readings: Readings at each time; never an empty list.
    """

    times_s: tuple[float, ...]
    readings: tuple[tuple[Reading, ...], ...]

    @property
    def duration_s(self) -> float:
        """Time of the last reading in s."""
        return self.times_s[-1] if self.times_s else 0.0


@dataclass(frozen=True)
class Recording:
    """Everything of one patient that is replayed together.

    Attributes:
        name: Name of the record; also the patient's, unless another is given.
        waves: At most one per signal.
        numerics: Readings, if any.
        notes: What was changed or left out, in words.
    """

    name: str
    waves: tuple[WaveTrack, ...] = ()
    numerics: NumericTrack | None = None
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Length in s."""
        lengths = [track.duration_s for track in self.waves]
        if self.numerics is not None:
            lengths.append(self.numerics.duration_s)
        return max(lengths, default=0.0)

    def cut(self, seconds: float) -> "Recording":
        """Returns the first `seconds` of it."""
        waves = tuple(replace(wave, counts=wave.counts[: int(seconds * wave.fs_mhz / 1000)]) for wave in self.waves)
        numerics = self.numerics
        if numerics is not None:
            kept = sum(time_s < seconds for time_s in numerics.times_s)
            numerics = NumericTrack(numerics.times_s[:kept], numerics.readings[:kept])
        return replace(self, waves=tuple(wave for wave in waves if wave.counts.size), numerics=numerics)

    def describe(self) -> Iterator[str]:
        """Yields a line per track, for people."""
        for wave in self.waves:
            invalid = int(np.count_nonzero(wave.counts == np.iinfo(np.int16).min))
            lost = f", {invalid} invalid" if invalid else ""
            rate = f"{wave.fs_mhz / 1000:g} Hz"
            yield f"{wave.name} as {signal_token(wave.signal)}: {wave.counts.size} samples at {rate}{lost}"
        if self.numerics is not None:
            codes = {reading.code: None for readings in self.numerics.readings for reading in readings}
            names = ", ".join(pb.Code.Name(code).removeprefix("CODE_").lower() for code in codes)
            yield f"{names}: {len(self.numerics.times_s)} readings"
