"""Glucose values: units, the device's range, and the consensus levels.

Levels and targets: Battelino et al., Clinical targets for continuous glucose monitoring data interpretation, Diabetes
Care 2019;42:1593. They are printed in whole mg/dL and in tenths of mmol/L; both agree when a value is rounded to whole
mg/dL first (10.0 mmol/L is 180.18 mg/dL and in range), so every comparison here is made on whole mg/dL.
"""

import math
from enum import IntEnum

MG_DL_PER_MMOL_L = 18.018
DEVICE_RANGE_MG_DL = (40, 400)
"""Usual range of continuous sensors. A value at an end, or LO and HI, says "at or beyond": a reading, never a gap."""
_HALF_UP = 0.5 + 1e-6


class Level(IntEnum):
    """Consensus ranges: very low < 54, low 54-69, in range 70-180, high 181-250, very high > 250 mg/dL."""

    VERY_LOW = 0
    LOW = 1
    IN_RANGE = 2
    HIGH = 3
    VERY_HIGH = 4


def whole_mg_dl(value: float, unit: str = "mg/dL") -> int:
    """Whole mg/dL of a value, rounded half up.

    Args:
        value: Glucose.
        unit: `mg/dL` or `mmol/L` (UCUM).

    Raises:
        ValueError: Another unit, or no finite value.
    """
    if unit not in ("mg/dL", "mmol/L"):
        msg = f"glucose is in mg/dL or mmol/L, not in {unit!r}"
        raise ValueError(msg)
    if not math.isfinite(value):
        msg = f"{value} is no glucose value"
        raise ValueError(msg)
    return math.floor(value * (MG_DL_PER_MMOL_L if unit == "mmol/L" else 1.0) + _HALF_UP)


def parse(text: str, unit: str = "mg/dL", device_range: tuple[int, int] = DEVICE_RANGE_MG_DL) -> int | None:
    """Whole mg/dL of a field of a device's export; the sentinels LO and HI become the ends of its range.

    Args:
        text: What the device wrote: a number, LO/Low, HI/High, or nothing.
        unit: Unit of numbers.
        device_range: Ends of the range, mg/dL.

    Returns:
        The value, or None for an empty field.

    Raises:
        ValueError: Anything else.
    """
    word = text.strip().lower()
    if word in ("", "null", "nan"):
        return None
    if word in ("lo", "low"):
        return device_range[0]
    if word in ("hi", "high"):
        return device_range[1]
    return whole_mg_dl(float(word), unit)


def level(mg_dl: int) -> Level:
    """Consensus range of a value in whole mg/dL."""
    return Level((mg_dl >= 54) + (mg_dl >= 70) + (mg_dl > 180) + (mg_dl > 250))


def censored(mg_dl: int, device_range: tuple[int, int] = DEVICE_RANGE_MG_DL) -> bool:
    """Whether the value is at an end of the device's range: the true one may lie beyond, so it has no slope."""
    return mg_dl <= device_range[0] or mg_dl >= device_range[1]
