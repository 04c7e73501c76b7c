"""The other Python R-peak detectors, each with its own defaults and its own cleaning."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.qrs_scoring import INVALID, Indices, Record

Detect = Callable[[npt.NDArray[np.float64], float], Any]


def millivolts(record: Record) -> npt.NDArray[np.float64]:
    """Returns the signal in millivolts; invalid samples repeat the last valid one, because no peer accepts gaps."""
    samples = record.samples.astype(np.float64)
    valid = record.samples != INVALID
    last = np.maximum.accumulate(np.where(valid, np.arange(len(samples)), 0))
    return samples[last] / record.gain


def _sleepecg(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    import sleepecg

    return sleepecg.detect_heartbeats(signal, fs_hz)


def _xqrs(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from wfdb import processing

    detector = processing.XQRS(sig=signal, fs=fs_hz)
    detector.detect(verbose=False)
    return detector.qrs_inds


def _gqrs(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from wfdb import processing

    return processing.gqrs_detect(sig=signal, fs=fs_hz)


def _neurokit(method: str) -> Detect:
    def detect(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
        import neurokit2

        rate = round(fs_hz)
        clean = neurokit2.ecg_clean(signal, sampling_rate=rate, method=method)
        return neurokit2.ecg_peaks(clean, sampling_rate=rate, method=method)[1]["ECG_R_Peaks"]

    return detect


def _biosppy(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from biosppy.signals import ecg, tools

    order = int(0.3 * fs_hz)
    filtered = tools.filter_signal(
        signal=signal, ftype="FIR", band="bandpass", order=order, frequency=[3, 45], sampling_rate=fs_hz
    )[0]
    peaks = ecg.hamilton_segmenter(signal=filtered, sampling_rate=fs_hz)[0]
    return ecg.correct_rpeaks(signal=filtered, rpeaks=peaks, sampling_rate=fs_hz, tol=0.05)[0]


def _systole(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from systole.detection import ecg_peaks

    _, peaks = ecg_peaks(signal, sfreq=round(fs_hz), method="pan-tompkins")
    return np.flatnonzero(peaks) / 1000.0 * fs_hz  # systole answers at 1000 Hz


def _vg(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from vg_beat_detectors import FastNVG

    return FastNVG(sampling_frequency=round(fs_hz)).find_peaks(signal)


PEERS: dict[str, tuple[str, Detect]] = {
    "sleepecg": ("sleepecg", _sleepecg),
    "wfdb.xqrs": ("wfdb", _xqrs),
    "wfdb.gqrs": ("wfdb", _gqrs),
    "neurokit2": ("neurokit2", _neurokit("neurokit")),
    "neurokit2.khamis2016": ("neurokit2", _neurokit("khamis2016")),
    "biosppy.hamilton": ("biosppy", _biosppy),
    "systole.pan_tompkins": ("systole", _systole),
    "vg.FastNVG": ("vg-beat-detectors", _vg),
}
"""Name in the table: distribution and detector."""


def version(peer: str) -> str:
    """Returns the installed version of a peer, or an empty string if it is absent."""
    try:
        return importlib.metadata.version(PEERS[peer][0])
    except importlib.metadata.PackageNotFoundError:
        return ""


def detect(peer: str, record: Record) -> Indices:
    """Runs one peer on one record.

    Raises:
        ImportError: The peer is not installed.
    """
    found = np.asarray(PEERS[peer][1](millivolts(record), record.fs_hz), np.float64)
    return np.sort(np.round(found[np.isfinite(found)]).astype(np.int64))
