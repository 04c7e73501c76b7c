"""Reading WFDB records: https://wfdb.readthedocs.io, https://physionet.org/physiotools/wag/header-5.htm."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.devices.recording import Recording, RecordingError, WaveTrack
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import signal_of, signal_token, to_counts

_ALIASES = {"ecg1": "ecg", "v": "ecg", "mcl": "ecg", "mcl1": "ecg", "ppg": "pleth", "art": "abp", "bp": "abp"}
"""Names that mean a signal of another name. A chest lead that does not say which (`V`, `MCL`) is one unnamed lead."""
_TO_MV = {"mV": 1.0, "uV": 1e-3, "µV": 1e-3, "nV": 1e-6, "V": 1e3}
_LARGEST_COUNT = 32767


def read_wfdb(path: Path, wanted: Mapping[str, str] | None = None) -> Recording:
    """Reads a WFDB record.

    A sample becomes its distance from the baseline in counts, so `counts * lsb` is the physical value, to the last bit
    of the recording; what the record marks as invalid becomes -32768.

    Args:
        path: The record without ending, or its header or signal file.
        wanted: Names of signals in the record to take, each with the contract's signal it becomes (empty: by its name);
            None takes every signal whose name says what it is.

    Raises:
        RecordingError: There is no such record, it is damaged, or it has none of what is wanted.
    """
    base = path.with_suffix("") if path.suffix in {".hea", ".dat", ".atr", ".mat"} else path
    if not base.with_name(base.name + ".hea").exists():
        message = f"{path}: no WFDB record there ({base.name}.hea is missing)"
        raise RecordingError(message)
    # Half of the command line's start-up time, for the one command that reads records.
    import wfdb  # noqa: PLC0415

    try:
        record = wfdb.rdrecord(str(base), smooth_frames=False)
    except Exception as error:  # the package raises whatever its parser meets
        message = f"{path}: not readable as a WFDB record: {error}"
        raise RecordingError(message) from error
    if not record.sig_name:
        message = f"{path}: the record has no signals (only annotations?)"
        raise RecordingError(message)
    waves, notes = _waves(record, wanted)
    if not waves:
        message = f"{path}: nothing to replay in it: {'; '.join(notes)}"
        raise RecordingError(message)
    return Recording(base.name, tuple(waves), notes=tuple(notes))


def _waves(record: Any, wanted: Mapping[str, str] | None) -> tuple[list[WaveTrack], list[str]]:
    waves: dict[pb.Signal, WaveTrack] = {}
    notes: list[str] = []
    names = [name.strip().rstrip(",") for name in record.sig_name]
    for name in sorted(set(wanted or {}) - set(names)):
        message = f"{record.record_name} has no signal {name!r}; it has {', '.join(names)}"
        raise RecordingError(message)
    for index, name in enumerate(names):
        if wanted is not None and name not in wanted:
            continue
        try:
            signal = _signal(name, (wanted or {}).get(name, ""))
        except ValueError:
            notes.append(
                f"{name} left out: its name is no signal of the contract (say which with --signals {name}=SIGNAL)"
            )
            continue
        if signal in waves:
            taken = f"{waves[signal].name} is already {signal_token(signal)}"
            notes.append(f"{name} left out: {taken} (say another with --signals {name}=SIGNAL)")
            continue
        fs_mhz = round(record.fs * record.samps_per_frame[index] * 1000)
        gain, unit = record.adc_gain[index], record.units[index]
        lsb = _lsb(signal, gain, unit)
        counts, lsb, note = _counts(record.e_p_signal[index] * (lsb * gain), lsb)
        if note:
            notes.append(f"{name}: {note}")
        waves[signal] = WaveTrack(name, signal, fs_mhz, lsb, counts)
    return list(waves.values()), notes


def _signal(name: str, given: str) -> pb.Signal:
    token = given or name.lower()
    for candidate in (token, _ALIASES.get(token, ""), f"ecg_{token}"):
        try:
            return signal_of(candidate)
        except ValueError:
            continue
    return signal_of(token)


def _lsb(signal: pb.Signal, gain: float, unit: str) -> float:
    """Contract units per count: mV for ECG, whatever the record says otherwise."""
    scale = _TO_MV.get(unit, 1.0) if signal_token(signal).startswith("ecg") else 1.0
    return scale / gain


def _counts(physical: npt.NDArray[np.float64], lsb: float) -> tuple[npt.NDArray[np.int16], float, str]:
    """Counts, and a coarser LSB where 16 bits do not reach."""
    largest = float(np.nanmax(np.abs(physical), initial=0.0)) / lsb
    if largest <= _LARGEST_COUNT:
        return to_counts(physical, lsb), lsb, ""
    factor = 2 ** math.ceil(math.log2(largest / _LARGEST_COUNT))
    note = f"values need more than 16 bits, so they are replayed in steps of {factor} counts"
    return to_counts(physical, lsb * factor), lsb * factor, note
