"""From recordings to messages: frames of a second, in the order in which devices would send them."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter

from connectors.devices.recording import NumericTrack, Recording, RecordingError, WaveTrack
from dataflows._native import Messages, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import (
    NumericFramer,
    Origin,
    WaveFramer,
    end_ns,
    frame_bounds,
    message_id,
    subject_of,
)

ARRIVAL_NS = 20_000_000
"""From a frame's last sample to its place in the log, where the replay decides log time: a device's sending delay."""
FRAME_S = 1.0
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Publication:
    """One message of a replay.

    Attributes:
        log_ns: When it arrives, on the replay's time axis: log time in streams that take it from the header.
        subject: Where it is published.
        message_id: The frame's identity, for the server's dedupe window.
        payload: The frame.
    """

    log_ns: int
    subject: str
    message_id: str
    payload: bytes


@dataclass(frozen=True)
class PatientReplay:
    """A recording as one patient.

    Attributes:
        recording: What was recorded.
        origin: Who it is now.
        start_ns: Device time of the recording's start, ns since 1970, UTC.
    """

    recording: Recording
    origin: Origin
    start_ns: int

    @property
    def end_ns(self) -> int:
        """Device time of its end."""
        return self.start_ns + round(self.recording.duration_s * _NS_PER_S)

    def count(self) -> int:
        """Returns how many messages it is."""
        waves = sum(sum(1 for _ in frame_bounds(w.counts.size, w.fs_mhz, FRAME_S)) for w in self.recording.waves)
        return waves + len(self.recording.numerics.times_s if self.recording.numerics else ())

    def publications(self) -> Iterator[Publication]:
        """Yields its messages in the order of their arrival."""
        tracks = [self._wave(wave) for wave in self.recording.waves]
        if self.recording.numerics is not None:
            tracks.append(self._numerics(self.recording.numerics))
        return heapq.merge(*(map(_publication, track) for track in tracks), key=attrgetter("log_ns"))

    def _wave(self, wave: WaveTrack) -> Iterable[pb.Frame]:
        framer = WaveFramer(self.origin, wave.signal, wave.fs_mhz, wave.lsb, self.start_ns)
        return framer.cut(wave.counts, FRAME_S)

    def _numerics(self, numerics: NumericTrack) -> Iterator[pb.Frame]:
        framer = NumericFramer(self.origin)
        for time_s, readings in zip(numerics.times_s, numerics.readings, strict=True):
            yield framer.frame(readings, self.start_ns + round(time_s * _NS_PER_S))


def _publication(frame: pb.Frame) -> Publication:
    payload = frame.SerializeToString(deterministic=True)
    return Publication(end_ns(frame) + ARRIVAL_NS, subject_of(frame), message_id(frame), payload)


def merged(patients: Iterable[PatientReplay]) -> Iterator[Publication]:
    """Yields the messages of all patients in the order of their arrival."""
    return heapq.merge(*(patient.publications() for patient in patients), key=attrgetter("log_ns"))


def copies(replay: PatientReplay, count: int, stagger_s: float) -> list[PatientReplay]:
    """Returns `count` patients with the same recording, each starting `stagger_s` after the one before.

    Args:
        replay: The first of them; its patient's name gets a number when there are several.
        count: How many.
        stagger_s: Shift of the starts in s, so that the copies do not send at the same moments.
    """
    if count == 1:
        return [replay]
    origin, width = replay.origin, len(str(count))
    return [
        PatientReplay(
            replay.recording,
            Origin(f"{origin.patient}-{number + 1:0{width}}", origin.device, origin.boot_id, origin.tenant),
            replay.start_ns + round(number * stagger_s * _NS_PER_S),
        )
        for number in range(count)
    ]


def check(replay: PatientReplay) -> None:
    """Asks the pipeline's validator about the first frame of each track, so that a replay is refused before it begins.

    Raises:
        RecordingError: A frame would be rejected.
    """
    rules = Validator(max_ahead_s=1e9, keep_waves_h=1e6, keep_rows_h=1e6)
    seen: set[str] = set()
    for publication in replay.publications():
        if publication.subject in seen:
            if len(seen) == len(replay.recording.waves) + (replay.recording.numerics is not None):
                return
            continue
        seen.add(publication.subject)
        key = f"{replay.origin.tenant}/{replay.origin.patient}"
        entry = (publication.subject.encode(), 1, publication.log_ns, publication.payload)
        _, rejects = rules.check(key, Messages.build([entry]))
        for reject in rejects:
            signal = publication.subject.rpartition(".")[2]
            message = f"{replay.recording.name}: {signal} would be rejected as {reject.reason}: {reject.detail}"
            raise RecordingError(message)
