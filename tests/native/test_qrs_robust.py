"""What devices, rooms and electrodes do to an ECG: each case with the result it must reach."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from bench.qrs_scoring import Record, Score, load, score
from dataflows.detectors import LeadOutput, QrsDetector

NAMES = ("100", "117", "208", "217")
FLAT, SATURATED, LEAD_OFF, NOISY, GAP = 1, 2, 4, 8, 16


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Ten minutes each of four MIT-BIH records."""
    root = os.environ.get("VITALS_DATA")
    if not root:
        pytest.skip("VITALS_DATA is not set")
    whole = [load(Path(root) / "ecg" / "mitdb", name) for name in NAMES]
    return [cut(record, 0, 216_000) for record in whole]


def cut(record: Record, first: int, end: int) -> Record:
    """Part of a record."""
    keep = (record.beats >= first) & (record.beats < end)
    codes = [code for code, kept in zip(record.codes, keep, strict=True) if kept]
    return replace(record, samples=record.samples[first:end], beats=record.beats[keep] - first, codes=codes)


def detect(samples: npt.NDArray[np.generic], fs_hz: float) -> npt.NDArray[np.int64]:
    """All beats of a stream."""
    detector = QrsDetector(fs_hz)
    return np.concatenate([detector.push(samples), detector.flush()])


def total(records: list[Record], beats: list[npt.NDArray[np.int64]], skip_s: float = 0.0) -> Score:
    """Score of all records together."""
    result = Score(0, 0, 0, np.zeros(0))
    for record, found in zip(records, beats, strict=True):
        result = result + score(record, found, skip_s=skip_s)
    return result


def resampled(record: Record, fs_hz: float) -> Record:
    """The record at another rate: each sample the mean of the input over its interval."""
    ratio = record.fs_hz / fs_hz
    area = np.concatenate([[0.0], np.cumsum(record.samples.astype(np.float64))])
    edges = np.clip((np.arange(int(len(record.samples) / ratio) + 1) - 0.5) * ratio + 0.5, 0, len(record.samples))
    samples = np.diff(np.interp(edges, np.arange(len(area)), area)) / np.diff(edges)
    beats = np.round(record.beats / ratio).astype(np.int64)
    return replace(record, samples=np.round(samples).astype(np.int16), beats=beats, fs_hz=fs_hz)


@pytest.mark.parametrize("fs_hz", [100.0, 128.0, 200.0, 250.0, 500.0, 1000.0])
def test_another_rate_costs_at_most_0_15_points(records: list[Record], fs_hz: float) -> None:
    base = total(records, [detect(r.samples, r.fs_hz) for r in records])
    other = [resampled(r, fs_hz) for r in records]
    assert total(other, [detect(r.samples, r.fs_hz) for r in other]).f1 >= base.f1 - 0.15


@pytest.mark.parametrize("hum_hz", [50.0, 60.0])
def test_hum_of_100_microvolt_costs_at_most_0_15_points(records: list[Record], hum_hz: float) -> None:
    base = total(records, [detect(r.samples, r.fs_hz) for r in records])
    beats = []
    for r in records:
        hum = 0.1 * r.gain * np.sin(2 * np.pi * hum_hz * np.arange(len(r.samples)) / r.fs_hz)
        beats.append(detect(r.samples + hum, r.fs_hz))
    assert total(records, beats).f1 >= base.f1 - 0.15


def test_baseline_wander_of_2_millivolt_costs_at_most_0_2_points(records: list[Record]) -> None:
    base = total(records, [detect(r.samples, r.fs_hz) for r in records])
    beats = []
    for r in records:
        wander = 2.0 * r.gain * np.sin(2 * np.pi * 0.3 * np.arange(len(r.samples)) / r.fs_hz)
        beats.append(detect(r.samples + wander, r.fs_hz))
    assert total(records, beats).f1 >= base.f1 - 0.2


@pytest.mark.parametrize("gain", [0.1, 10.0])
def test_an_integer_gain_of_a_tenth_or_ten_keeps_f1_above_99(records: list[Record], gain: float) -> None:
    beats = []
    for r in records:
        scaled = np.round((r.samples.astype(np.float64) - 1024) * gain)
        beats.append(detect(np.clip(scaled, -32767, 32767).astype(np.int16), r.fs_hz))
    assert total(records, beats).f1 >= 99.0


def test_pacing_spikes_before_each_beat_keep_f1_above_99(records: list[Record]) -> None:
    beats = []
    for r in records:
        samples = r.samples.astype(np.float64)
        at = r.beats[r.beats > 40] - round(0.04 * r.fs_hz)
        samples[at] += 2.0 * r.gain
        beats.append(detect(samples, r.fs_hz))
    assert total(records, beats).f1 >= 99.0


