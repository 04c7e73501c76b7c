from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "AfDetector",
    "Answers",
    "BankOutput",
    "Command",
    "Desaturation",
    "DesaturationDetector",
    "Detection",
    "FencedError",
    "Hrv",
    "Items",
    "JetStreamError",
    "LeadOutput",
    "LostRangeError",
    "Messages",
    "NatsOptions",
    "Output",
    "PublishError",
    "Publisher",
    "Puller",
    "PulseDetector",
    "QrsBank",
    "QrsDetector",
    "Reading",
    "Reject",
    "Respiration",
    "RhythmEvent",
    "RhythmMonitor",
    "Signals",
    "SignalsConfig",
    "SpO2Alarm",
    "SpO2Bank",
    "SpO2Indices",
    "SpO2Limits",
    "SpO2Series",
    "Validator",
    "VfDetector",
    "check_threshold",
    "detector_limits",
    "detector_rules",
    "partition_of",
    "rejection_reasons",
    "tick_token",
]

_Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32] | npt.NDArray[np.float64]

@final
class LeadOutput:
    """Beats and quality seconds of one push, each field one array.

    Attributes:
        sample: R peaks, counted from the stream's first sample.
        confidence: How sure the detector is of each beat, 0 to 1.
        label: 0 normal, 1 ventricular, 2 paced, 3 unclassifiable.
        late: Emitted later than the look-ahead of 300 ms; only for beats of the first two seconds.
        quality_sample: First sample of each finished second.
        quality: How usable each second was, 0 to 1.
        reasons: Why quality is reduced, as bits: 1 flat, 2 saturated, 4 lead-off, 8 noisy, 16 gap.
    """

    @property
    def sample(self) -> npt.NDArray[np.int64]: ...
    @property
    def confidence(self) -> npt.NDArray[np.float32]: ...
    @property
    def label(self) -> npt.NDArray[np.uint8]: ...
    @property
    def late(self) -> npt.NDArray[np.bool_]: ...
    @property
    def quality_sample(self) -> npt.NDArray[np.int64]: ...
    @property
    def quality(self) -> npt.NDArray[np.float32]: ...
    @property
    def reasons(self) -> npt.NDArray[np.uint8]: ...

@final
class BankOutput:
    """As `LeadOutput`, with the lead beside each beat and second; leads in ascending order.

    Attributes:
        lead: Lead of each beat.
        sample: R peaks, counted from the first sample of that lead.
        confidence: How sure the detector is of each beat, 0 to 1.
        label: 0 normal, 1 ventricular, 2 paced, 3 unclassifiable.
        late: Emitted later than the look-ahead.
        quality_lead: Lead of each finished second.
        quality_sample: First sample of each finished second.
        quality: How usable each second was, 0 to 1.
        reasons: Why quality is reduced, as bits.
    """

    @property
    def lead(self) -> npt.NDArray[np.int64]: ...
    @property
    def sample(self) -> npt.NDArray[np.int64]: ...
    @property
    def confidence(self) -> npt.NDArray[np.float32]: ...
    @property
    def label(self) -> npt.NDArray[np.uint8]: ...
    @property
    def late(self) -> npt.NDArray[np.bool_]: ...
    @property
    def quality_lead(self) -> npt.NDArray[np.int64]: ...
    @property
    def quality_sample(self) -> npt.NDArray[np.int64]: ...
    @property
    def quality(self) -> npt.NDArray[np.float32]: ...
    @property
    def reasons(self) -> npt.NDArray[np.uint8]: ...

