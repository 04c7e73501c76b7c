"""R-peak detection through other devices: recordings changed as another device would have made them, ours beside peers.

python -m bench.qrs_devices ../shared/data/ecg/mitdb --noise ../shared/data/ecg/nstdb --json qrs_devices.json

The shipped weights know the patients of MIT-BIH, not these devices: read a column from the first row downwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
import wfdb

from bench.qrs import OURS, Table
from bench.qrs_scoring import INVALID, Indices, Record, load, record_names
from bench.report import machine

Signal = npt.NDArray[np.float64]
Change = Callable[[Record], Record]

PEERS = ("sleepecg", "wfdb.xqrs")
"""The fastest of the peers, and the one most people use."""

UNITS_PER_MV = 1000.0


def millivolts(record: Record) -> Signal:
    """Returns a record's signal in millivolts about its median."""
    values = record.samples.astype(np.float64) / record.gain
    return np.asarray(values - np.median(values))


def digital(record: Record, signal: Signal, fs_hz: float, step_mv: float = 1 / UNITS_PER_MV) -> Record:
    """Returns the record with another signal, rate and converter step, reference beats moved along."""

    def at(samples: Indices) -> Indices:
        return np.round(samples * fs_hz / record.fs_hz).astype(np.int64)

    samples = np.clip(np.round(signal / step_mv), INVALID + 1, -INVALID - 1).astype(np.int16)
    excluded = [(round(a * fs_hz / record.fs_hz), round(b * fs_hz / record.fs_hz)) for a, b in record.excluded]
    gain = 1 / step_mv
    return replace(record, samples=samples, fs_hz=fs_hz, gain=gain, beats=at(record.beats), excluded=excluded)


def resampled(fs_hz: float) -> Change:
    """Another sampling rate, with the filter against aliases that a device has."""

    def change(record: Record) -> Record:
        from scipy.signal import resample_poly

        ratio = Fraction(fs_hz / record.fs_hz).limit_denominator(1000)
        return digital(record, resample_poly(millivolts(record), ratio.numerator, ratio.denominator), fs_hz)

    return change


def banded(low_hz: float, high_hz: float) -> Change:
    """An amplifier of narrow band, second order, forward only."""

    def change(record: Record) -> Record:
        from scipy.signal import butter, sosfilt

        band = butter(2, [low_hz, high_hz], "bandpass", fs=record.fs_hz, output="sos")
        return digital(record, sosfilt(band, millivolts(record)), record.fs_hz)

    return change


def coarse(record: Record) -> Record:
    """A converter of 8 bits over 10 mV."""
    return digital(record, millivolts(record), record.fs_hz, 10 / 256)


def inverted(record: Record) -> Record:
    """Electrodes exchanged."""
    return digital(record, -millivolts(record), record.fs_hz)


def humming(record: Record) -> Record:
    """Mains of 50 Hz, 0.2 mV."""
    time_s = np.arange(len(record.samples)) / record.fs_hz
    return digital(record, millivolts(record) + 0.2 * np.sin(2 * np.pi * 50 * time_s), record.fs_hz)


def moving(noise: Signal, snr_db: float) -> Change:
    """Electrodes that move: the noise `em`, which no training used."""

    def change(record: Record) -> Record:
        signal = millivolts(record)
        added = np.resize(noise, len(signal))
        # as in the noise stress test: the signal's power is that of a QRS of its usual size
        near = round(0.05 * record.fs_hz)
        size = np.median([np.ptp(signal[max(0, b - near) : b + near]) for b in record.beats[:300]])
        scale = size / np.sqrt(8) / added.std() / 10 ** (snr_db / 20)
        return digital(record, signal + scale * added, record.fs_hz)

    return change


def wearable(noise: Signal) -> Change:
    """All at once: 0.67 to 25 Hz, 8 bits, 128 Hz, moving electrodes at 6 dB."""

    def change(record: Record) -> Record:
        return coarse(resampled(128.0)(banded(0.67, 25.0)(moving(noise, 6.0)(record))))

    return change


def part(record: Record, seconds: int) -> Record:
    """The first seconds of a record."""
    until = round(seconds * record.fs_hz)
    inside = record.beats < until
    codes = [code for code, keep in zip(record.codes, inside, strict=True) if keep]
    return replace(record, samples=record.samples[:until], beats=record.beats[inside], codes=codes)


def devices(noise: Signal) -> dict[str, Change]:
    """Returns every device by name."""
    return {
        "as recorded": lambda record: record,
        "128 Hz": resampled(128.0),
        "250 Hz": resampled(250.0),
        "500 Hz": resampled(500.0),
        "0.67-25 Hz": banded(0.67, 25.0),
        "0.05-150 Hz": banded(0.05, 150.0),
        "8 bits": coarse,
        "inverted": inverted,
        "hum 0.2 mV": humming,
        "em noise 6 dB": moving(noise, 6.0),
        "wearable": wearable(noise),
    }


def main(
    folder: Annotated[Path, typer.Argument(help="folder of WFDB records", exists=True, file_okay=False)],
    *,
    noise: Annotated[Path, typer.Option(help="folder with the noise record em", exists=True, file_okay=False)],
    seconds: Annotated[int, typer.Option(help="seconds of each record to use")] = 60,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the table there")] = None,
) -> None:
    """Scores detectors on a folder as other devices would have recorded it."""
    em: Any = wfdb.rdrecord(str(noise / "em"), channels=[0])
    changes = devices(em.p_signal[:, 0])
    detectors = (OURS, *PEERS)
    typer.echo(f"{'F1 %':18}" + "".join(f"{name:>22}" for name in detectors))
    rows: dict[str, Any] = {}
    leads = [
        [part(load(folder, name, channel=channel), seconds) for name in record_names(folder)] for channel in (0, 1)
    ]
    for device, channel in [*((device, 0) for device in changes), ("second lead", 1)]:
        tables = [Table(detector, 0.0) for detector in detectors]
        for lead in leads[channel]:
            record = changes.get(device, lambda r: r)(lead)
            for table in tables:
                table.add(record)
        rows[device] = {table.detector: {**table.total, "failed": table.failed} for table in tables}
        typer.echo(f"{device:18}" + "".join(f"{rows[device][name]['f1']:22.2f}" for name in detectors))
    if json_file:
        result = {"rows": rows, "about": {**machine(), "seconds": seconds}}
        json_file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    typer.run(main)
