"""Reads SpO2 recordings: the three data sets by the form of their files, and any CSV of `t,spo2`."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]

# Oximeter 3 was not recorded. The header's last columns are shifted: see the data set's own notes.
UW_OXIMETERS = {"SpO2 1": "3900P", "SpO2 2": "N-600X (a)", "SpO2 4": "N-600X (b)", "SpO2 5": "Radical-7"}

LONGEST_S = 100 * 86_400
"""A longer table has a wrong time in it, and its grid would not fit into memory."""


@dataclass(frozen=True)
class Recording:
    """One series on a regular grid; NaN where there is no reading."""

    group: str
    name: str
    fs_hz: float
    values: Series


class UnreadableError(Exception):
    """A file that looks like SpO2 and cannot be read."""


def recordings(root: Path) -> tuple[list[Recording], list[str]]:
    """Everything below `root` (or the file itself) that is SpO2, and why other candidates were left out."""
    found, skipped = dict[str, Recording](), list[str]()
    files = [root] if root.is_file() else sorted(root.rglob("*"))
    for path in files:
        try:
            for one in _read(path, root):
                # Of two files that differ only by suffix the second keeps its own, or it would replace the first.
                name = f"{one.name}{path.suffix}" if one.name in found else one.name
                found[name] = replace(one, name=name)
        except (UnreadableError, csv.Error, OSError) as error:
            skipped.append(f"{path.name}: {error}")
    return list(found.values()), skipped


def _read(path: Path, root: Path) -> Iterator[Recording]:
    stem = path.stem if path == root else str(path.relative_to(root).with_suffix(""))
    if path.suffix == ".txt":
        yield from _numbers(path, stem)
    elif path.suffix == ".csv":
        yield from _table(path, stem)


def _numbers(path: Path, stem: str) -> Iterator[Recording]:
    """One number a line at 1 Hz, as the oxygen saturation variability set has it."""
    words = path.read_text(encoding="utf-8", errors="replace").split()
    if len(words) < 2 or any(number(word) is None for word in words):
        return  # a text about something else
    values = np.array([number(word) for word in words], dtype=np.float64)
    if np.nanmedian(values) < 50:
        return  # breath annotations
    yield Recording("osv_healthy" if "osv_healthy" in str(path) else "numbers", stem, 1.0, values)


def _table(path: Path, stem: str) -> Iterator[Recording]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        columns = {name.lower(): place for place, name in enumerate(header)}
        if "SpO2 1" in header and "SpO2 5" in header:
            kept = [row for row in rows if len(row) > header.index("SpO2 5")]
            for name in UW_OXIMETERS:
                values = np.array([number(row[header.index(name)]) for row in kept], dtype=np.float64)
                yield Recording("uw_hypoxemia", f"{stem}/{name.replace('SpO2 ', 'oximeter_')}", 1.0, values)
            return
        if "spo2" not in columns:
            return
        place = next((columns[name] for name in ("t", "time", "time [s]", "time_s", "timestamp") if name in columns), 0)
        if place == columns["spo2"]:
            message = "no column of times beside spo2"
            raise UnreadableError(message)
        last = max(place, columns["spo2"])
        pairs = [(row[place], row[columns["spo2"]]) for row in rows if len(row) > last]
    fs_hz, values = grid(pairs)
    yield Recording("bidmc" if path.name.startswith("bidmc") else "csv", stem, fs_hz, values)


def grid(pairs: list[tuple[str, str]]) -> tuple[float, Series]:
    """Readings at their times, as a regular series: the usual distance of two times is its period."""
    timed = [(when, number(text)) for at, text in pairs if (when := seconds(at)) is not None]
    times = np.array([when for when, _ in timed], dtype=np.float64)
    values = np.array([value for _, value in timed], dtype=np.float64)
    steps = np.diff(np.unique(times))
    if len(steps) == 0:
        message = "fewer than two rows with a time"
        raise UnreadableError(message)
    fs_hz = 1.0 / float(np.median(steps))
    if not 0.1 <= fs_hz <= 10:
        message = f"{fs_hz:.3g} readings a second; 0.1 to 10 can be scored"
        raise UnreadableError(message)
    if np.ptp(times) > LONGEST_S:
        message = f"spans more than {LONGEST_S // 86_400} days"
        raise UnreadableError(message)
    places = np.round((times - times.min()) * fs_hz).astype(np.int64)
    series = np.full(int(places.max()) + 1, np.nan)
    series[places[::-1]] = values[::-1]  # of two readings in one place the first counts
    return fs_hz, series


def number(text: str) -> float | None:
    """The number; NaN for what stands for none; None for other text."""
    text = text.strip()
    if text.lower() in {"", "-", "--", "---", "null", "none", "nan", "na"}:
        return float("nan")
    try:
        return float(text)
    except ValueError:
        return None


def seconds(text: str) -> float | None:
    """A time in seconds, from a number or an ISO 8601 time; None for other text."""
    value = number(text)
    if value is not None:
        return None if not np.isfinite(value) else value
    try:
        when = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=dt.UTC)).timestamp()