@final
class QrsBank:
    """R-peak detectors of many leads with one sampling rate, pushed in one call without the interpreter lock.

    Args:
        fs_hz: Samples per second, 100 to 1000.
        count: Leads.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float, count: int) -> QrsBank: ...
    def __len__(self) -> int: ...
    def push(self, samples: npt.NDArray[np.int16], offsets: npt.NDArray[np.int64]) -> BankOutput:
        """Pushes `samples[offsets[i]:offsets[i + 1]]` to lead i.

        Args:
            samples: Chunks of all leads one behind the other; -32768 is invalid.
            offsets: Where each lead's chunk begins, and the end of the last.

        Raises:
            TypeError: The arrays are of other kinds.
            ValueError: Not contiguous, or the offsets do not fit.
        """
    def flush(self) -> BankOutput:
        """Ends every stream."""
    def snapshot(self, lead: int) -> bytes:
        """State of one lead, as `QrsDetector.snapshot` gives it.

        Raises:
            IndexError: There is no such lead.
        """
    def restore(self, lead: int, snapshot: bytes) -> None:
        """Puts one lead into the state of a snapshot.

        Raises:
            IndexError: There is no such lead.
            ValueError: The bytes are damaged, or of another rate.
        """

@final
class QrsDetector:
    """Streaming R-peak detector of one ECG lead.

    A beat is emitted at most 300 ms after its R peak, those of the first two seconds excepted. Gain, offset and
    polarity do not matter. However a stream is cut into pushes, the same beats come out.

    Args:
        fs_hz: Samples per second, 100 to 1000.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float) -> QrsDetector: ...
    @property
    def fs_hz(self) -> float: ...
    @property
    def samples(self) -> int:
        """Samples pushed so far, gaps included."""
    @property
    def certain_until(self) -> int:
        """Every beat before this sample has been emitted."""
    def push(self, samples: _Samples) -> npt.NDArray[np.int64]:
        """Pushes samples and returns the R peaks that became certain.

        Args:
            samples: One-dimensional native int16 (-32768 is invalid), float32 or float64 (NaN, infinity and values
                beyond 1e12 are invalid), any length.

        Returns:
            Indices counted from the stream's first sample.

        Raises:
            TypeError: Not a NumPy array of those kinds.
            ValueError: Not one-dimensional.
        """
    def push_full(self, samples: _Samples) -> LeadOutput:
        """Pushes samples and returns beats with confidence and label, and finished quality seconds."""
    def flush(self) -> npt.NDArray[np.int64]:
        """Ends the stream and returns what was pending; a later push continues as after a gap of no length."""
    def flush_full(self) -> LeadOutput:
        """As `flush`, with everything."""
    def gap(self, n_samples: int) -> npt.NDArray[np.int64]:
        """Tells that `n_samples` were lost and returns the R peaks that became certain by that.

        Raises:
            ValueError: The count is negative.
        """
    def gap_full(self, n_samples: int) -> LeadOutput:
        """As `gap`, with everything."""
    def snapshot(self) -> bytes:
        """State as versioned bytes, at most 4096."""
    @staticmethod
    def restore(snapshot: bytes) -> QrsDetector:
        """The detector that wrote these bytes.

        Raises:
            ValueError: The bytes are damaged or of another kind or version.
        """

@final
class Desaturation:
    """A fall of SpO2. Times are seconds from the series' first sample, missing samples included.

    `onset_s <= nadir_s <= end_s <= decided_s`. Events compare equal when every field is equal.

    Attributes:
        kind: `provisional`: deep and long enough already; exactly one scored event of the same onset follows.
            Scored are `final`: recovered; `sustained`: not 180 s after its onset, or at the end of the series;
            `truncated`: cut off by a gap of more than 30 s, or by a step that no body makes.
        onset_s: Last sample on the level before the fall.
        nadir_s: First sample at the lowest reading.
        end_s: Where it had recovered by the hysteresis, or the last sample seen.
        decided_s: The sample that made it certain.
        baseline: SpO2 before the fall, %.
        nadir: Lowest SpO2, %.
        drop: Their difference in points, at least the detector's threshold.
        area_pct_s: Area between baseline and readings from onset to end, points times seconds.
    """

    @property
    def kind(self) -> str: ...
    @property
    def onset_s(self) -> float: ...
    @property
    def nadir_s(self) -> float: ...
    @property
    def end_s(self) -> float: ...
    @property
    def decided_s(self) -> float: ...
    @property
    def baseline(self) -> float: ...
    @property
    def nadir(self) -> float: ...
    @property
    def drop(self) -> float: ...
    @property
    def area_pct_s(self) -> float: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class DesaturationDetector:
    """Streaming detector of desaturations in one SpO2 series.

    NaN, infinity and whatever lies outside 50 to 100 % (0, 127, 255) is no reading. float32 and float64 give the same
    events, and so does any way of cutting the series into pushes.

    Args:
        fs_hz: Samples per second, 0.1 to 10.
        drop: Least depth of an event in points, 0.5 to 50; 3 for ODI3, 4 for ODI4.
        profile: Rules it scores by: `standard` or `sensitive` (docs/benchmarks/oximetry.md).

    Raises:
        ValueError: The rate or depth is outside its range, or there is no such profile.
    """

    def __new__(cls, fs_hz: float = 1.0, drop: float = 3.0, *, profile: str = "standard") -> DesaturationDetector: ...
    @property
    def fs_hz(self) -> float: ...
    @property
    def drop(self) -> float: ...
    @property
    def profile(self) -> str: ...
    @property
    def samples(self) -> int:
        """Samples pushed so far, missing ones included."""
    def push(self, values: npt.ArrayLike) -> list[Desaturation]:
        """Pushes readings and returns the events that became certain, at most 240 s after their end.

        Args:
            values: SpO2 in %, one-dimensional, any length; NaN where there is no reading.

        Raises:
            TypeError: Not real numbers; nothing was pushed.
            ValueError: Not one-dimensional; nothing was pushed.
        """
    def flush(self) -> list[Desaturation]:
        """Ends the series and returns what is still down; a later push begins anew on the same time axis."""
    def snapshot(self) -> bytes:
        """State as versioned bytes, at most 2048."""
    @classmethod
    def restore(cls, snapshot: bytes) -> DesaturationDetector:
        """The detector that wrote these bytes.

        Raises:
            ValueError: The bytes are damaged or of another kind or version.
        """

