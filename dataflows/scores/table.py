"""Point tables of early-warning scores: data in TOML, one look-up for all of them.

A table says for each parameter which bands give which points. Bands lie on a grid (whole numbers, or tenths of a
degree), and a reading is rounded half up to that grid first, as a display would: between "92-93" and "94-95" there is
no 93.5. What is missing has no points; it is listed, and the total is then a lower bound.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

Bands = tuple[tuple[float, int], ...]
"""Upper edge (included) and points, ascending; the last edge is infinite."""

SHIPPED = ("news2", "mews")
"""Names of the tables that come with the program."""
_HALF_UP = 0.5 + 1e-6
"""The millionth lifts what is a half in decimal and just less in binary (38.05)."""


class Scale2(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The other SpO2 scale: on air, and on supplemental oxygen."""

    air: Bands
    oxygen: Bands


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the table.

    Attributes:
        name: Name in rows and alerts.
        codes: Codes of readings, the preferred first.
        grid: Step on which the bands are printed, in the code's unit.
        max_age_s: How long a reading stands for the patient.
        median_s: Span of the median for continuous signals; 0 takes the last reading.
        bands: Points.
        scale_2: Points on the other SpO2 scale.
    """

    name: str
    codes: tuple[str, ...]
    grid: float
    max_age_s: int
    bands: Bands
    median_s: int = 0
    scale_2: Scale2 | None = None

    def __post_init__(self) -> None:
        scales = (self.bands,) if self.scale_2 is None else (self.bands, self.scale_2.air, self.scale_2.oxygen)
        for bands in scales:
            edges = [edge for edge, _ in bands]
            if edges != sorted(set(edges)) or not math.isinf(edges[-1]):
                msg = f"bands of {self.name} must ascend and end with inf"
                raise ValueError(msg)
            if any(abs(edge / self.grid - round(edge / self.grid)) > 1e-6 for edge in edges[:-1]):
                msg = f"an edge of {self.name} is not on its grid of {self.grid}"
                raise ValueError(msg)

    def on_grid(self, value: float) -> float:
        """The value that is looked up: rounded half up to the grid."""
        return round(math.floor(value / self.grid + _HALF_UP) * self.grid, 6)


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the publication asks for from a total (and a single parameter's points) on."""

    total: int
    name: str
    text: str
    single: int = 0


class ScoreRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the score is announced: `total` or any `single` parameter at `limit`, or a `rise` by `limit`."""

    rule: str
    kind: Literal["total", "single", "rise"]
    limit: int


class ScoreTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published table with its source."""

    name: str
    version: str
    source: str
    parameters: tuple[Parameter, ...]
    responses: tuple[Response, ...]
    rules: tuple[ScoreRule, ...]


@dataclass(frozen=True)
class Score:
    """Points of what is there, and what is not.

    Attributes:
        total: Sum of the points; a lower bound while anything is missing.
        points: Points per parameter.
        missing: Parameters without points, in the table's order.
        response: Name of the response band of these points.
        text: What it asks for.
    """

    total: int
    points: dict[str, int]
    missing: tuple[str, ...]
    response: str
    text: str

    @property
    def complete(self) -> bool:
        """Every parameter has points."""
        return not self.missing


@cache
def load(name: str) -> ScoreTable:
    """The shipped table `news2` or `mews`.

    Raises:
        msgspec.ValidationError: The file does not describe a table.
        FileNotFoundError: There is no such table.
    """
    return msgspec.toml.decode((Path(__file__).parent / f"{name}.toml").read_bytes(), type=ScoreTable)


def look_up(bands: Bands, value: float) -> int:
    """Points of a value on the grid."""
    return bands[bisect_left(bands, value - 1e-6, key=lambda band: band[0])][1]


def points_of(parameter: Parameter, value: float, *, scale: int = 1, on_oxygen: bool | None = None) -> int | None:
    """Points of one reading.

    Args:
        parameter: Line of the table.
        value: Reading in the code's canonical unit.
        scale: SpO2 scale, 1 or 2; other parameters have one.
        on_oxygen: Whether the patient breathes supplemental oxygen; None when nobody said.

    Returns:
        Points, or None where scale 2 depends on oxygen that nobody stated.
    """
    rounded = parameter.on_grid(value)
    if scale == 1 or parameter.scale_2 is None:
        return look_up(parameter.bands, rounded)
    on_air, on_o2 = look_up(parameter.scale_2.air, rounded), look_up(parameter.scale_2.oxygen, rounded)
    if on_oxygen is None:
        return on_air if on_air == on_o2 else None
    return on_o2 if on_oxygen else on_air


def score(table: ScoreTable, values: Mapping[str, float], *, scale: int = 1) -> Score:
    """Scores the readings that are there.

    Args:
        table: Published table.
        values: Usable reading per parameter name; a parameter that is not in it is missing.
        scale: SpO2 scale.
    """
    oxygen = values.get("oxygen")
    points: dict[str, int] = {}
    for parameter in table.parameters:
        if parameter.name in values:
            found = points_of(
                parameter,
                values[parameter.name],
                scale=scale,
                on_oxygen=None if oxygen is None else oxygen > 0,
            )
            if found is not None:
                points[parameter.name] = found
    total, single = sum(points.values()), max(points.values(), default=0)
    response = [one for one in table.responses if total >= one.total and single >= one.single][-1]
    missing = tuple(one.name for one in table.parameters if one.name not in points)
    return Score(total, points, missing, response.name, response.text)
