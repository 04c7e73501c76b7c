"""Scores R-peak detection on a folder of WFDB records, alone or beside other Python detectors.

python -m bench.qrs ../shared/data/ecg/mitdb --peers --json qrs.json --plot qrs.png
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import qrs_peers
from bench.qrs_scoring import Indices, Record, Score, load, record_names, score
from bench.report import machine
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
    if detector != OURS:
        return qrs_peers.detect(detector, record)
    begin = time.process_time()
    return stream(record), time.process_time() - begin


def row(wide: Score, narrow: Score, cpu_s: float, samples: int) -> dict[str, Any]:
    """Returns one line of the table."""
    return {
        "tp": wide.tp,
        "fp": wide.fp,
        "fn": wide.fn,
        "se": wide.se,
        "ppv": wide.ppv,
        "f1": wide.f1,
        "mae_ms": wide.mae_ms if wide.tp else None,
        "se_50ms": narrow.se,
        "ppv_50ms": narrow.ppv,
        "cpu_s": cpu_s,
        "msamples_per_s": samples / max(cpu_s, 1e-9) / 1e6,
    }


class Table:
    """Scores of one detector, record by record.

    Attributes:
        records: One line a record.
        failed: Records that the detector raised an error on: they count as if it had found nothing.
    """

    def __init__(self, detector: str, skip_s: float) -> None:
        self.detector = detector
        self.records: dict[str, Any] = {}
        self.failed: list[str] = []
        self._skip_s = skip_s
        self._scores = [Score(0, 0, 0, np.zeros(0))] * 2
        self._cpu_s, self._samples = 0.0, 0

    def add(self, record: Record) -> None:
        """Runs the detector on a record.

        Raises:
            ImportError: A peer is not installed.
        """
        try:
            if not self.records:
                self._warm_up(record)
            found, seconds = run(self.detector, record)
        except ImportError:
            raise
        except Exception as error:  # a peer may fail in its own ways; the table says which records it failed on
            self.failed.append(f"{record.name}: {type(error).__name__}: {error}")
            found, seconds = np.zeros(0, np.int64), 0.0
        scores = [score(record, found, window_s, self._skip_s) for window_s in (0.15, 0.05)]
        self.records[record.name] = row(*scores, seconds, len(record.samples))
        self._scores = [a + b for a, b in zip(self._scores, scores, strict=True)]
        self._cpu_s, self._samples = self._cpu_s + seconds, self._samples + len(record.samples)

    def _warm_up(self, record: Record) -> None:
        """Runs the detector once before it is timed: imports and compilation are no part of its speed."""
        try:
            run(self.detector, replace(record, samples=record.samples[: round(60 * record.fs_hz)]))
        except ImportError:
            raise
        except Exception:  # noqa: S110 - what a peer makes of a minute is not scored
            pass

    @property
    def total(self) -> dict[str, Any]:
        """All records together."""
        return row(*self._scores, self._cpu_s, self._samples)

    @property
    def result(self) -> dict[str, Any]:
        """What is written."""
        return {"total": self.total, "records": self.records, "failed": self.failed}


HEADER = f"{'':22}{'TP':>8}{'FP':>7}{'FN':>7}{'Se %':>9}{'PPV %':>9}{'F1 %':>9}{'MAE ms':>8}"
HEADER += f"{'Se 50ms':>9}{'PPV 50ms':>10}{'Ms/s':>8}"


def line(name: str, values: dict[str, Any]) -> str:
    """Returns one line of text."""
    counts = f"{name:22}{values['tp']:8}{values['fp']:7}{values['fn']:7}"
    shares = f"{values['se']:9.3f}{values['ppv']:9.3f}{values['f1']:9.3f}{values['mae_ms'] or 0.0:8.2f}"
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
    left.margins(x=0.2)
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
    names = record_names(folder, annotator)
    installed = [peer for peer in qrs_peers.PEERS if qrs_peers.version(peer)] if peers else []
    for absent in [peer for peer in qrs_peers.PEERS if peers and peer not in installed]:
        typer.echo(f"{absent} is not installed: uv sync --group peers", err=True)
    tables = [Table(detector, skip_s) for detector in [OURS, *installed]]
    unread: dict[str, str] = {}
    typer.echo(HEADER)
    for name in names:
        try:
            record = load(folder, name, annotator, channel)
        except Exception as error:  # one damaged file of a folder must not hide the scores of the others
            unread[name] = f"{type(error).__name__}: {error}"
            typer.echo(f"{name} cannot be read: {unread[name]}", err=True)
            continue
        for table in list(tables):
            try:
                table.add(record)
            except ImportError as error:  # a peer that lacks a part of its own has no place in the table
                typer.echo(f"{table.detector} does not run here: {error}", err=True)
                tables.remove(table)
        typer.echo(line(name, tables[0].records[name]))
    if len(unread) == len(names):
        typer.echo(f"no readable record with .{annotator} annotations in {folder}", err=True)
        raise typer.Exit(2)
    for table in tables:
        typer.echo(line(table.detector, table.total))
        for failure in table.failed:
            typer.echo(f"  failed on {failure}", err=True)
    if json_file:
        ours, others = tables[0], {table.detector: table.result for table in tables[1:]}
        about = {
            **machine(),
            "command": f"bench.qrs --annotator {annotator} --channel {channel} --skip-s {skip_s:g}",
            "peers": {peer: qrs_peers.version(peer) for peer in others},
        }
        result = {**ours.result, "unread": unread, "peers": others, "about": about}
        json_file.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    if plot_file:
        plot({table.detector: table.result for table in tables}, plot_file)


if __name__ == "__main__":
    typer.run(main)