@final
class SpO2Limits:
    """What a patient's SpO2 is watched for. None switches a rule off.

    Args:
        low: Limit in % and delay in s of `spo2_below_90`, medium priority.
        very_low: The same of `spo2_below_85`, high priority.
        rapid_drop_pct: `spo2_rapid_desaturation`, high priority: two readings so many points below `low` alarm at once.
        sat_seconds: Limit in % and setting in points times seconds of `spo2_sat_seconds`.
        sat_seconds_plus_one: Count a second by its distance to the point above the limit (GE) and not to the limit
            (Nellcor).
        sat_seconds_repeats: Three falls below the limit within 60 s alarm regardless of their depth.
        above_target: Limit and delay of `spo2_above_target`, for patients who retain carbon dioxide.
        clear_margin_pct: An alarm clears when readings are this many points inside the limit ...
        clear_s: ... for so long.
        data_update_s: `spo2_no_data`, technical, is raised when no reading has come for longer; what a device sends in
            place of a reading (0, 127, 255) raises it at once.

    Raises:
        ValueError: A number could never be met, or never be undone.
    """

    def __new__(
        cls,
        *,
        low: tuple[float, float] | None = (90.0, 30.0),
        very_low: tuple[float, float] | None = (85.0, 10.0),
        rapid_drop_pct: float | None = 10.0,
        sat_seconds: tuple[float, float] | None = (90.0, 50.0),
        sat_seconds_plus_one: bool = False,
        sat_seconds_repeats: bool = True,
        above_target: tuple[float, float] | None = None,
        clear_margin_pct: float = 2.0,
        clear_s: float = 15.0,
        data_update_s: float = 30.0,
    ) -> SpO2Limits: ...
    @classmethod
    def copd(cls) -> SpO2Limits:
        """For a target range of 88 to 92 %, on a clinician's decision."""
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class SpO2Alarm:
    """An alarm began or ended. Times are seconds from the series' first sample.

    Attributes:
        rule: `spo2_below_90`, `spo2_below_85`, `spo2_rapid_desaturation`, `spo2_sat_seconds`, `spo2_above_target` or
            `spo2_no_data`: named after the default limits, `limit` is the patient's.
        raised: Began (True) or ended.
        onset_s: First sample of the condition; the same in both events of an alarm.
        decided_s: The sample that decided.
        evidence_first_s: First sample of the evidence: of the condition, or of the readings that ended it.
        value: The deciding reading in %; points times seconds for `spo2_sat_seconds`, seconds for `spo2_no_data`.
        limit: What it was compared with, in the same unit.
    """

    @property
    def rule(self) -> str: ...
    @property
    def raised(self) -> bool: ...
    @property
    def onset_s(self) -> float: ...
    @property
    def decided_s(self) -> float: ...
    @property
    def evidence_first_s(self) -> float: ...
    @property
    def value(self) -> float: ...
    @property
    def limit(self) -> float: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class SpO2Indices:
    """Indices of a stretch of SpO2, all per valid time; ratios are NaN where there was no reading.

    Attributes:
        valid_h: Hours covered by readings; one covers up to 5 s back to the reading before.
        events3: Scored falls by 3 points; `events4`: by 4.
        odi3: `events3` per valid hour; `odi4` alike.
        t90_pct: Part of the valid time below 90 %, in %; `t88_pct` and `t85_pct` alike.
        burden_pct_min_per_h: Hypoxic burden: area between baseline and readings of scored falls by 3 points and of
            their recovery.
        mean_pct: Mean reading.
        lowest_pct: Lowest reading.
        comparable: Whether the device averages over at most 3 s, as published indices presume; None: not known.
    """

    @property
    def valid_h(self) -> float: ...
    @property
    def events3(self) -> int: ...
    @property
    def events4(self) -> int: ...
    @property
    def odi3(self) -> float: ...
    @property
    def odi4(self) -> float: ...
    @property
    def t90_pct(self) -> float: ...
    @property
    def t88_pct(self) -> float: ...
    @property
    def t85_pct(self) -> float: ...
    @property
    def burden_pct_min_per_h(self) -> float: ...
    @property
    def mean_pct(self) -> float: ...
    @property
    def lowest_pct(self) -> float: ...
    @property
    def comparable(self) -> bool | None: ...

