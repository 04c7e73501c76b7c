"""The data lake: bytes a row takes, what compression gains on waveforms, how fast it is written and read.

Rows are those of the file runner on recorded patients: the MIT-BIH Arrhythmia Database where `VITALS_DATA` names it,
else the sample of this repository. They go through the sink's own writer, an epoch a minute, and are merged as it
merges. Other encodings of the same samples are for comparison; the lake does not use them. Times are CPU time of this
process, all its threads; reads are medians.

    python bench/lake.py [--seconds 600] [--repeat 5] [--json FILE]
"""

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from report import publish

from connectors.batch.work import steps
from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.lake.layout import folders
from connectors.lake.merge import merge, small
from connectors.lake.read import current, scan
from connectors.lake.sink import LakePartition
from dataflows.monitor.rows import StoredRows
from dataflows.settings import LakeSettings, Settings

EPOCH_NS = 60_000_000_000


def recordings(seconds: float) -> list[Any]:
    """The first seconds of every record."""
    folder = Path(os.environ.get("VITALS_DATA", "")) / "ecg" / "mitdb"
    paths = sorted(path.with_suffix("") for path in folder.glob("*.hea")) or list(samples.ALL)
    return [load(path).cut(seconds) for path in paths]


def epochs(seconds: float) -> tuple[str, list[list[StoredRows]], int]:
    """Rows by epoch of log time, and the waveforms' bytes as int16."""
    found = recordings(seconds)
    plan = Plan(found, speed=0, start_ns=1_795_000_000_000_000_000, boot=1)
    by_epoch: dict[int, list[StoredRows]] = {}
    for step in steps(Settings(), plan):
        epoch = step.output.log_ns // EPOCH_NS
        for source in (step.output, *step.verdicts):
            by_epoch.setdefault(epoch, []).append(StoredRows([(name, list(rows)) for name, rows in source.rows()]))
    raw = sum(wave.counts.nbytes for recording in found for wave in recording.waves)
    return f"{len(found)} records, {seconds:.0f} s each", [rows for _, rows in sorted(by_epoch.items())], raw


def table_rows(root: Path, when: str) -> list[dict[str, Any]]:
    """Bytes of each table."""
    tables = sorted(path.name for path in root.iterdir())
    rows = []
    for table in tables:
        files = current(root, table)
        size = sum(path.stat().st_size for path in files)
        count = scan(root, table).select(pl.len()).collect().item()
        rows.append({"what": f"{table}, {when}", "files": len(files), "rows": count, "bytes a row": size / count})
    return rows


def encodings(root: Path, raw: int) -> list[dict[str, Any]]:
    """The merged waveforms as they are, and the same samples written otherwise."""
    frame = pl.concat(pl.read_parquet(path, hive_partitioning=False) for path in current(root, "waveforms"))
    sizes = {"Parquet, zstd 12 (the lake)": sum(path.stat().st_size for path in current(root, "waveforms"))}
    for name, options in (("zstd 3", ("zstd", 3)), ("lz4", ("lz4", None)), ("none", ("uncompressed", None))):
        file = io.BytesIO()
        frame.write_parquet(file, compression=options[0], compression_level=options[1])  # type: ignore[arg-type]
        sizes[f"Parquet, {name}"] = len(file.getvalue())
    physical = frame.with_columns(pl.col("samples").cast(pl.List(pl.Float64)) * pl.col("lsb"))
    file = io.BytesIO()
    physical.write_parquet(file, compression="zstd", compression_level=12)
    sizes["Parquet of float64 mV, zstd 12"] = len(file.getvalue())
    table = pa.table({"samples": frame["samples"].to_arrow().cast(pa.list_(pa.int16()))})
    file = io.BytesIO()
    delta = {"samples.list.element": "DELTA_BINARY_PACKED"}
    pq.write_table(table, file, compression="zstd", use_dictionary=False, column_encoding=delta)
    sizes["samples alone, DELTA_BINARY_PACKED and zstd (pyarrow)"] = len(file.getvalue())
    return [{"what": name, "MB": size / 1e6, "int16 bytes / bytes": raw / size} for name, size in sizes.items()]


def reads(root: Path, repeat: int) -> list[dict[str, Any]]:
    """Reading all samples, and one patient's."""
    base = root / "waveforms"
    patient = scan(root, "waveforms").select(pl.col("patient").first()).collect().item()
    pattern = f"{base}/**/*.parquet"
    ways: dict[str, Callable[[], int]] = {
        "polars": lambda: _length(scan(root, "waveforms")),
        "polars, one patient": lambda: _length(scan(root, "waveforms").filter(patient=patient)),
        "DuckDB": lambda: _duck(f"SELECT samples FROM '{pattern}'"),
        "DuckDB, one patient": lambda: _duck(f"SELECT samples FROM '{pattern}' WHERE patient = '{patient}'"),
        "pyarrow": lambda: len(pa.compute.list_flatten(ds.dataset(base, partitioning="hive").to_table()["samples"])),
    }
    rows = []
    for name, read in ways.items():
        spent, taken, count = [], [], 0
        for _ in range(repeat):
            began, wall = time.process_time(), time.perf_counter()
            count = read()
            spent.append(time.process_time() - began)
            taken.append(time.perf_counter() - wall)
        cpu_s = statistics.median(spent)
        rows.append(
            {
                "what": name,
                "samples": count,
                "wall ms": 1e3 * statistics.median(taken),
                "CPU ms": 1e3 * cpu_s,
                "million samples a CPU second": count / cpu_s / 1e6,
            }
        )
    return rows


def _length(frame: pl.LazyFrame) -> int:
    return int(frame.select("samples").collect()["samples"].explode().len())


def _duck(query: str) -> int:
    table = duckdb.sql(query).to_arrow_table()
    return len(pa.compute.list_flatten(table["samples"]))


def main() -> None:
    """Writes, merges, reads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    what, parts, raw = epochs(arguments.seconds)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        # Files are merged below, in one go, so that the table shows both.
        writer = LakePartition(LakeSettings(root=root, merge_files=10_000), 0, "6a1b", None)
        began, count = time.process_time(), 0
        for rows in parts:
            writer.write_batch(list(rows))
            writer.snapshot()
            count += sum(len(some) for source in rows for _, some in source.rows())
        write_s = time.process_time() - began
        tables = table_rows(root, "as written")
        began = time.process_time()
        for place in folders(root, 0):
            sources = small(place, 10_000, "6a1b", 1 << 40)
            if len(sources) > 1:
                merge(place, sources)
        merge_s = time.process_time() - began
        tables += table_rows(root, "merged")
        speed = [
            {"what": "written", "rows": count, "CPU s": write_s, "rows a CPU second": count / write_s},
            {"what": "merged", "rows": count, "CPU s": merge_s, "rows a CPU second": count / merge_s},
        ]
        sizes, read = encodings(root, raw), reads(root, arguments.repeat)
    for title, some in (("tables", tables), ("samples", sizes), ("speed", speed), ("reading", read)):
        print(f"\n{title}: {what}")
        file = arguments.json and arguments.json.with_stem(f"{arguments.json.stem}-{title}")
        publish({"what": what, "rows": some}, file)


if __name__ == "__main__":
    main()
