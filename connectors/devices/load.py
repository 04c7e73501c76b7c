"""A path becomes a recording: by what it is, a WFDB record or a table of numerics."""

from collections.abc import Mapping
from pathlib import Path

from connectors.devices.numerics import read_numerics
from connectors.devices.recording import Recording
from connectors.devices.wfdb_record import read_wfdb

_NUMERIC_ENDINGS = {".csv", ".txt"}


def load(path: Path, signals: Mapping[str, str] | None = None) -> Recording:
    """Reads a recording.

    Args:
        path: A WFDB record (with or without ending), or a file of numerics (`.csv`, `.txt`).
        signals: For WFDB records: names to take, each with the contract's signal it becomes (empty: by its name).

    Raises:
        RecordingError: It cannot be read; the message says why.
    """
    if path.suffix.lower() in _NUMERIC_ENDINGS:
        return read_numerics(path)
    return read_wfdb(path, signals)


def signal_selection(text: str) -> dict[str, str]:
    """Parses `MLII,V=ecg_v5`: names to take, each with the contract's signal it becomes (empty: by its name)."""
    pairs = (part.partition("=") for part in text.split(",") if part.strip())
    return {name.strip(): signal.strip() for name, _, signal in pairs}
