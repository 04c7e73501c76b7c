"""Building valid frames of the wire contract: what replays, simulators, gateways, tests and benchmarks publish.

Pure functions and counters; publishing is the connectors' business. A frame that is built here passes the validator, as
long as its values and its time do.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import numpy.typing as npt

from dataflows.contracts import vitals_pb2 as pb

VERSION = 1
"""The contract's version, in every frame."""
INVALID_SAMPLE = -32768
"""A sample that says nothing."""
DEFAULT_TENANT = "main"
MODEL_PREFIX = "model-"
"""Of the device name under which a model of users speaks."""
LOG_TIME_HEADER = "Vitals-Log-Time"
"""Header (ns since 1970) that is log time in streams with `vitals.log_time=header`."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LARGEST_COUNT = 32767
_KEPT_TEXTS = 1024
"""What floods the rejects has few subjects and reasons: their texts are worked out once, not once for each message."""
_PS_PER_S = 1_000_000_000_000


FLOW_REJECTS = ("rejected.v1.*", "rejected.v1.*.*.flow")
"""What the flow alone may write in REJECTED (see `rejected_subject`)."""
BRIDGE_REJECTS = ("rejected.v1.*.*.bridge", "rejected.v1.*.*")
"""What bridges write there, and bridges of before did."""


def is_token(text: str) -> bool:
    """Whether a text may be the name of a tenant, patient or device: what the validator takes, too."""
    return _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True)
class Origin:
    """Who sends: the parts of a frame's identity that do not change while a device runs.

    Attributes:
        patient: Pseudonym of the patient.
        device: Name of the device.
        boot_id: Start counter of the device; grows with each start.
        tenant: Organisation.
    """

    patient: str
    device: str
    boot_id: int = 1
    tenant: str = DEFAULT_TENANT

    def __post_init__(self) -> None:
        for name in ("tenant", "patient", "device"):
            if not is_token(getattr(self, name)):
                message = f"{name} {getattr(self, name)!r} must be 1 to 64 of the characters A-Z a-z 0-9 _ -"
                raise ValueError(message)
        if self.tenant == "tick" or self.device == "control" or self.device.startswith(MODEL_PREFIX):
            message = f"{self.tenant}/{self.device} is reserved: no tenant `tick`, no device `control` or `model-*`"
            raise ValueError(message)

    def frame(
        self, signal: pb.Signal, seq: int, first_sample: int, device_ns: int, *, stored: bool = False
    ) -> pb.Frame:
        """Returns a frame without a body.

        Args:
            signal: What the body will hold.
            seq: Counter of frames of this boot and signal, from 0.
            first_sample: Index of the first sample or observation of this boot and signal, from 0.
            device_ns: Device clock of the first sample, ns since 1970, UTC.
            stored: Whether the device kept it and uploads it later.
        """
        return pb.Frame(
            version=VERSION,
            tenant=self.tenant,
            patient=self.patient,
            device=self.device,
            boot_id=self.boot_id,
            signal=signal,
            seq=seq,
            first_sample=first_sample,
            device_ns=device_ns,
            stored=stored,
        )


def signal_token(signal: pb.Signal) -> str:
    """Returns the signal's token in subjects, rows and messages: SIGNAL_ECG_II is `ecg_ii`."""
    return pb.Signal.Name(signal).removeprefix("SIGNAL_").lower()


def signal_of(token: str) -> pb.Signal:
    """Returns the signal of a token.

    Raises:
        ValueError: There is none of that name.
    """
    try:
        return _SIGNALS[token]
    except KeyError:
        message = f"no signal is called {token!r}; there are {', '.join(_SIGNALS)}"
        raise ValueError(message) from None


_SIGNALS = {signal_token(signal): signal for signal in cast("list[pb.Signal]", pb.Signal.values()) if signal}


def subject_of(frame: pb.Frame) -> str:
    """Returns the subject that a frame is published on."""
    tenant = frame.tenant or DEFAULT_TENANT
    if frame.WhichOneof("body") == "command":
        return f"vitals.v1.{tenant}.{frame.patient}.control.{frame.command.name}"
    return f"vitals.v1.{tenant}.{frame.patient}.{frame.device}.{signal_token(frame.signal)}"


def message_id(frame: pb.Frame, secret: str = "") -> str:
    """Returns the frame's identity as `Nats-Msg-Id`, so that the server drops a retransmission within its window.

    Args:
        frame: The frame.
        secret: What others cannot guess, the same for a retransmission: who uses the ids of a device's next frames
            before it does has the server drop those (docs/devices.md).
    """
    identity = _identity(frame)
    return f"{identity}/{secret}" if secret else identity