@final
class SpO2Series:
    """Desaturations, alarms and indices of one SpO2 series, streaming.

    Args:
        fs_hz: Samples per second, 0.1 to 10.
        profile: Rules that desaturations are scored by.
        limits: What is watched for; the defaults of `SpO2Limits` if absent.
        averaging_s: Averaging of the device, for `SpO2Indices.comparable`.

    Raises:
        ValueError: The rate is outside its range, or there is no such profile.
    """

    def __new__(
        cls,
        fs_hz: float = 1.0,
        *,
        profile: str = "standard",
        limits: SpO2Limits | None = None,
        averaging_s: float | None = None,
    ) -> SpO2Series: ...
    @property
    def fs_hz(self) -> float: ...
    @property
    def samples(self) -> int:
        """Samples pushed so far, missing ones included."""
    def push(self, values: npt.ArrayLike) -> tuple[list[Desaturation], list[SpO2Alarm]]:
        """As `DesaturationDetector.push`: falls by 3 points, and alarms that began or ended."""
    def flush(self) -> tuple[list[Desaturation], list[SpO2Alarm]]:
        """Ends the series. Falls that last are reported; alarms that are raised stay so."""
    def night(self) -> SpO2Indices:
        """Indices since the series or its last night began."""
    def hour(self) -> SpO2Indices:
        """Indices of the present minute and the 59 before it."""
    def begin_night(self) -> None:
        """Starts the sums of a new night."""
    def set_limits(self, limits: SpO2Limits) -> list[SpO2Alarm]:
        """Changes what is watched for from the next sample on, and returns the alarms that end by that."""
    def snapshot(self) -> bytes:
        """State as versioned bytes, limits included."""
    @classmethod
    def restore(cls, snapshot: bytes) -> SpO2Series:
        """The series that wrote these bytes.

        Raises:
            ValueError: The bytes are damaged or of another kind or version.
        """

@final
class SpO2Bank:
    """Many SpO2 series of one rate, pushed in one call.

    Args:
        rows: How many series.
        fs_hz: As for `SpO2Series`, and so the rest.
    """

    def __new__(
        cls,
        rows: int,
        fs_hz: float = 1.0,
        *,
        profile: str = "standard",
        limits: SpO2Limits | None = None,
        averaging_s: float | None = None,
    ) -> SpO2Bank: ...
    def __len__(self) -> int: ...
    def push(
        self, values: npt.NDArray[np.float64]
    ) -> tuple[list[tuple[int, Desaturation]], list[tuple[int, SpO2Alarm]]]:
        """Pushes a matrix of readings, one row a series, and returns what became certain with its row.

        Raises:
            TypeError: Not a two-dimensional float64 array; nothing was pushed.
            ValueError: Another number of rows; nothing was pushed.
        """
    def flush(self) -> tuple[list[tuple[int, Desaturation]], list[tuple[int, SpO2Alarm]]]:
        """Ends every series."""
    def night(self) -> list[SpO2Indices]:
        """As `SpO2Series.night`, for each row."""
    def hour(self) -> list[SpO2Indices]:
        """As `SpO2Series.hour`, for each row."""
    def snapshot(self, row: int) -> bytes:
        """State of one row, as of a `SpO2Series`."""
    def replace(self, row: int, snapshot: bytes) -> None:
        """Puts a series of the same rate into a row.

        Raises:
            ValueError: The bytes are damaged or of another kind, version or rate.
        """

# --- wire -----------------------------------------------------------------------------------------------------------

