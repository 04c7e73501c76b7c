"""Questionnaires as data: which items there are, how answers add up, what is done about those that are missing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec


class AnswerRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When answers are told: the `total`, one `item`, or a `rise` over the own median, at `limit`."""

    rule: str
    kind: Literal["total", "item", "rise"]
    limit: float
    item: int = 0


class Instrument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One questionnaire; higher is worse in all of them.

    Attributes:
        name: As in the frames.
        title: For people.
        terms: Under what terms it may be shown to patients.
        source: Publication of the scoring.
        highest: Largest value of an item; the smallest is 0.
        missing: How many answers may be missing for a total.
        every_h: How often an answer is expected, in hours.
        median_d: Days whose answers make the own median.
        bands: Lowest total and name of each severity.
        rules: When answers are told.
        loinc: LOINC codes of the items; one item without codes when empty.
        step: Step between values of an item.
    """

    name: str
    title: str
    terms: str
    source: str
    highest: float
    missing: int
    every_h: int
    median_d: int
    bands: tuple[tuple[float, str], ...]
    rules: tuple[AnswerRule, ...]
    loinc: tuple[str, ...] = ()
    step: float = 1.0

    @property
    def items(self) -> int:
        """How many items it has."""
        return max(1, len(self.loinc))

    @property
    def missed_rule(self) -> str:
        """Rule that is told when an expected answer does not come."""
        return f"{self.name}_missed"

    def place(self, item: str) -> int | None:
        """Number of an item from 1, by `item_<n>`, LOINC code, or the name of an instrument of one item."""
        if item in self.loinc:
            return self.loinc.index(item) + 1
        if self.items == 1 and item == self.name:
            return 1
        number = item.removeprefix("item_")
        return int(number) if number.isdecimal() and 1 <= int(number) <= self.items else None

    def allows(self, value: float) -> bool:
        """Whether an item may have this value."""
        return 0 <= value <= self.highest and abs(value / self.step - round(value / self.step)) < 1e-6


@dataclass(frozen=True)
class Result:
    """A scored questionnaire.

    Attributes:
        total: Sum; with the mean of the others in place of the few that are missing; None with too many missing.
        state: `complete`, `prorated`, or `partial` when there is no total.
        items: Answers by number.
        missing: Numbers without a usable answer.
        refused: What was sent and cannot be: unknown items, impossible values, an item answered twice differently.
        band: Severity of the total.
    """

    total: float | None
    state: str
    items: dict[int, float]
    missing: tuple[int, ...]
    refused: tuple[str, ...]
    band: str | None


class _Instruments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instruments: tuple[Instrument, ...]


@cache
def load() -> dict[str, Instrument]:
    """The shipped instruments by name."""
    file = Path(__file__).parent / "instruments.toml"
    return {one.name: one for one in msgspec.toml.decode(file.read_bytes(), type=_Instruments).instruments}


def score(instrument: Instrument, answers: Sequence[tuple[str, float]]) -> Result:
    """Scores answers; what cannot be is refused and counts as missing, the rest is scored.

    Args:
        instrument: The questionnaire.
        answers: Item and value of each answer, in any order.
    """
    items: dict[int, float] = {}
    refused: list[str] = []
    doubtful: set[int] = set()
    for item, value in answers:
        place = instrument.place(item)
        if place is None or not instrument.allows(value):
            refused.append(f"{item}={value:g}")
        elif items.setdefault(place, value) != value:
            refused.append(f"{item}={value:g}")
            doubtful.add(place)
            # Of two answers to one item nobody knows which was meant; triggers see the worse one.
            items[place] = max(items[place], value)
    missing = tuple(place for place in range(1, instrument.items + 1) if place not in items or place in doubtful)
    usable = [value for place, value in items.items() if place not in doubtful]
    if len(missing) > instrument.missing or not usable:
        return Result(None, "partial", items, missing, tuple(refused), None)
    total = sum(usable) * instrument.items / len(usable)
    # Prorated totals are whole again, rounded half up.
    total = float(math.floor(total + 0.5)) if missing else round(total, 6)
    band = [name for least, name in instrument.bands if total >= least][-1]
    return Result(total, "prorated" if missing else "complete", items, missing, tuple(refused), band)
