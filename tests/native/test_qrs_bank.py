"""Many leads in one call: the same output as one detector each, and Python goes on meanwhile."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt
import pytest

from dataflows.detectors import QrsBank, QrsDetector

FS = 250.0
LEADS = 7


def heartbeats(rng: np.random.Generator, seconds: float) -> npt.NDArray[np.int16]:
    """Narrow peaks of one period with some noise and a few invalid samples."""
    count, period = int(seconds * FS), int(rng.integers(120, 300))
    near = np.arange(count) % period - 20
    height = int(rng.integers(200, 1500))
    samples = np.maximum(height - np.abs(near) * height // 8, 0) + rng.normal(0, 8, count)
    samples[rng.random(count) < 0.001] = -32768
    return samples.astype(np.int16)


def test_a_bank_gives_what_single_detectors_give() -> None:
    rng = np.random.default_rng(8)
    signals = [heartbeats(rng, 40 + lead) for lead in range(LEADS)]
    bank, singles = QrsBank(FS, LEADS), [QrsDetector(FS) for _ in range(LEADS)]
    at = [0] * LEADS
    beats = 0
    while any(a < len(s) for a, s in zip(at, signals, strict=True)):
        chunks = []
        for lead, signal in enumerate(signals):
            size = int(rng.integers(0, 400))
            chunks.append(signal[at[lead] : at[lead] + size])
            at[lead] += len(chunks[lead])
        offsets = np.concatenate([[0], np.cumsum([len(c) for c in chunks])]).astype(np.int64)
        out = bank.push(np.concatenate(chunks), offsets)
        beats += len(out.sample)
        for lead, (single, chunk) in enumerate(zip(singles, chunks, strict=True)):
            expected = single.push_full(chunk)
            for field in ("sample", "confidence", "label", "late"):
                np.testing.assert_array_equal(getattr(out, field)[out.lead == lead], getattr(expected, field))
            for field in ("quality_sample", "quality", "reasons"):
                np.testing.assert_array_equal(getattr(out, field)[out.quality_lead == lead], getattr(expected, field))
            assert bank.snapshot(lead) == single.snapshot()
        moved = int(rng.integers(LEADS))
        bank.restore(moved, bank.snapshot(moved))
    assert beats > LEADS * 30
    last = bank.flush()
    for lead, single in enumerate(singles):
        np.testing.assert_array_equal(last.sample[last.lead == lead], single.flush())


def test_other_python_threads_run_while_a_bank_works() -> None:
    rng = np.random.default_rng(9)
    signal = np.tile(heartbeats(rng, 60), 60)
    bank, leads = QrsBank(FS, 20), 20
    samples, offsets = np.tile(signal, leads), np.arange(leads + 1, dtype=np.int64) * len(signal)

    def ran() -> bool:
        ticks: list[float] = []
        stop = threading.Event()

        def tick() -> None:
            while not stop.is_set():
                ticks.append(time.perf_counter())

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            begin = time.perf_counter()
            bank.push(samples, offsets)
            end = time.perf_counter()
        finally:
            stop.set()
            thread.join()
        quarter = (end - begin) / 4
        return sum(begin + quarter < at < end - quarter for at in ticks) > 10

    # A machine that stands still stops the other thread, too; a bank that keeps the interpreter stops it each time.
    assert any(ran() for _ in range(3))


def test_a_bank_refuses_what_does_not_fit() -> None:
    bank = QrsBank(FS, 2)
    samples = np.zeros(10, np.int16)
    for offsets in ([0, 5], [0, 5, 11], [0, 6, 5], [-1, 5, 10]):
        with pytest.raises(ValueError, match="offsets"):
            bank.push(samples, np.array(offsets, np.int64))
    with pytest.raises(TypeError, match="int16"):
        bank.push(samples.astype(np.float64), np.array([0, 5, 10], np.int64))  # type: ignore[arg-type] # refused here
    with pytest.raises(IndexError):
        bank.snapshot(2)
    with pytest.raises(ValueError, match="Hz"):
        bank.restore(0, QrsDetector(128.0).snapshot())
    with pytest.raises(ValueError, match="snapshot"):
        bank.restore(0, b"QRSD")
