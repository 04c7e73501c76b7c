"""What holds for every SpO2 series, sensible or not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflows.detectors import Desaturation, DesaturationDetector, SpO2Bank, SpO2Limits, SpO2Series

Series = npt.NDArray[np.float64]
NO_READING = [float("nan"), float("inf"), -float("inf"), 0.0, 127.0, 255.0, 49.0, 100.5, -97.0]


@st.composite
def series(draw: st.DrawFn) -> Series:
    """Falls, rises, plateaus, spikes, steps and gaps, at a resolution of 1 or 0.1 %, with or without noise."""
    level, parts = draw(st.floats(85, 99)), []
    for _ in range(draw(st.integers(1, 12))):
        seconds = draw(st.integers(1, 240))
        kind = draw(st.sampled_from(["hold", "ramp", "ramp", "ramp", "spike", "step", "gap"]))
        target = draw(st.floats(60, 100))
        if kind == "hold":
            parts.append(np.full(seconds, level))
        elif kind == "gap":
            parts.append(np.full(seconds, draw(st.sampled_from(NO_READING))))
        elif kind == "spike":
            parts.append(np.full(min(seconds, 12), target))
        elif kind == "step":
            parts.append(np.full(seconds, target))
            level = target
        else:
            parts.append(np.linspace(level, target, seconds))
            level = target
    values = np.concatenate(parts)
    noise = np.random.default_rng(draw(st.integers(0, 99))).normal(0, draw(st.sampled_from([0.0, 0.3])), len(values))
    values = values + np.where(np.isfinite(values), noise, 0)
    digit = draw(st.sampled_from([1.0, 0.1, None]))
    return values if digit is None else np.round(values / digit) * digit


detectors = st.builds(
    DesaturationDetector,
    st.sampled_from([0.2, 0.25, 1.0, 2.0, 4.0]),
    st.sampled_from([1.0, 3.0, 3.3, 4.0]),
    profile=st.sampled_from(["standard", "sensitive"]),
)


def whole(detector: DesaturationDetector, values: npt.NDArray[np.generic]) -> list[Desaturation]:
    return detector.push(values) + detector.flush()


def copy(detector: DesaturationDetector) -> DesaturationDetector:
    return DesaturationDetector.restore(detector.snapshot())


@settings(max_examples=150, deadline=None)
@given(detectors, series())
def test_events_are_in_order_deep_enough_and_scored_once(detector: DesaturationDetector, values: Series) -> None:
    events = whole(copy(detector), values)
    provisional = [event.onset_s for event in events if event.kind == "provisional"]
    scored = [event.onset_s for event in events if event.kind != "provisional"]
    assert sorted(set(scored)) == scored
    assert provisional == scored
    for event in events:
        assert 0 <= event.onset_s <= event.nadir_s <= event.end_s <= event.decided_s
        assert event.decided_s - event.end_s <= 240
        assert event.drop >= detector.drop
        assert event.drop == pytest.approx(event.baseline - event.nadir, abs=1e-9)
        assert 50 <= event.nadir <= event.baseline <= 100
        assert event.area_pct_s >= 0
        first, last = (round(second * detector.fs_hz) for second in (event.onset_s, event.end_s))
        missing = ~((values[first : last + 1] >= 50) & (values[first : last + 1] <= 100))
        longest = max((len(run) for run in "".join("x" if lost else " " for lost in missing).split()), default=0)
        assert longest <= 30 * detector.fs_hz + 1


def test_an_event_opens_on_its_own_lowest_reading() -> None:
    """The last reading, not the valley of the medians before it, is deep enough; the event once named the valley."""
    fall = [86.0] * 6 + [85.9, 85.5, 84.9, 85.4, 85.2, 84.8, 85.6, 85.3, 85.4, 84.6, 84.8, 84.0, 85.0, 85.1]
    fall += [83.2, 83.1, 83.6, 83.1, 83.6, 83.3, 82.7, 84.4, 82.1, 82.2, 82.3, 82.7, 82.7, 82.6, 81.3]
    events = whole(DesaturationDetector(1.0, 3.0), np.array(fall))
    assert events
    assert all(event.drop == pytest.approx(event.baseline - event.nadir) and event.drop >= 3.0 for event in events)


@settings(max_examples=100, deadline=None)
@given(detectors, series(), st.lists(st.integers(0, 300), min_size=1, max_size=30))
def test_any_chunking_with_a_restart_at_each_cut_gives_the_same_events(
    detector: DesaturationDetector, values: Series, sizes: list[int]
) -> None:
    expected = whole(copy(detector), values)
    events, at = [], 0
    for size in [*sizes, len(values)]:
        events += detector.push(values[at : at + size])
        at += size
        snapshot = detector.snapshot()
        detector = DesaturationDetector.restore(snapshot)
        assert detector.snapshot() == snapshot
        assert len(snapshot) <= 2048
    assert events + detector.flush() == expected
    assert detector.samples == len(values)


@settings(max_examples=60, deadline=None)
@given(detectors, series())
def test_one_sample_at_a_time_gives_the_same_events(detector: DesaturationDetector, values: Series) -> None:
    expected = whole(copy(detector), values)
    events = [event for value in values for event in detector.push([value])]
    assert events + detector.flush() == expected


@settings(max_examples=60, deadline=None)
@given(detectors, series())
def test_both_float_widths_give_the_same_events(detector: DesaturationDetector, values: Series) -> None:
    assert whole(copy(detector), values.astype(np.float32)) == whole(copy(detector), values)


@settings(max_examples=60, deadline=None)
@given(detectors, series())
def test_what_is_no_reading_acts_like_nan(detector: DesaturationDetector, values: Series) -> None:
    unknown = np.where((values >= 50) & (values <= 100), values, np.nan)
    assert whole(copy(detector), unknown) == whole(copy(detector), values)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32) | st.floats(49, 101) | st.sampled_from(NO_READING), max_size=400))
@example([])
def test_noise_breaks_nothing(values: list[float]) -> None:
    detector = DesaturationDetector()
    events = whole(detector, np.array(values))
    assert all(50 <= event.nadir <= event.baseline <= 100 for event in events)
    assert copy(detector).snapshot() == detector.snapshot()


def test_the_largest_state_fits() -> None:
    for fs_hz in (1.0, 4.0, 10.0):
        detector, largest = DesaturationDetector(fs_hz, 50.0), 0
        for value in np.linspace(100, 60, int(400 * fs_hz)):
            detector.push([value])
            largest = max(largest, len(detector.snapshot()))
        assert 1000 < largest <= 2048


@settings(max_examples=40, deadline=None)
@given(series(), st.integers(0, 2000), st.sampled_from([0.2, 1.0, 4.0]))
def test_a_whole_series_goes_on_from_its_snapshot(values: Series, cut: int, fs_hz: float) -> None:
    limits = SpO2Limits(above_target=(96.0, 20.0), low=(92.0, 15.0))
    one = SpO2Series(fs_hz, limits=limits, averaging_s=4.0)
    expected = one.push(values)
    two = SpO2Series(fs_hz, limits=limits, averaging_s=4.0)
    before = two.push(values[:cut])
    two = SpO2Series.restore(two.snapshot())
    after = two.push(values[cut:])
    assert tuple(first + second for first, second in zip(before, after, strict=True)) == expected
    assert one.flush() == two.flush()
    assert one.snapshot() == two.snapshot()
    assert repr(one.night()) == repr(two.night())


@settings(max_examples=15, deadline=None)
@given(st.lists(series(), min_size=1, max_size=4))
def test_a_bank_is_its_rows(rows: list[Series]) -> None:
    matrix = np.stack([np.pad(row, (0, 3000 - len(row)), constant_values=np.nan) for row in rows])
    bank = SpO2Bank(len(rows))
    halves = [bank.push(matrix[:, :1000]), bank.push(np.asfortranarray(matrix[:, 1000:])), bank.flush()]
    for at, row in enumerate(matrix):
        single = SpO2Series()
        expected = [single.push(row[:1000]), single.push(row[1000:]), single.flush()]
        for half, (events, alarms) in zip(halves, expected, strict=True):
            assert [event for place, event in half[0] if place == at] == events
            assert [alarm for place, alarm in half[1] if place == at] == alarms
        assert bank.snapshot(at) == single.snapshot()


@pytest.mark.parametrize("values", ["97", None, b"97", ["97"], [None], {97.0}, [97 + 1j], [True], np.array("97")])
def test_what_is_no_array_of_numbers_is_refused(values: object) -> None:
    detector = DesaturationDetector()
    detector.push([96.0, 95.0])
    before = detector.snapshot()
    with pytest.raises((TypeError, ValueError)):
        detector.push(values)  # type: ignore[arg-type]  # wrong on purpose
    assert detector.snapshot() == before


@pytest.mark.parametrize("shape", [(), (2, 2), (1, 2, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    for dtype in (np.float64, np.float32, np.int16):
        with pytest.raises(ValueError, match="one-dimensional"):
            DesaturationDetector().push(np.full(shape, 96, dtype))


def test_masked_readings_are_refused_because_the_mask_would_be_lost() -> None:
    with pytest.raises(TypeError, match="NaN"):
        DesaturationDetector().push(np.ma.masked_equal([96.0, 0.0], 0.0))


def test_strided_and_foreign_arrays_are_read_as_they_are() -> None:
    values = np.repeat(np.r_[np.full(60, 96.0), np.linspace(96, 88, 30), np.full(300, 88.0)], 2)
    expected = whole(DesaturationDetector(), values[::2].copy())
    assert expected
    assert whole(DesaturationDetector(), values[::2]) == expected
    assert whole(DesaturationDetector(), values[::2].astype(">f8")) == expected
    integers = np.round(values[::2])
    assert whole(DesaturationDetector(), integers.astype(np.int16)) == whole(DesaturationDetector(), integers)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf"), 1000.0])
def test_rates_and_depths_out_of_range_are_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="fs_hz"):
        DesaturationDetector(wrong)
    with pytest.raises(ValueError, match="drop"):
        DesaturationDetector(1.0, wrong)
    with pytest.raises(ValueError, match="profile"):
        DesaturationDetector(profile="best")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_other_bytes_are_no_snapshot(data: st.DataObject) -> None:
    detector = DesaturationDetector()
    detector.push(np.linspace(98, 90, 100))
    snapshot = detector.snapshot()
    place = data.draw(st.integers(0, len(snapshot) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    damaged = snapshot[:place] + bytes([snapshot[place] ^ bit]) + snapshot[place + 1 :]
    garbage = data.draw(st.binary(max_size=300))
    for wrong in (snapshot[:place], snapshot + garbage + b"\0", damaged, garbage, b"", SpO2Series().snapshot()):
        with pytest.raises(ValueError, match="snapshot"):
            DesaturationDetector.restore(wrong)
    with pytest.raises(ValueError, match="another kind"):
        SpO2Series.restore(snapshot)
