"""Respiration rate from the ECG against the monitor's own, on the BIDMC recordings.

`python -m bench.respiration DIR` streams lead II of every recording that has signals through the R-peak detector and
compares, each second after the first minute, with the column RESP of the numerics (impedance, by the monitor).
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from dataflows._native import QrsDetector, Respiration

FS_HZ = 125.0
BEGIN_S = 60
QUALITY = 0.35
"""Least clearness of a rate that is compared in the second column."""

Floats = npt.NDArray[np.float64]


def rates(signal: Floats, seconds: int) -> Floats:
    """Rate and clearness at each second, NaN where there is none; a second uses the beats that are certain by then."""
    detector, respiration = QrsDetector(FS_HZ), Respiration()
    found = np.full((seconds, 2), np.nan)
    last: int | None = None
    for second in range(seconds):
        chunk = signal[round(second * FS_HZ) : round((second + 1) * FS_HZ)]
        for beat in detector.push(np.ascontiguousarray(chunk)).tolist():
            around = signal[max(0, beat - 6) : beat + 7]
            interval = (beat - last) / FS_HZ if last is not None else float("nan")
            respiration.push(beat / FS_HZ, interval if interval < 2.0 else float("nan"), float(np.ptp(around)))
            last = beat
        found[second] = respiration.rate() or (np.nan, np.nan)
    return found


def main() -> None:
    """Prints the mean absolute error of each recording and over all seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    begun, records, pooled = time.perf_counter(), {}, []
    for path in sorted((options.folder / "signals_parquet").glob("*_Signals.parquet")):
        name = path.stem.removesuffix("_Signals")
        numerics = pl.read_csv(options.folder / f"{name}_Numerics.csv", null_values=["NaN", ""])
        monitor = numerics.rename(str.strip)["RESP"].cast(pl.Float64).to_numpy()
        found = rates(pl.read_parquet(path)["II"].to_numpy().astype(np.float64), len(monitor))
        rows = np.column_stack([np.abs(found[:, 0] - monitor), found[:, 1]])[BEGIN_S:]
        rows = rows[np.isfinite(rows).all(axis=1) & (monitor[BEGIN_S:] > 0)]
        clear = rows[rows[:, 1] >= QUALITY]
        pooled.append(rows)
        records[name] = {
            "mae_per_min": float(rows[:, 0].mean()) if len(rows) else None,
            "mae_clear_per_min": float(clear[:, 0].mean()) if len(clear) else None,
            "seconds": len(rows),
            "clear": len(clear),
        }
        print(f"{name}  {json.dumps(records[name])}")
    every = np.concatenate(pooled)
    clear = every[every[:, 1] >= QUALITY]
    total = {
        "mae_per_min": float(every[:, 0].mean()),
        "median_error_per_min": float(np.median(every[:, 0])),
        "mae_clear_per_min": float(clear[:, 0].mean()),
        "share_clear": len(clear) / len(every),
        "recordings": len(records),
    }
    print(f"total  {json.dumps(total)}  in {time.perf_counter() - begun:.1f} s")
    if options.json:
        options.json.write_text(json.dumps({"total": total, "records": records}, indent=1))


if __name__ == "__main__":
    main()
