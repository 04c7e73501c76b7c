"""What other programs may expect of `bench/af.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import wfdb

from tests.bench.program import run

FS_HZ = 250
DELAY_BEATS = 30
Samples = npt.NDArray[np.int64]


def beats(seed: int) -> tuple[Samples, list[tuple[int, str]]]:
    """Regular, then fibrillation, then regular, then flutter that is irregular; the changes of rhythm by sample."""
    rng, parts = np.random.default_rng(seed), []
    for irregular, count in ((False, 400), (True, 500), (False, 400), (True, 200)):
        spread = rng.uniform(-0.25, 0.25, count) if irregular else rng.normal(0, 0.008, count)
        parts.append(0.75 + spread)
    samples = np.cumsum(np.round(np.concatenate(parts) * FS_HZ)).astype(np.int64)
    return samples, [(int(samples[at]), name) for at, name in ((0, "(N"), (400, "(AFIB"), (900, "(N"), (1300, "(AFL"))]


def write(folder: Path, name: str, samples: Samples, changes: list[tuple[int, str]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.hea").write_text(f"# nothing\n{name} 0 {FS_HZ} {int(samples[-1]) + 1}\n")
    wfdb.wrann(name, "qrs", samples, ["N"] * len(samples), fs=FS_HZ, write_dir=str(folder))
    kept = [(sample, text) for sample, text in changes if sample <= samples[-1]]
    wfdb.wrann(
        name, "atr", np.array([sample for sample, _ in kept]), ["+"] * len(kept),
        aux_note=[text for _, text in kept], fs=FS_HZ, write_dir=str(folder),
    )  # fmt: skip


def test_the_document_has_its_shape_and_flutter_is_no_fibrillation(tmp_path: Path) -> None:
    samples, changes = beats(1)
    write(tmp_path / "af", "r1", samples, changes)
    write(tmp_path / "af", "r2", samples[:380], changes[:1])
    found = run("af", tmp_path / "af")
    assert set(found) == {"total", "records"}
    assert set(found["total"]) == {"se", "sp", "ppv", "beats"}
    assert found["total"]["beats"] == len(samples) + 380
    assert set(found["records"]["r1"]) == {"se", "sp", "af"}
    assert found["records"]["r2"] == {"se": None, "sp": 100.0, "af": []}
    times = (samples / FS_HZ).tolist()
    for start_s, end_s in found["records"]["r1"]["af"]:
        assert start_s <= end_s
        assert start_s in times
        assert end_s in times
    first = found["records"]["r1"]["af"][0]
    assert abs(first[0] - times[400]) < 60
    assert abs(first[1] - times[899]) < 45
    # The irregular flutter is found and counts against the specificity.
    assert found["records"]["r1"]["se"] > 80
    assert found["records"]["r1"]["sp"] < 95


def test_a_decision_uses_thirty_later_beats_at_most(tmp_path: Path) -> None:
    samples, changes = beats(2)
    cuts = (430, 450, 500, 880, 930, 960, 1350)
    write(tmp_path / "af", "whole", samples, changes)
    for cut in cuts:
        write(tmp_path / "af", f"cut{cut}", samples[:cut], changes)
    records = run("af", tmp_path / "af")["records"]

    def decided(name: str, count: int) -> list[bool]:
        times, runs = samples[:count] / FS_HZ, records[name]["af"]
        return [any(start <= at <= end for start, end in runs) for at in times.tolist()]

    for cut in cuts:
        assert decided(f"cut{cut}", cut - DELAY_BEATS) == decided("whole", cut - DELAY_BEATS), cut