def test_one_packet_in_twenty_lost_keeps_f1_above_95(records: list[Record]) -> None:
    rng = np.random.default_rng(5)
    beats = []
    for r in records:
        samples = r.samples.copy()
        for at in range(0, len(samples) - 90, 90):
            if rng.random() < 0.05:
                samples[at : at + 90] = -32768
        beats.append(detect(samples, r.fs_hz))
    assert total(records, beats).f1 >= 95.0


@pytest.mark.parametrize("kind", ["constant", "invalid", "gap", "rail"])
def test_nothing_is_detected_where_there_is_no_signal(records: list[Record], kind: str) -> None:
    for r in records:
        detector, first, lost = QrsDetector(r.fs_hz), 20_000, 7200
        beats = [detector.push(r.samples[:first])]
        if kind == "gap":
            beats.append(detector.gap(lost))
        else:
            level = {"constant": r.samples[first - 1], "invalid": -32768, "rail": 2047}[kind]
            beats.append(detector.push(np.full(lost, level, np.int16)))
        beats += [detector.push(r.samples[first:]), detector.flush()]
        found = np.concatenate(beats)
        inside = (found > first + 90) & (found < first + lost - 20)
        assert not inside.any()
        after = found[found >= first + lost] - lost
        late = cut(r, first + 5 * 360, len(r.samples))
        assert score(late, after[after >= first + 5 * 360] - first - 5 * 360).f1 >= 90


@pytest.mark.parametrize("garbage", ["full scale", "a million times", "square"])
def test_f1_is_95_from_ten_seconds_after_garbage(records: list[Record], garbage: str) -> None:
    rng = np.random.default_rng(3)
    for r in records:
        noise = {
            "full scale": rng.integers(-32767, 32768, 3600).astype(np.float64),
            "a million times": rng.normal(0, 1e8, 3600),
            "square": np.where(np.arange(3600) // 90 % 2 == 0, 30_000.0, -30_000.0),
        }[garbage]
        samples = np.concatenate([r.samples[:20_000].astype(float), noise, r.samples[20_000:].astype(float)])
        found = detect(samples, r.fs_hz) - 3600
        first = 20_000 + 10 * 360
        late = cut(r, first, len(r.samples))
        assert score(late, found[found >= first] - first).f1 >= 95


def whole(samples: npt.NDArray[np.generic]) -> LeadOutput:
    """Everything of a stream at 360 Hz but its flush."""
    return QrsDetector(360.0).push_full(samples)


def test_quality_is_high_on_clean_and_low_on_noise(records: list[Record]) -> None:
    rng = np.random.default_rng(4)
    for r in records[:2]:
        clean = r.samples[:72_000].astype(float)
        rough = clean + rng.normal(0, 1.5 * r.gain, len(clean)).cumsum() % (4 * r.gain)
        good, bad = whole(clean).quality[3:], whole(rough).quality[3:]
        assert np.median(good) > 0.98
        assert np.median(bad) < 0.8
        assert (whole(rough).reasons[3:] & NOISY).mean() > 0.5


def test_reasons_name_what_is_wrong(records: list[Record]) -> None:
    samples = records[0].samples.copy()
    samples[36_000:39_600] = samples[35_999]  # ten seconds without change
    samples[72_000:75_600] = 2047  # at the rail
    samples[108_000:108_100] = -32768
    output = whole(samples)
    assert output.quality_sample.tolist() == [360 * k for k in range(len(output.quality))]
    reasons = output.reasons
    assert (reasons[102:109] & FLAT).all()
    assert (reasons[103:109] & LEAD_OFF).all()
    assert (output.quality[102:109] < 0.1).all()
    assert (reasons[202:209] & SATURATED).all()
    assert reasons[300] & GAP
    assert output.quality[300] < 0.8
    assert ((reasons[5:95] & (FLAT | SATURATED | LEAD_OFF | GAP)) == 0).all()


def test_beats_carry_confidence_and_labels(records: list[Record]) -> None:
    output = whole(records[2].samples)
    assert ((output.confidence > 0.5) & (output.confidence <= 1)).all()
    r = records[2]
    truth = {int(b): code for b, code in zip(r.beats, r.codes, strict=True)}
    near = [truth[int(r.beats[np.abs(r.beats - s).argmin()])] for s in output.sample]
    sure = np.array([code != "F" for code in near])  # fusions are half ventricular
    ventricular = np.array([code == "V" for code in near])
    given = (output.label == 1) & sure
    assert (given & ventricular).sum() / ventricular.sum() > 0.9
    assert (given & ventricular).sum() / given.sum() > 0.85
