"""The other Python R-peak detectors, each with its own defaults and its own cleaning."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.qrs_apart import APART_COMMAND, SYSTOLE, Apart
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

    # on converter values it is the original program; on millivolts it makes more false beats
    return processing.gqrs_detect(d_sig=np.round(200 * signal).astype(np.int64), fs=fs_hz, adc_gain=200, adc_zero=0)


def _neurokit(method: str, *, clean: bool = True) -> Detect:
    def detect(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
        import neurokit2

        rate = round(fs_hz)
        cleaned = neurokit2.ecg_clean(signal, sampling_rate=rate, method=method) if clean else signal
        return neurokit2.ecg_peaks(cleaned, sampling_rate=rate, method=method)[1]["ECG_R_Peaks"]

    return detect


def _biosppy(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from biosppy.signals import ecg, tools

    order = int(0.3 * fs_hz)
    filtered = tools.filter_signal(
        signal=signal, ftype="FIR", band="bandpass", order=order, frequency=[3, 45], sampling_rate=fs_hz
    )[0]
    peaks = ecg.hamilton_segmenter(signal=filtered, sampling_rate=fs_hz)[0]
    return ecg.correct_rpeaks(signal=filtered, rpeaks=peaks, sampling_rate=fs_hz, tol=0.05)[0]


def _vg(signal: npt.NDArray[np.float64], fs_hz: float) -> Any:
    from vg_beat_detectors import FastNVG

    return FastNVG(sampling_frequency=round(fs_hz)).find_peaks(signal)


_APART = Apart()

PEERS: dict[str, tuple[str, Detect]] = {
    "sleepecg": ("sleepecg", _sleepecg),
    "wfdb.xqrs": ("wfdb", _xqrs),
    "wfdb.gqrs": ("wfdb", _gqrs),
    "neurokit2": ("neurokit2", _neurokit("neurokit")),
    "neurokit2.khamis2016": ("neurokit2", _neurokit("khamis2016", clean=False)),
    "biosppy.hamilton": ("biosppy", _biosppy),
    "systole.pan_tompkins": ("systole", _APART.detect),
    "vg.FastNVG": ("vg-beat-detectors", _vg),
}
"""Name in the table: distribution and detector. khamis2016 has its filters in the detector and no cleaning besides."""


def version(peer: str) -> str:
    """Returns the version of a peer that runs here, or an empty string if it is absent."""
    distribution = PEERS[peer][0]
    if distribution == "systole":
        return SYSTOLE[0].partition("==")[2] if APART_COMMAND.exists() else ""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def detect(peer: str, record: Record) -> tuple[Indices, float]:
    """Runs one peer on one record; returns the R peaks and the CPU seconds they took.

    Raises:
        ImportError: The peer is not installed.
    """
    signal, run = millivolts(record), PEERS[peer][1]
    begin = time.process_time()
    found = np.asarray(run(signal, record.fs_hz), np.float64)
    seconds = _APART.cpu_s if PEERS[peer][0] == "systole" else time.process_time() - begin
    return np.sort(np.round(found[np.isfinite(found)]).astype(np.int64)), seconds
