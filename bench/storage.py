"""What storing costs: rows a second, milliseconds a write, CPU of client and server, by patients and batches a second.

The mix is the flow's: per patient and second one ECG chunk of 250 samples, one SpO2 reading, 1.2 beats. `paced` lines
write at life's speed, each second cut into so many `write_batch` calls; `flat out` writes the same as fast as it goes.
`group_ms` 0 gives each batch a transaction and waits for its acknowledgement; otherwise the end of the epoch waits.

    python bench/storage.py [--seconds 15] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from connectors.questdb.sink import QuestDBSink
from dataflows.settings import StackSettings
from tests.servers import QuestDB

T0_NS = 1_764_000_000_000_000_000
BEATS_PER_10 = 12
"""Beats of a patient in ten seconds: 72 a minute."""
EPOCH_S = 2
_TICKS = os.sysconf("SC_CLK_TCK")


class Second:
    """One second of some patients: what the flow hands to the sink."""

    def __init__(self, patients: range, second: int, samples: np.ndarray) -> None:
        self._patients, self._second, self._samples = patients, second, samples

    def rows(self) -> Any:
        """Yields the rows per table."""
        second, ts = self._second, T0_NS + self._second * 1_000_000_000
        log_ns = ts + 20_000_000
        # Patients' clocks are not in step.
        frames = [
            (ts + p * 997_001, "main", f"p{p:05d}", f"patch-{p:05d}", 1, "ecg_ii", second) for p in self._patients
        ]
        yield (
            "waveforms",
            [(*f, 250.0, 0.005, 0, False, second * 250, self._samples, f[0], log_ns) for f in frames],
        )
        readings = [(*f[:5], "numeric", second) for f in frames]
        yield (
            "observations",
            [(*f, "spo2", 97.0, "%", 0, 0, False, False, 4.0, second, f[0], log_ns) for f in readings],
        )
        beats = BEATS_PER_10 * (second + 1) // 10 - BEATS_PER_10 * second // 10
        yield (
            "beats",
            [(*f, second * 250 + b, "qrs", 833.0, 0.9, "", log_ns) for f in frames for b in range(beats)],
        )


class Counting:
    """A publisher that counts what went past the database."""

    def __init__(self) -> None:
        self.messages = 0

    def publish_all(self, messages: list[Any]) -> list[int]:
        """Counts."""
        self.messages += len(messages)
        return [0] * len(messages)

    def close(self) -> None:
        """Does nothing."""


@dataclass
class Measurement:
    """One line of the table."""

    commit_mode: str
    group_ms: int
    pace: str
    patients: int
    batches_per_s: int
    rows_per_s: float
    batch_ms_median: float
    batch_ms_p99: float
    epoch_ms_median: float
    epoch_ms_max: float
    waiting_pct: float
    client_cpu_pct: float
    server_cpu_pct: float
    messages_spilled: int


def server_cpu_s(pid: int) -> float:
    """Returns the CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def measure(
    server: QuestDB, mode: str, patients: int, batches_per_s: int, *, group_ms: int, seconds: int, paced: bool
) -> Measurement:
    """Writes `seconds` of patients in `batches_per_s` parts a second, an epoch every `EPOCH_S`."""
    publisher = Counting()
    settings = server.settings.model_copy(update={"group_ms": group_ms})
    part = QuestDBSink(settings, lambda: publisher).build_part("bench", "questdb/0", None)
    samples = np.round(np.random.default_rng(1).normal(0, 100, 250)) * 0.005
    first = int(time.monotonic())  # each run has seconds of its own, so that nothing falls to DEDUP
    cuts = np.linspace(0, patients, batches_per_s + 1).astype(int)
    part.write_batch([Second(range(patients), first - 1, samples)])
    part.snapshot()
    server.reader.wait_applied()
    batch_s: list[float] = []
    epoch_s: list[float] = []
    rows = 0
    client, remote, started = time.process_time(), server_cpu_s(server.pid), time.monotonic()
    for second in range(seconds):
        for n in range(batches_per_s):
            batch: list[Any] = [Second(range(cuts[n], cuts[n + 1]), first + second, samples)]
            rows += sum(len(some) for item in batch for _, some in item.rows())
            if paced:
                time.sleep(max(0.0, started + second + n / batches_per_s - time.monotonic()))
            batch_s.append(timed(lambda batch=batch: part.write_batch(batch)))
        if (second + 1) % EPOCH_S == 0 or second + 1 == seconds:
            epoch_s.append(timed(part.snapshot))
    elapsed = time.monotonic() - started
    client_cpu = time.process_time() - client
    server.reader.wait_applied(timeout_s=120)  # the server's CPU includes applying the log to the tables
    result = Measurement(
        commit_mode=mode,
        group_ms=group_ms,
        pace="paced" if paced else "flat out",
        patients=patients,
        batches_per_s=batches_per_s,
        rows_per_s=round(rows / elapsed),
        batch_ms_median=round(statistics.median(batch_s) * 1e3, 2),
        batch_ms_p99=round(float(np.quantile(batch_s, 0.99)) * 1e3, 1),
        epoch_ms_median=round(statistics.median(epoch_s) * 1e3, 1),
        epoch_ms_max=round(max(epoch_s) * 1e3, 1),
        waiting_pct=round(100 * (sum(batch_s) + sum(epoch_s)) / elapsed, 1),
        client_cpu_pct=round(100 * client_cpu / elapsed, 1),
        server_cpu_pct=round(100 * (server_cpu_s(server.pid) - remote) / elapsed, 1),
        messages_spilled=publisher.messages,
    )
    part.close()
    return result


def timed(call: Callable[[], object]) -> float:
    """Returns how long a call takes, in seconds."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


RUNS = [
    # patients, batches a second, group_ms, paced
    (100, 1, 0, True),
    (100, 20, 0, True),
    (100, 100, 0, True),
    (100, 100, 200, True),
    (1000, 1, 0, True),
    (1000, 20, 0, True),
    (1000, 100, 0, True),
    (1000, 100, 50, True),
    (1000, 100, 200, True),
    (1000, 100, 1000, True),
    (1000, 1, 0, False),
    (1000, 100, 200, False),
]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=15, help="length of each run")
    parser.add_argument("--modes", nargs="+", default=["nosync", "sync"], help="values of cairo.commit.mode")
    parser.add_argument("--json", type=Path, help="also write the table here")
    arguments = parser.parse_args()
    results: list[Measurement] = []
    names = list(Measurement.__dataclass_fields__)
    sys.stdout.write(" | ".join(names) + "\n")
    for mode in arguments.modes:
        with tempfile.TemporaryDirectory() as folder:
            server = QuestDB(Path(folder), {"cairo.commit.mode": mode}).start()
            try:
                for patients, batches, group_ms, paced in RUNS:
                    result = measure(
                        server, mode, patients, batches, group_ms=group_ms, seconds=arguments.seconds, paced=paced
                    )
                    results.append(result)
                    sys.stdout.write(" | ".join(str(value) for value in asdict(result).values()) + "\n")
                    sys.stdout.flush()
            finally:
                server.stop()
    if arguments.json:
        facts = {
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            "questdb_server": StackSettings().questdb_version,
            "questdb_client": version("questdb"),
            "seconds": arguments.seconds,
            "results": [asdict(result) for result in results],
        }
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
