"""Reading numerics: a table with a column per code, or SpO2 alone, one number a line at 1 Hz."""

import csv
import math
from pathlib import Path

from connectors.devices.recording import NumericTrack, Recording, RecordingError
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Reading

_COLUMNS = {
    "spo2": (pb.CODE_SPO2, pb.UNIT_PERCENT),
    "hr": (pb.CODE_HR, pb.UNIT_PER_MIN),
    "pulse": (pb.CODE_PULSE_RATE, pb.UNIT_PER_MIN),
    "resp": (pb.CODE_RESP_RATE, pb.UNIT_PER_MIN),
    "rr": (pb.CODE_RESP_RATE, pb.UNIT_PER_MIN),
    "temp": (pb.CODE_TEMP, pb.UNIT_CEL),
    "sbp": (pb.CODE_SBP, pb.UNIT_MM_HG),
    "dbp": (pb.CODE_DBP, pb.UNIT_MM_HG),
    "map": (pb.CODE_MAP, pb.UNIT_MM_HG),
    "etco2": (pb.CODE_ETCO2, pb.UNIT_MM_HG),
    "glucose": (pb.CODE_GLUCOSE, pb.UNIT_MG_PER_DL),
    "weight": (pb.CODE_WEIGHT, pb.UNIT_KG),
    "battery": (pb.CODE_BATTERY, pb.UNIT_PERCENT),
}
_TIME_COLUMNS = {"time_s", "time [s]", "time"}
_NO_READING = {"", "nan", "-", "null", "none"}


def read_numerics(path: Path) -> Recording:
    """Reads a table of readings.

    Args:
        path: CSV whose header names columns `time_s` (or `Time [s]`; without it a row is a second) and any of spo2, hr,
            pulse, resp, temp (Celsius), sbp, dbp, map, etco2, glucose (mg/dL), weight (kg), battery, in any case; or a
            file of numbers, one a line, which are SpO2 in % at 1 Hz. An empty cell or NaN is no reading. Other columns
            are left out and noted.

    Raises:
        RecordingError: The file cannot be read so; the message names the line.
    """
    try:
        # universal newlines: some devices end lines with CR alone
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path}: not readable as text: {error}"
        raise RecordingError(message) from error
    rows = [(number, row) for number, row in enumerate(csv.reader(lines), 1) if any(cell.strip() for cell in row)]
    if not rows:
        message = f"{path}: it is empty"
        raise RecordingError(message)
    header = [cell.strip().lower() for cell in rows[0][1]]
    if len(header) == 1 and _is_number(header[0]):
        return _recording(path, ["spo2"], rows, ())
    notes = tuple(
        f"column {name!r} left out: not one of {', '.join(_COLUMNS)}"
        for name in header
        if name and name not in _COLUMNS and name not in _TIME_COLUMNS
    )
    if not set(header) & set(_COLUMNS):
        message = f"{path}: no column is one of {', '.join(_COLUMNS)}; its first line is {','.join(rows[0][1])[:80]!r}"
        raise RecordingError(message)
    return _recording(path, header, rows[1:], notes)


def _recording(path: Path, header: list[str], rows: list[tuple[int, list[str]]], notes: tuple[str, ...]) -> Recording:
    time_column = next((index for index, name in enumerate(header) if name in _TIME_COLUMNS), None)
    times: list[float] = []
    readings: list[tuple[Reading, ...]] = []
    for second, (number, row) in enumerate(rows):
        cell = "".join(row[time_column : time_column + 1]) if time_column is not None else str(second)
        time_s = _number(path, number, cell)
        if math.isnan(time_s) or (times and time_s <= times[-1]):
            message = f"{path}, line {number}: times must grow, {cell!r} does not"
            raise RecordingError(message)
        values = [
            Reading(*_COLUMNS[name][:1], value, _COLUMNS[name][1])
            for name, cell in zip(header, row, strict=False)
            if name in _COLUMNS and not math.isnan(value := _number(path, number, cell))
        ]
        if values:
            times.append(time_s)
            readings.append(tuple(values))
    if not times:
        message = f"{path}: there is no reading in it"
        raise RecordingError(message)
    return Recording(path.stem, numerics=NumericTrack(tuple(times), tuple(readings)), notes=notes)


def _number(path: Path, line: int, cell: str) -> float:
    text = cell.strip()
    if text.lower() in _NO_READING:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        message = f"{path}, line {line}: {text!r} is no number"
        raise RecordingError(message)
    return number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