@final
class Messages:
    """Raw messages and ticks of one patient in log order."""

    @staticmethod
    def build(entries: Sequence[tuple[bytes, int, int, bytes]]) -> Messages:
        """From (stored subject, log_seq, log_ns, payload); an entry with an empty subject is a tick."""

    def entries(self) -> list[tuple[bytes, int, int, bytes]]:
        """The list as `build` takes it."""

    @property
    def received(self) -> int:
        """How many of them are messages, neither ticks nor holes."""

    def __len__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Items:
    """Frames, commands and ticks of one patient that passed the validator, in log order."""

    @property
    def tenant(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def commands(self) -> int:
        """How many of them are commands."""

    def without_waves(self) -> Items:
        """The list without waves, for whoever needs readings alone and not the cost of detectors."""

    def split(self, at: int) -> tuple[Items, Items]:
        """The list cut before item `at`."""

    def __len__(self) -> int: ...
    def __reduce__(self) -> tuple[Any, ...]: ...
    @staticmethod
    def _rebuild(tenant: str, patient: str, entries: Sequence[tuple[bytes, int, int, bytes]]) -> Items: ...

@final
class Reject:
    """A message that could not be taken: reason, detail, and the message as it came."""

    @property
    def reason(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...
    @property
    def payload(self) -> bytes: ...

@final
class Command:
    """A command of a person or program."""

    @property
    def name(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def idempotency_key(self) -> str: ...
    @property
    def argument_json(self) -> str: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...

@final
class Validator:
    """The validator of the wire contract; gateways and the device check ask the same one as the flow.

    Args:
        max_ahead_s: A device clock further ahead of log time is refused.
        keep_waves_h: Samples older than this are refused.
        keep_rows_h: The same for readings and answers.
        models: Whether `model-<name>` may speak here: in the log, not at a gateway for devices.
    """

    def __new__(
        cls,
        *,
        max_ahead_s: float = 300.0,
        keep_waves_h: float = 72.0,
        keep_rows_h: float = 2160.0,
        models: bool = True,
    ) -> Validator: ...
    def check(self, key: str, messages: Messages) -> tuple[Items, list[Reject]]:
        """Checks the messages of the patient `tenant/patient`: what passed, in log order, and what was refused."""

def rejection_reasons() -> list[tuple[str, str]]:
    """Every rejection reason: (name, one sentence)."""

# --- signals --------------------------------------------------------------------------------------------------------

@final
class SignalsConfig:
    """What is configured for `Signals`. Outputs depend on it, so a replay needs the same.

    Args:
        reorder_s: How long, in log time, a missing frame is waited for, 0 to 60 s.
        silence_wave_s: After this long without a frame a wave is silent; 0 switches the alarm off.
        silence_reading_s: The same for readings, at least three times their own longest pause.
        frames_per_s: Frames that a device may send a second of log time; what is over it is `over_rate`.
        bytes_per_s: Bytes that it may send a second.
        burst_s: So many seconds of both may come at once.
        profiles: What a `profile` command may name, each with the shipped profile whose limits the detectors take
            then; None: the four shipped ones.

    Raises:
        ValueError: A number is out of range, or there is no such shipped profile.
    """

    def __new__(
        cls,
        *,
        reorder_s: float = 2.0,
        silence_wave_s: float = 10.0,
        silence_reading_s: float = 60.0,
        frames_per_s: float = 100.0,
        bytes_per_s: float = 262144.0,
        burst_s: float = 200.0,
        profiles: dict[str, str] | None = None,
    ) -> SignalsConfig: ...

def check_threshold(argument_json: str) -> str | None:
    """Why the argument of a `threshold` command is refused; None if a detector's limit can be set to it."""

def detector_rules() -> list[str]:
    """Rules whose limit is a detector's: `check_threshold` speaks of these."""

def detector_limits(profile: str) -> list[tuple[str, float | None, float | None, float, float]]:
    """The detectors' limits under a profile, those of `adult` under one that they do not know.

    Returns:
        Rule, limit (None: the rule is off), delay in s (None: none that can be changed), least and greatest limit.
    """

@final
class Signals:
    """The step `signals` of one patient: order, clock, detectors."""

    def __new__(cls, config: SignalsConfig | None = None) -> Signals: ...
    def on_items(self, items: Items) -> Output:
        """Takes items in log order and returns what they led to."""

    def snapshot(self) -> bytes:
        """Versioned snapshot."""

    @staticmethod
    def restore(snapshot: bytes, config: SignalsConfig | None = None) -> Signals:
        """The patient of a snapshot; ValueError where it is damaged or of an unknown version."""

@final
class Output:
    """What one list of items led to. Rows are made when somebody asks for them."""

    @property
    def tenant(self) -> str: ...
    @property
    def patient(self) -> str: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...
    def rows(self) -> list[tuple[str, list[tuple[Any, ...]]]]:
        """(table, rows) in the column order of `dataflows.contracts.tables`."""

    def waveforms(self) -> list[tuple[Any, ...]]:
        """Rows of `waveforms` alone."""

    def without_waveforms(self) -> Output:
        """The same without its waveforms."""

    @property
    def has_rows(self) -> bool: ...
    @property
    def has_events(self) -> bool: ...
    @property
    def events(self) -> list[Detection | Command | Reading | Answers]:
        """What the judge has to know, in log order."""

    @property
    def rejects(self) -> list[Reject]: ...
    @property
    def counts(self) -> tuple[int, int, int, int, int, int]:
        """(received, stored, late, duplicate, rejected, samples)."""

    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Detection:
    """A condition began or ended."""

    @property
    def rule(self) -> str: ...
    @property
    def raised(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def boot(self) -> int: ...
    @property
    def signal(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def code(self) -> str: ...
    @property
    def onset(self) -> int: ...
    @property
    def onset_ns(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def limit(self) -> float: ...
    @property
    def evidence_ns(self) -> tuple[int, int]: ...
    @property
    def sample_ns(self) -> int: ...
    @property
    def stored(self) -> bool:
        """It rests on samples that came after their time: it is recorded and pages nobody."""

    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...
    @property
    def details(self) -> dict[str, float]:
        """The numbers on which it stands, by stable names: beats, quality, pulse_rate, ..."""

@final
class Reading:
    """A reading of a device, in the canonical unit of its code; NaN where the device has none.

    `stored` says that it came too late or was uploaded later: it counts, and pages nobody.
    """

    @property
    def code(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def unit(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def status(self) -> int: ...
    @property
    def quality_pct(self) -> int: ...
    @property
    def suspect(self) -> bool: ...
    @property
    def device(self) -> str: ...
    @property
    def boot(self) -> int: ...
    @property
    def signal(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def ts_ns(self) -> int: ...
    @property
    def stored(self) -> bool: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...

@final
class Answers:
    """A questionnaire of a person: (item, value) of each answer."""

    @property
    def instrument(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def mode(self) -> str: ...
    @property
    def answers(self) -> list[tuple[str, float]]: ...
    @property
    def device(self) -> str: ...
    @property
    def boot(self) -> int: ...
    @property
    def signal(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def ts_ns(self) -> int: ...
    @property
    def stored(self) -> bool: ...
    @property
    def log_seq(self) -> int: ...
    @property
    def log_ns(self) -> int: ...

# --- rhythm ---------------------------------------------------------------------------------------------------------

@final
class RhythmEvent:
    """An alarm condition of the rhythm begins or ends. Positions are samples, counted from the stream's first.

    Attributes:
        rule: asystole, extreme_bradycardia, extreme_tachycardia, ventricular_tachycardia, ventricular_fibrillation,
            pause, atrial_fibrillation, bradycardia or tachycardia.
        raised: It begins; otherwise it ends.
        onset: Where it began; the end of an alarm carries the onset of its beginning.
        decided: The sample that made this certain.
        value: Seconds without QRS, beats per minute, or seconds of a waveform.
        limit: What the value was compared with.
        evidence_first: First sample of the evidence.
        evidence_last: Last sample of the evidence.
    """

    @property
    def rule(self) -> str: ...
    @property
    def raised(self) -> bool: ...
    @property
    def onset(self) -> int: ...
    @property
    def decided(self) -> int: ...
    @property
    def value(self) -> float: ...
    @property
    def limit(self) -> float: ...
    @property
    def evidence_first(self) -> int: ...
    @property
    def evidence_last(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class RhythmMonitor:
    """Rhythm alarms of one lead, from its beats.

    Beats, pulses and invalid stretches are announced in any order and portions, each before `advance` passes it.

    Args:
        fs_hz: Samples per second, 1 to 10000.
        **limits: asystole_s, pause_s, extreme_bradycardia_bpm, extreme_bradycardia_beats, extreme_tachycardia_bpm,
            extreme_tachycardia_beats, ventricular_bpm, ventricular_beats, fibrillation_s, low_bpm, high_bpm,
            clear_margin_bpm, atrial_fibrillation_s. Defaults: the definitions of the PhysioNet/CinC Challenge 2015.

    Raises:
        ValueError: The rate or a limit is outside its range.
        TypeError: No limit is called so.
    """

    def __new__(cls, fs_hz: float, **limits: float) -> RhythmMonitor: ...
    def set_limits(self, **limits: float) -> None:
        """Changes the named limits from here on."""
    def beats(self, samples: npt.NDArray[np.int64], labels: npt.NDArray[np.uint8]) -> None:
        """Announces beats: R peaks, and labels as in `LeadOutput`."""
    def pulses(self, samples: npt.NDArray[np.int64]) -> None:
        """Announces pulses of a pleth or arterial wave, which speak against asystole."""
    def invalid(self, first: int, end: int) -> None:
        """Nothing may be concluded from the absence of beats from `first` up to `end`, exclusive."""
    def fibrillation(self, first: int, end: int) -> None:
        """The waveform is fibrillatory from `first` up to `end`, exclusive: known at its last sample."""
    def advance(self, certain_until: int) -> list[RhythmEvent]:
        """Judges everything before this sample; all beats before it must have been announced."""
    def close(self) -> list[RhythmEvent]:
        """The stream ends: what is raised ends with it."""
    @property
    def heart_rate_bpm(self) -> float | None:
        """The rate that a bedside monitor shows."""
    def raised_since(self, rule: str) -> int | None:
        """Onset of a raised condition."""
    def snapshot(self) -> bytes:
        """State as bytes, at most 1 KiB."""
    @staticmethod
    def restore(snapshot: bytes) -> RhythmMonitor:
        """The monitor that wrote these bytes.

        Raises:
            ValueError: The bytes are truncated, damaged or another detector's.
        """

# --- puller ---------------------------------------------------------------------------------------------------------

class JetStreamError(RuntimeError):
    """The log or a stream cannot be read or written any further; the flow starts anew from its recovery state."""

class LostRangeError(JetStreamError):
    """The stream no longer holds the position of the flow; says which messages are lost."""

class PublishError(JetStreamError):
    """A message was refused or not acknowledged in time."""

class FencedError(PublishError):
    """A message was refused because its fence is not the last one: another writer has taken its place."""

@final
class NatsOptions:
    """Where NATS is and how to get in.

    Args:
        url: Address of the server; comma separated for a cluster.
        name: What the server's monitoring shows.
        timeout_s: How long a connection, a request or an acknowledgement may take.
        credentials: Credentials file (JWT and nkey seed).
        user: User name.
        password: Its password.
        tls_ca: CA certificate that the server's is checked against; TLS is required then.
        tls_cert: Client certificate.
        tls_key: Its key.
        inbox_prefix: What the subjects of answers to this connection begin with; the library's own when absent.

    Raises:
        ValueError: The timeout is not positive.
    """

    def __new__(
        cls,
        url: str,
        *,
        name: str = "vitals",
        timeout_s: float = 5.0,
        credentials: Path | None = None,
        user: str | None = None,
        password: str | None = None,
        tls_ca: Path | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        inbox_prefix: str | None = None,
    ) -> NatsOptions: ...

@final
class Puller:
    """Reads one partition of the log in order and without a gap, or raises. Never reconnects.

    Opening, `poll` and `close` let other threads run.

    Args:
        options: Where NATS is.
        stream: Name of the stream, made by `connectors.jetstream.ensure_streams`.
        partition: Number of the partition.
        partitions: Partitions that the stream must have.
        state: What `snapshot` returned; without it reading starts at `start_seq`.
        start_seq: Where reading starts without a state; the stream's first message where that is later.
        until_seq: Last message to read; for this reader nothing is behind it, neither messages nor log time.
        roster_h: A patient without a message for this many hours of log time gets no more ticks.
        heartbeat_s: Idle heartbeat of the consumer; two missed ones are an error.
        buffer_messages: Messages buffered at most, up to 60000; the backlog stays in the stream.
        buffer_bytes: Bytes buffered at most.

    Raises:
        JetStreamError: No server, no such stream, or another number of partitions.
        LostRangeError: The stream no longer holds the position of the state.
        ValueError: The state or an argument cannot be used.
    """

    def __new__(
        cls,
        options: NatsOptions,
        stream: str,
        partition: int,
        partitions: int,
        *,
        state: bytes | None = None,
        start_seq: int = 0,
        until_seq: int = 2**64 - 1,
        roster_h: float = 24.0,
        heartbeat_s: float = 2.0,
        buffer_messages: int = 8192,
        buffer_bytes: int = 16_777_216,
    ) -> Puller: ...
    def poll(self, max_messages: int) -> list[tuple[str, Messages]]:
        """What arrived, at most so many messages of it, by patient (`tenant/patient`, sorted); never blocks.

        After a broker's tick each patient of the roster has a tick last in its list.

        Raises:
            JetStreamError: The connection broke, a heartbeat is missing, or the consumer or the stream is gone.
            LostRangeError: Retention removed messages before they were read.
        """
    def snapshot(self) -> bytes:
        """Position, log time and roster after the last poll, as versioned bytes."""
    def close(self) -> None:
        """Removes the consumer from the server; whatever is called afterwards raises JetStreamError."""
    @property
    def next_seq(self) -> int:
        """Stream sequence from which on nothing was handed over yet."""
    @property
    def last_seq(self) -> int:
        """Stream sequence up to which the partition was handed over."""
    @property
    def log_ns(self) -> int:
        """Log time (ns since 1970); 0 before the first message that moves it."""
    @property
    def pending(self) -> int:
        """Messages of the partition behind the last one handed over, when the server sent that one."""
    @property
    def lag_s(self) -> float:
        """Age of the last message handed over (s); 0 when nothing is pending."""
    @property
    def roster_size(self) -> int:
        """Patients that get ticks."""

@final
class Publisher:
    """Appends to streams and reads back what they hold. Never reconnects; every call lets other threads run.

    Raises:
        JetStreamError: No server.
    """

    def __new__(cls, options: NatsOptions) -> Publisher: ...
    def publish_all(
        self, messages: Sequence[tuple[str, Sequence[tuple[str, str]] | Mapping[str, str], bytes]]
    ) -> list[int]:
        """Publishes (subject, headers, payload) in order and returns their stream sequences once all are acknowledged.

        Raises:
            FencedError: A message expected another last sequence of a subject; others may be stored.
            PublishError: A message was refused or not acknowledged in time; others may be stored.
            JetStreamError: The connection broke; some may be stored.
        """
    def scan(
        self, stream: str, from_seq: int, tag: str = "", subjects: Sequence[str] | None = None
    ) -> list[tuple[int, str, str]]:
        """(sequence, header Nats-Msg-Id, header `tag`) of what the stream holds from a sequence to its present end.

        An absent header is an empty string; `subjects` (as stored, with wildcards) limit what is looked at.

        Raises:
            JetStreamError: The stream cannot be read.
        """
    def last_on(self, stream: str, subject: str) -> int:
        """Sequence of the last message on a subject of a stream; 0 when it holds none.

        Raises:
            JetStreamError: The stream cannot be read.
        """
    def replicas(self, stream: str) -> int:
        """How many servers keep a copy of a stream.

        Raises:
            JetStreamError: The stream cannot be read.
        """
    def stream_state(self, stream: str) -> tuple[int, int, int]:
        """Creation time (ns since 1970), first and last sequence of a stream.

        Raises:
            JetStreamError: The stream cannot be read.
        """
    def last_seq(self, stream: str) -> int:
        """Last sequence of a stream.

        Raises:
            JetStreamError: The stream cannot be read.
        """
    def close(self) -> None:
        """Closes the connection; whatever is called afterwards raises JetStreamError."""

def partition_of(tenant: str, patient: str, partitions: int) -> int:
    """The partition of a patient as the server decides it (FNV-1a of both tokens).

    Raises:
        ValueError: Not 1 to 4096 partitions.
    """

def tick_token(partition: int, partitions: int) -> str:
    """The token k whose `vitals.v1.tick.<k>.broker.tick` lands in a partition.

    Raises:
        ValueError: There is no such partition.
    """

@final
class AfDetector:
    """Atrial fibrillation from RR intervals, one decision a beat, given 30 beats later.

    Args:
        fs_hz: Samples per second of the beat positions, 1 to 10000.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float) -> AfDetector: ...
    def push(self, samples: npt.NDArray[np.int64], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Decisions that became certain, in the order of the beats: the n-th of a stream is that of its n-th beat.

        Intervals at ventricular beats (label 1) are left out.

        Raises:
            ValueError: The beats are not in order, or not as many as the labels.
        """
    def flush(self) -> npt.NDArray[np.bool_]:
        """Decisions on the beats that still wait, at the end of a stream."""

@final
class PulseDetector:
    """Streaming pulse detector of one pleth or arterial wave.

    Args:
        fs_hz: Samples per second, 20 to 1000.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float) -> PulseDetector: ...
    @property
    def certain_until(self) -> int:
        """Every pulse before this sample has been returned."""
    def push(self, samples: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Ends of the steepest rises and the rises themselves; NaN is invalid."""
    def snapshot(self) -> bytes:
        """State as bytes."""
    @staticmethod
    def restore(snapshot: bytes) -> PulseDetector:
        """The detector that wrote these bytes.

        Raises:
            ValueError: The bytes are truncated, damaged or another detector's.
        """

@final
class VfDetector:
    """Ventricular flutter and fibrillation on the waveform of one lead.

    Args:
        fs_hz: Samples per second, 100 to 1000.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float) -> VfDetector: ...
    def push(self, samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """One row a second, on the four seconds before it.

        Columns: end sample, leakage, crossing, dominant frequency (Hz), concentration, share of 2 to 9 Hz, range,
        share of invalid samples, 1 if fibrillatory.
        """
    def snapshot(self) -> bytes:
        """State as bytes, at most 1 KiB."""
    @staticmethod
    def restore(snapshot: bytes) -> VfDetector:
        """The detector that wrote these bytes.

        Raises:
            ValueError: The bytes are truncated, damaged or another detector's.
        """

@final
class Respiration:
    """Respiration rate from the intervals and the size of the QRS, over the last 32 s of beats."""

    def __new__(cls) -> Respiration: ...
    def push(self, time_s: float, interval_s: float, size: float) -> None:
        """Takes a beat: its time, the interval to the one before (NaN if unknown), the size of its QRS in any unit."""
    def rate(self) -> tuple[float, float] | None:
        """Breaths per minute and how clearly they stand out, 0 to 1; None without enough beats."""

@final
class Hrv:
    """Heart rate variability in windows of five minutes, on intervals between normal beats.

    Args:
        fs_hz: Samples per second of the beat positions, 1 to 10000.

    Raises:
        ValueError: The rate is outside that range.
    """

    def __new__(cls, fs_hz: float) -> Hrv: ...
    def push(
        self, sample: int, normal: bool = True, joined: bool = True
    ) -> list[tuple[int, int, float, float, float, float]]:
        """Takes a beat; returns the windows that ended.

        Each is its first sample, NN intervals, their share of the window, SDNN (ms), RMSSD (ms), pNN50 (%).
        """
