"""What a scorer is given: a batch of patients' windows, as a matrix and as series.

The statistics are those of NumPy over the values that are there; NaN where there are none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Series:
    """Values of one signal in a window.

    Attributes:
        time_s: Seconds before the end of the window, at most 0 and rising; shape (n,).
        value: In the canonical unit; shape (n,).
    """

    time_s: Floats
    value: Floats


@dataclass(frozen=True)
class Window:
    """What is known of a patient at a moment of log time.

    Attributes:
        tenant: Organisation.
        patient: Pseudonym.
        end_ns: The moment, ns since 1970; values are of before it, and had come by then.
        series: By signal; a signal without a value is not there.
        ready: Whether everything that the model requires is there.
    """

    tenant: str
    patient: str
    end_ns: int
    series: Mapping[str, Series]
    ready: bool


@dataclass(frozen=True)
class Batch:
    """What the scorer is called with.

    Attributes:
        columns: Names of the features.
        features: One row a window, one column a feature; NaN where a signal has no value; shape (n, columns).
        windows: The same windows as series, for a model that wants more than the declared numbers.
    """

    columns: Sequence[str]
    features: Floats
    windows: Sequence[Window]

    def __len__(self) -> int:
        return len(self.windows)


def statistic(name: str, series: Series | None) -> float:
    """A number about a series; NaN where it has none (a slope needs two values, `count` is 0 without any)."""
    if series is None or not series.value.size:
        return 0.0 if name == "count" else float("nan")
    return float(STATISTICS[name](series))


def _slope_per_hour(series: Series) -> float:
    """Least squares, in units an hour."""
    if series.value.size < 2:
        return float("nan")
    time_h = (series.time_s - series.time_s.mean()) / _HOUR_S
    return float(time_h @ series.value / (time_h @ time_h))


STATISTICS: Mapping[str, Callable[[Series], float]] = {
    "last": lambda series: series.value[-1],
    "mean": lambda series: series.value.mean(),
    "median": lambda series: float(np.median(series.value)),
    "min": lambda series: series.value.min(),
    "max": lambda series: series.value.max(),
    "std": lambda series: series.value.std(),
    "slope": _slope_per_hour,
    "count": lambda series: series.value.size,
}
"""Numbers about a signal, by the name that follows it in a declaration: `hr.median`."""
