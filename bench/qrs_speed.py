"""Speed of R-peak detection through `QrsBank`: many patients in one call, full output, CPU time.

python -m bench.qrs_speed ../shared/data/ecg/mitdb --json qrs_speed.json
"""

from __future__ import annotations

import json
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from bench.qrs_scoring import load, record_names
from dataflows.detectors import QrsBank

FS_HZ = 250.0


def recordings(folder: Path, seconds: int) -> list[npt.NDArray[np.int16]]:
    """Returns the beginning of every record at 250 Hz."""
    signals = []
    for name in record_names(folder):
        record = load(folder, name)
        at = np.arange(int(seconds * FS_HZ)) * record.fs_hz / FS_HZ
        signals.append(np.interp(at, np.arange(len(record.samples)), record.samples).astype(np.int16))
    return signals


def measure(signals: list[npt.NDArray[np.int16]], patients: int, chunk: int, rounds: int) -> dict[str, Any]:
    """Pushes `rounds` chunks to every patient, each with a record of its own phase, and times the calls."""
    bank, beats, rates = QrsBank(FS_HZ, patients), 0, []
    offsets = np.arange(patients + 1, dtype=np.int64) * chunk
    usable = len(signals[0]) // chunk
    for turn in range(rounds):
        places = [(turn + 7 * patient) % usable * chunk for patient in range(patients)]
        chunks = [signals[p % len(signals)][at : at + chunk] for p, at in enumerate(places)]
        samples = np.concatenate(chunks)
        begin = time.thread_time()
        out = bank.push(samples, offsets)
        rates.append(patients * chunk / max(time.thread_time() - begin, 1e-9) / 1e6)
        beats += len(out.sample)
    warm = rates[len(rates) // 4 :]
    return {
        "patients": patients,
        "chunk_ms": 1000 * chunk / FS_HZ,
        "median_msamples_per_s": float(np.median(warm)),
        "best_msamples_per_s": float(np.max(warm)),
        "beats_per_patient_and_s": beats / patients / (rounds * chunk / FS_HZ),
    }


def main(
    folder: Annotated[Path, typer.Argument(help="folder of WFDB records", exists=True, file_okay=False)],
    *,
    seconds: Annotated[int, typer.Option(help="seconds of each record to use")] = 120,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the table there")] = None,
) -> None:
    """Measures samples per CPU second of one core with peaks, labels and quality."""
    signals = recordings(folder, seconds)
    rows = []
    typer.echo(f"{'patients':>8} {'chunk ms':>8} {'median':>8} {'best':>8}   million samples per CPU second")
    for patients in (100, 1000, 10_000):
        for chunk in (25, 250):
            rows.append(measure(signals, patients, chunk, 40 * 250 // chunk if patients < 10_000 else 40))
            r = rows[-1]
            rates = f"{r['median_msamples_per_s']:8.1f} {r['best_msamples_per_s']:8.1f}"
            typer.echo(f"{patients:8} {r['chunk_ms']:8.0f} {rates}")
    if json_file:
        about = {"date": datetime.now(UTC).date().isoformat(), "machine": platform.platform()}
        json_file.write_text(json.dumps({"rows": rows, "about": about}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
