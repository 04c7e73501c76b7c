"""Scores R-peak detection on a folder of WFDB records, alone or beside other Python detectors.

python -m bench.qrs ../shared/data/ecg/mitdb --peers --json qrs.json --plot qrs.png
"""

from __future__ import annotations

import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import qrs_peers
from bench.qrs_scoring import Indices, Record, Score, load, record_names, score
from dataflows.detectors import QrsDetector

OURS = "QrsDetector"
CHUNK_S = 1.0


def stream(record: Record) -> Indices:
    """Runs the streaming detector as a gateway would: one second at a time."""
    detector, size = QrsDetector(record.fs_hz), round(CHUNK_S * record.fs_hz)
    beats = [detector.push(record.samples[at : at + size]) for at in range(0, len(record.samples), size)]
    return np.concatenate([*beats, detector.flush()])


def run(detector: str, record: Record) -> tuple[Indices, float]:
    """Returns the R peaks of one record and the CPU seconds they took."""
    begin = time.process_time()
    found = stream(record) if detector == OURS else qrs_peers.detect(detector, record)
    return found, time.process_time() - begin


def row(wide: Score, narrow: Score, cpu_s: float, samples: int) -> dict[str, Any]:
    """Returns one line of the table."""
    return {
        "tp": wide.tp,
        "fp": wide.fp,
        "fn": wide.fn,
        "se": wide.se,
        "ppv": wide.ppv,
        "f1": wide.f1,
        "mae_ms": wide.mae_ms,
        "se_50ms": narrow.se,
        "ppv_50ms": narrow.ppv,
        "cpu_s": cpu_s,
        "msamples_per_s": samples / max(cpu_s, 1e-9) / 1e6,
    }


def table(detector: str, records: list[Record], skip_s: float) -> dict[str, Any]:
    """Scores one detector on all records; a record that it fails on counts as if it had found nothing."""
    rows: dict[str, Any] = {}
    total = narrow_total = Score(0, 0, 0, np.zeros(0))
    cpu_s, samples, failed = 0.0, 0, []
    for record in records:
        try:
            found, seconds = run(detector, record)
        except ImportError:
            raise
        except Exception as error:  # a peer may fail in its own ways; the table says which records it failed on
            failed.append(f"{record.name}: {error}")
            found, seconds = np.zeros(0, np.int64), 0.0
        wide, narrow = score(record, found, 0.15, skip_s), score(record, found, 0.05, skip_s)
        rows[record.name] = row(wide, narrow, seconds, len(record.samples))
        total, narrow_total = total + wide, narrow_total + narrow
        cpu_s, samples = cpu_s + seconds, samples + len(record.samples)
    return {"total": row(total, narrow_total, cpu_s, samples), "records": rows, "failed": failed}


HEADER = f"{'':22}{'TP':>8}{'FP':>7}{'FN':>7}{'Se %':>9}{'PPV %':>9}{'F1 %':>9}{'MAE ms':>8}"
HEADER += f"{'Se 50ms':>9}{'PPV 50ms':>10}{'Ms/s':>8}"


def line(name: str, values: dict[str, Any]) -> str:
    """Returns one line of text."""
    counts = f"{name:22}{values['tp']:8}{values['fp']:7}{values['fn']:7}"
    shares = f"{values['se']:9.3f}{values['ppv']:9.3f}{values['f1']:9.3f}{values['mae_ms']:8.2f}"
    return counts + shares + f"{values['se_50ms']:9.3f}{values['ppv_50ms']:10.3f}{values['msamples_per_s']:8.1f}"


def plot(results: dict[str, Any], path: Path) -> None:
    """Draws F1 against speed, and the errors per record of the detector under test."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5))
    for name, result in results.items():
        total = result["total"]
        left.scatter(total["msamples_per_s"], total["f1"], color="crimson" if name == OURS else "steelblue")
        left.annotate(name, (total["msamples_per_s"], total["f1"]), fontsize=8)
    left.set(xscale="log", xlabel="million samples per CPU second", ylabel="F1 %", title="accuracy and speed")
    rows = sorted(results[OURS]["records"].items(), key=lambda item: -(item[1]["fp"] + item[1]["fn"]))[:16]
    names = [name for name, _ in rows]
    right.bar(names, [r["fp"] for _, r in rows], label="false")
    right.bar(names, [r["fn"] for _, r in rows], bottom=[r["fp"] for _, r in rows], label="missed")
    right.set(title=f"{OURS}: beats false and missed, worst records")
    right.tick_params(axis="x", rotation=70)
    right.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main(
    folder: Annotated[Path, typer.Argument(help="folder of WFDB records", exists=True, file_okay=False)],
    *,
    annotator: Annotated[str, typer.Option(help="annotation file extension")] = "atr",
    channel: Annotated[int, typer.Option(help="channel of the records")] = 0,
    skip_s: Annotated[float, typer.Option(help="seconds at the start that are not scored")] = 0.0,
    peers: Annotated[bool, typer.Option("--peers", help="score the other detectors too")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the table there")] = None,
    plot_file: Annotated[Path | None, typer.Option("--plot", help="draw the table there")] = None,
) -> None:
    """Scores R-peak detection on a folder of WFDB records."""
    records = [load(folder, name, annotator, channel) for name in record_names(folder, annotator)]
    if not records:
        typer.echo(f"no records with .{annotator} annotations in {folder}", err=True)
        raise typer.Exit(2)
    installed = [peer for peer in qrs_peers.PEERS if qrs_peers.version(peer)] if peers else []
    for absent in [peer for peer in qrs_peers.PEERS if peers and peer not in installed]:
        typer.echo(f"{absent} is not installed: uv sync --group peers (systole: pip, it holds NumPy back)", err=True)
    results: dict[str, Any] = {}
    typer.echo(HEADER)
    for detector in [OURS, *installed]:
        results[detector] = table(detector, records, skip_s)
        if detector == OURS:
            for name, values in results[detector]["records"].items():
                typer.echo(line(name, values))
        typer.echo(line(detector, results[detector]["total"]))
        for failure in results[detector]["failed"]:
            typer.echo(f"  failed on {failure}", err=True)
    if json_file:
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{platform.machine()}, {platform.platform()}",
            "python": sys.version.split()[0],
            "versions": {peer: qrs_peers.version(peer) for peer in installed},
        }
        ours = {key: results[OURS][key] for key in ("total", "records")}
        others = {peer: results[peer] for peer in installed}
        json_file.write_text(json.dumps({**ours, "peers": others, "about": about}, indent=1) + "\n")
    if plot_file:
        plot(results, plot_file)


if __name__ == "__main__":
    typer.run(main)