def _identity(frame: pb.Frame) -> str:
    tenant = frame.tenant or DEFAULT_TENANT
    if frame.WhichOneof("body") == "command":
        return f"{tenant}/{frame.patient}/control/{frame.command.name}/{frame.command.idempotency_key}"
    place = f"{tenant}/{frame.patient}/{frame.device}/{frame.boot_id}/{signal_token(frame.signal)}"
    return f"{place}/{frame.seq}"


@lru_cache(maxsize=_KEPT_TEXTS)
def rejected_subject(reason: str, subject: str, writer: str) -> str:
    """Returns where a message that was refused goes in REJECTED: `rejected.v1.<reason>.<tenant>.<writer>`.

    The organisation is that of the subject on which it came, which the server checked; what its payload says is not
    believed. Where that is no name there is no organisation, and it is the pipeline's alone.

    Args:
        reason: Why it was refused.
        subject: `vitals.v1.<tenant>...`, or as the log keeps it, `vp.<partition>.<tenant>...`.
        writer: Who refused it: `flow` or `bridge`.
    """
    tenant = ".".join(subject.split(".")[2:3])
    return f"rejected.v1.{reason}.{tenant}.{writer}" if is_token(tenant) else f"rejected.v1.{reason}"


@lru_cache(maxsize=_KEPT_TEXTS)
def header_text(text: str, most: int | None = None) -> str:
    """Returns a text as a header may have it: a line of ASCII. Anything else clients read as they like, or not at all.

    Args:
        text: Any text.
        most: Characters of it that are kept; None: all.
    """
    return " ".join(text.split())[:most].encode("ascii", "backslashreplace").decode()


def sample_time_ns(start_ns: int, index: int, fs_mhz: int) -> int:
    """Returns the device time of sample `index` at `fs_mhz` mHz, in ns; in integers, so that nothing drifts."""
    return start_ns + index * _PS_PER_S // fs_mhz


