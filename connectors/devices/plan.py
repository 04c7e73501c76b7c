"""What to replay, as whom and when: a pure description that becomes patients once the log is known."""

from dataclasses import dataclass

from connectors.devices.recording import Recording, RecordingError
from connectors.devices.replay import PatientReplay, copies
from dataflows.contracts.frames import DEFAULT_TENANT, Origin

CLOSING_TICK_S = 9
"""Log time that passes after the last frame of a replay, so that what waits for a missing frame is decided; less than
the 10 s after which a signal counts as silent: the end of a recording is no silence."""
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True)
class Log:
    """What a replay has to know of the log of record.

    Attributes:
        header_time: Whether log time is the header's, not the server's.
        partitions: Number of partitions.
        last_ns: Log time so far; 0 for an empty log, or where it is the server's.
    """

    header_time: bool
    partitions: int
    last_ns: int


@dataclass(frozen=True)
class Plan:
    """What to replay, and as whom.

    Attributes:
        recordings: One patient each.
        patient: Name of the patient, where there is one recording and the record's name is not wanted.
        tenant: Organisation.
        device: Name of the device.
        boot: Start counter of the device; None takes the start's seconds since 1970, which grows from replay to replay.
        patients: Copies of each recording.
        stagger_s: Shift between the starts of copies.
        speed: 1 is real time; 0 is as fast as the server takes it.
        start_ns: Device time of the first start; None lets the replay end now, or begin now in real time.
    """

    recordings: list[Recording]
    patient: str | None = None
    tenant: str = DEFAULT_TENANT
    device: str = "replay"
    boot: int | None = None
    patients: int = 1
    stagger_s: float = 0.137
    speed: float = 50.0
    start_ns: int | None = None

    def __post_init__(self) -> None:
        self._origins(0)

    def _origins(self, boot: int) -> list[Origin]:
        """The first patient of each recording.

        Raises:
            RecordingError: A name that no subject may hold.
        """
        try:
            return [
                Origin(self.patient or recording.name, self.device, boot, self.tenant) for recording in self.recordings
            ]
        except ValueError as error:
            raise RecordingError(str(error)) from error

    def replays(self, log: Log, now_ns: int) -> list[PatientReplay]:
        """Returns the patients, in time and named."""
        longest_s = max(recording.duration_s for recording in self.recordings) + self.patients * self.stagger_s
        start_ns = self.start_ns
        if start_ns is None:
            start_ns = now_ns if self.speed == 1 else now_ns - round(longest_s * _NS_PER_S)
            # Log time never goes back: a second replay into the same log continues after the first.
            start_ns = max(start_ns, log.last_ns + _NS_PER_S)
        boot = start_ns // _NS_PER_S if self.boot is None else self.boot
        pairs = zip(self.recordings, self._origins(boot), strict=True)
        first = [PatientReplay(recording, origin, start_ns) for recording, origin in pairs]
        return [copy for replay in first for copy in copies(replay, self.patients, self.stagger_s)]
