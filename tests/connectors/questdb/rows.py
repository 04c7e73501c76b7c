"""Rows as the flow makes them, numbered so that a test can tell them apart."""

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

T0_NS = (time.time_ns() // 10**9 - 3 * 3600) * 10**9
"""Three hours ago: other tests share the database, and what is much older than its newest row is dropped by the TTL."""


def waveform(patient: str, seq: int, **changes: Any) -> tuple[str, tuple[Any, ...]]:
    ts = T0_NS + seq * 1_000_000_000
    samples = np.arange(250, dtype=np.float64) + seq
    row = {
        "ts": ts, "tenant": "main", "patient": patient, "device": "patch", "boot": 1, "signal": "ecg_ii", "seq": seq,
        "fs_hz": 250.0, "lsb": 0.005, "status": 0, "stored": False, "first_sample": seq * 250, "samples": samples,
        "device_ns": ts, "log_ns": ts + 5_000_000,
    }  # fmt: skip
    return "waveforms", tuple((row | changes).values())


def observation(patient: str, seq: int, **changes: Any) -> tuple[str, tuple[Any, ...]]:
    ts = T0_NS + seq * 1_000_000_000
    row = {
        "ts": ts, "tenant": "main", "patient": patient, "device": "oximeter", "boot": 1, "signal": "numeric",
        "seq": seq, "code": "spo2", "value": 97.0 - seq % 5, "unit": "%", "quality_pct": 90, "status": 0,
        "suspect": False, "stored": False, "averaging_s": 4.0, "first_sample": seq, "device_ns": ts,
        "log_ns": ts + 5_000_000,
    }  # fmt: skip
    return "observations", tuple((row | changes).values())


def beat(patient: str, seq: int, sample: int, **changes: Any) -> tuple[str, tuple[Any, ...]]:
    row = {
        "ts": T0_NS + sample * 4_000_000, "tenant": "main", "patient": patient, "device": "patch", "boot": 1,
        "signal": "ecg_ii", "seq": seq, "sample_index": sample, "detector": "qrs", "rr_ms": 800.0, "confidence": 0.9,
        "label": "N", "log_ns": T0_NS,
    }  # fmt: skip
    return "beats", tuple((row | changes).values())


@dataclass
class Output:
    """What reaches the sink: rows per table."""

    table_rows: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def rows(self):
        for table, row in self.table_rows:
            yield table, [row]


class Recorder:
    """A publisher that keeps what it is given, for tests whose subject is QuestDB alone."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict[str, str], bytes]] = []

    def publish_all(self, messages):
        first = len(self.messages) + 1
        self.messages += messages
        return list(range(first, len(self.messages) + 1))

    def close(self) -> None:
        return

    def subjects(self) -> list[str]:
        return [subject for subject, _, _ in self.messages]
