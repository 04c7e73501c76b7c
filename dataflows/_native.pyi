from typing import final

import numpy as np
import numpy.typing as npt

__all__: list[str]

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
class QrsDetector:
    """Streaming R-peak detector of one ECG lead.

    A beat is emitted at most 300 ms after its R peak, those of the first two seconds excepted. Gain, offset and polarity
    do not matter. However a stream is cut into pushes, the same beats come out.

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
        profile: Rules it scores by: `standard`, `sensitive` or `averaged` (docs/benchmarks/oximetry.md).

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