def end_ns(frame: pb.Frame) -> int:
    """Returns the device time (ns) at which the frame is complete: after its last sample or observation."""
    body = frame.WhichOneof("body")
    if body == "waveform":
        return sample_time_ns(frame.device_ns, len(frame.waveform.samples) // 2, frame.waveform.fs_mhz)
    if body == "observations":
        return frame.device_ns + max((item.offset_ms for item in frame.observations.items), default=0) * 1_000_000
    return frame.device_ns


def to_counts(physical: npt.NDArray[np.floating], lsb: float) -> npt.NDArray[np.int16]:
    """Converts physical values to counts of `lsb`; what is not finite or does not fit becomes an invalid sample.

    Args:
        physical: Values in the signal's unit, any shape.
        lsb: Physical units per count.

    Raises:
        ValueError: `lsb` is not a positive number.
    """
    if not (lsb > 0 and math.isfinite(lsb)):
        message = f"lsb must be a positive number, not {lsb}"
        raise ValueError(message)
    with np.errstate(invalid="ignore", over="ignore"):
        counts = np.rint(np.asarray(physical, dtype=np.float64) / lsb)
        fits = np.abs(counts) <= _LARGEST_COUNT  # false for NaN
    return np.where(fits, counts, INVALID_SAMPLE).astype(np.int16)


@dataclass
class WaveFramer:
    """Numbers the frames of one waveform signal of one boot.

    Attributes:
        origin: Who sends.
        signal: A waveform signal.
        fs_mhz: Sampling rate in mHz.
        lsb: Physical units per count.
        start_ns: Device clock of sample 0.
        seq: Number of the next frame.
        next_sample: Index of the next sample.
    """

    origin: Origin
    signal: pb.Signal
    fs_mhz: int
    lsb: float
    start_ns: int
    seq: int = 0
    next_sample: int = 0

    def frame(self, samples: npt.NDArray[np.int16], *, status: int = 0, stored: bool = False) -> pb.Frame:
        """Returns the next frame.

        Args:
            samples: One-dimensional counts, at least one; -32768 is an invalid sample.
            status: Bits of `Status`, for all samples.
            stored: Whether the device kept it and uploads it later.

        Raises:
            ValueError: There are no samples, or they are no one-dimensional int16 array.
        """
        if samples.dtype != np.int16 or samples.ndim != 1 or not samples.size:
            message = (
                f"samples must be a one-dimensional int16 array that is not empty, not {samples.dtype} {samples.shape}"
            )
            raise ValueError(message)
        device_ns = sample_time_ns(self.start_ns, self.next_sample, self.fs_mhz)
        frame = self.origin.frame(self.signal, self.seq, self.next_sample, device_ns, stored=stored)
        frame.waveform.fs_mhz = self.fs_mhz
        frame.waveform.lsb = self.lsb
        frame.waveform.samples = samples.astype("<i2", copy=False).tobytes()
        frame.waveform.status = status
        frame.waveform.duration_ms = max(1, round(samples.size * 1_000_000 / self.fs_mhz))
        self.skip(samples.size)
        return frame

    def skip(self, n_samples: int) -> None:
        """Counts a frame of `n_samples` that is never sent."""
        self.seq += 1
        self.next_sample += n_samples

    def cut(self, samples: npt.NDArray[np.int16], frame_s: float = 1.0) -> Iterable[pb.Frame]:
        """Yields the samples as frames of `frame_s` seconds; at odd rates some are a sample longer than others."""
        for start, stop in frame_bounds(samples.size, self.fs_mhz, frame_s):
            yield self.frame(samples[start:stop])


def frame_bounds(n_samples: int, fs_mhz: int, frame_s: float = 1.0) -> Iterable[tuple[int, int]]:
    """Yields (start, stop) of consecutive frames of about `frame_s` seconds that cover `n_samples` exactly."""
    start, number = 0, 1
    while start < n_samples:
        stop = min(max(start + 1, round(number * frame_s * fs_mhz / 1000)), n_samples)
        yield start, stop
        start, number = stop, number + 1


@dataclass(frozen=True)
class Reading:
    """One observation of a frame.

    Attributes:
        code: What it measures.
        value: In `unit`.
        unit: One of the code's units.
        quality_pct: 1 to 100; 0 when the device does not say.
        offset_ms: After the frame's device time.
        status: Bits of `Status`.
    """

    code: pb.Code
    value: float
    unit: pb.Unit
    quality_pct: int = 0
    offset_ms: int = 0
    status: int = 0


@dataclass
class NumericFramer:
    """Numbers the frames of readings of one boot.

    Attributes:
        origin: Who sends.
        averaging_s: Averaging time of the device's processing in s; 0 when unknown.
        seq: Number of the next frame.
        next_observation: Index of the next observation.
    """

    origin: Origin
    averaging_s: float = 0.0
    seq: int = 0
    next_observation: int = 0

    def frame(self, readings: Sequence[Reading], device_ns: int, *, stored: bool = False) -> pb.Frame:
        """Returns the next frame.

        Args:
            readings: At least one.
            device_ns: Device clock of the frame, ns since 1970, UTC.
            stored: Whether the device kept it and uploads it later.

        Raises:
            ValueError: There are no readings.
        """
        if not readings:
            message = "a frame of observations needs at least one"
            raise ValueError(message)
        frame = self.origin.frame(pb.SIGNAL_NUMERIC, self.seq, self.next_observation, device_ns, stored=stored)
        frame.averaging_s = self.averaging_s
        for reading in readings:
            frame.observations.items.add(
                code=reading.code,
                value=reading.value,
                unit=reading.unit,
                quality_pct=reading.quality_pct,
                offset_ms=reading.offset_ms,
                status=reading.status,
            )
        self.seq += 1
        self.next_observation += len(readings)
        return frame


def questionnaire_frame(
    origin: Origin,
    instrument: str,
    answers: Iterable[tuple[str, float]],
    *,
    seq: int,
    device_ns: int,
    instrument_version: str = "",
    mode: str = "app",
) -> pb.Frame:
    """Returns the answers to a questionnaire as a frame.

    Args:
        origin: Who sends.
        instrument: Name of the instrument, e.g. `pain_nrs`.
        answers: Item and value.
        seq: Counter of questionnaires of this boot, from 0.
        device_ns: When it was answered, ns since 1970, UTC.
        instrument_version: Version of the instrument.
        mode: `app`, `ivr` or `proxy`.
    """
    frame = origin.frame(pb.SIGNAL_QUESTIONNAIRE, seq, seq, device_ns)
    frame.questionnaire.instrument = instrument
    frame.questionnaire.instrument_version = instrument_version
    frame.questionnaire.mode = mode
    for item, value in answers:
        frame.questionnaire.answers.add(item=item, value=value)
    return frame


def command_frame(
    patient: str,
    name: str,
    *,
    actor: str,
    idempotency_key: str,
    argument_json: str = "",
    device_ns: int = 0,
    tenant: str = DEFAULT_TENANT,
) -> pb.Frame:
    """Returns a command of a person or program as a frame.

    Args:
        patient: Whom it concerns.
        name: Name of the command, the last token of its subject.
        actor: Who asks, 1 to 128 characters.
        idempotency_key: Repeated with the same key the command has no second effect; 1 to 128 characters.
        argument_json: Documented per command.
        device_ns: Clock of the sender, ns since 1970, UTC.
        tenant: Organisation.
    """
    command = pb.Command(name=name, actor=actor, idempotency_key=idempotency_key, argument_json=argument_json)
    return pb.Frame(
        version=VERSION, tenant=tenant, patient=patient, device="control", device_ns=device_ns, command=command
    )
