"""Windows are a function of the log: of no way of cutting it, no tick, no restart."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows._native import Messages, Signals, SignalsConfig, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, command_frame, subject_of
from dataflows.models.features import STATISTICS, Series, statistic
from dataflows.models.scores import score_frame
from dataflows.models.spec import read_model
from dataflows.models.windows import Windows

S = 1_000_000_000
START = 1_700_000_000 // 300 * 300 * S
MODEL = read_model(
    """
name = "risk"
version = 2
scorer = "ward:score"
features = ["hr.mean", "spo2.min"]
require = ["hr"]
window_s = 300
step_s = 60
sample_s = 10
"""
)
CODES = {"hr": (pb.CODE_HR, pb.UNIT_PER_MIN), "spo2": (pb.CODE_SPO2, pb.UNIT_PERCENT)}


def log(*sent, status=0):
    """Entries of (log time in s, code, value), and of (log time in s,) for ticks."""
    framers = {code: NumericFramer(Origin("p1", f"{code}-device")) for code in CODES}
    entries = []
    for number, (at_s, *what) in enumerate(sent, 1):
        log_ns = START + round(at_s * S)
        if not what:
            entries.append((b"", number, log_ns, b""))
            continue
        if what[0] == "discharge":
            frame = command_frame("p1", "discharge", actor="nurse", idempotency_key=str(at_s), argument_json="{}")
        else:
            code, value = what[:2]
            frame = framers[code].frame([Reading(CODES[code][0], value, CODES[code][1], status=status)], log_ns)
            frame.stored = "stored" in what
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        entries.append((subject, number, log_ns, frame.SerializeToString()))
    return entries


def closed(entries, cuts=(), restarts=()):
    """Every window, the log cut at `cuts`, the windows restored at `restarts`."""
    signals, windows, found = Signals(SignalsConfig(silence_reading_s=0)), Windows(MODEL), []
    edges = [0, *sorted(cuts), len(entries)]
    for first, end in itertools.pairwise(edges):
        items, rejects = Validator().check("main/p1", Messages.build(entries[first:end]))
        assert rejects == []
        found += windows.on_output(signals.on_items(items))
        if end in restarts:
            windows = Windows.restore(windows.snapshot(), MODEL)
    return [
        (
            (one.end_ns - START) // S,
            one.ready,
            {code: series.value.tolist() for code, series in sorted(one.series.items())},
        )
        for one in found
    ]


def test_a_window_holds_what_had_come_by_its_end_and_the_last_value_of_each_sample():
    entries = log((1, "hr", 70), (4, "hr", 72), (15, "hr", 80), (59.9, "spo2", 97), (60, "hr", 90), (121,))
    assert closed(entries) == [
        (60, True, {"hr": [72, 80], "spo2": [97]}),
        (120, True, {"hr": [72, 80, 90], "spo2": [97]}),
    ]


def test_what_is_too_old_goes_and_an_absent_patient_has_no_windows():
    entries = log((5, "hr", 70), (130, "spo2", 95), (5000, "hr", 71), (5041,))
    found = [(end, ready, sorted(series)) for end, ready, series in closed(entries)]
    assert found == [
        (60, True, ["hr"]),
        (120, True, ["hr"]),
        (180, True, ["hr", "spo2"]),
        (240, True, ["hr", "spo2"]),
        (300, True, ["hr", "spo2"]),
        # The reading of second 5 has gone, and with it what the model requires.
        (360, False, ["spo2"]),
        (420, False, ["spo2"]),
        (5040, True, ["hr"]),
    ]


def test_a_discharge_ends_them_and_stored_or_unusable_readings_do_not_count():
    assert closed(log((1, "hr", 70), (30, "discharge"), (61,), (62, "spo2", 97), (121,))) == [
        (120, False, {"spo2": [97]})
    ]
    assert closed(log((1, "hr", 70, "stored"), (61,))) == []
    assert closed(log((1, "hr", 70), (61,), status=pb.STATUS_MOTION)) == []


SENT = st.lists(
    st.tuples(st.integers(0, 900), st.sampled_from(["hr", "spo2", None]), st.integers(60, 99)), min_size=1, max_size=25
)


@given(sent=SENT, data=st.data())
def test_no_cut_no_tick_and_no_restart_changes_them(sent, data):
    ordered = sorted((at_s, *([code, value] if code else [])) for at_s, code, value in sent)
    last = (1000.0,)
    whole = closed(log(*ordered, last))
    cuts = data.draw(st.sets(st.integers(0, len(ordered)), max_size=6))
    assert closed(log(*ordered, last), cuts, data.draw(st.sets(st.sampled_from(sorted(cuts) or [0])))) == whole
    assert closed(log(*(one for one in ordered if len(one) > 1), last)) == whole


def test_nothing_ends_before_the_log_was_read():
    windows = Windows(MODEL, START + 150 * S)
    points = [(START + at * S, "hr", START + at * S, 70.0) for at in (1, 100, 200, 300)]
    ends = [(one.end_ns - START) // S for one in windows.on_points("main", "p1", points, START + 300 * S)]
    assert ends == [180, 240, 300]


def test_a_damaged_snapshot_is_refused():
    for damaged in (b"", b"\x07\x00", Windows(MODEL).snapshot()[:3] + b"\xff"):
        with pytest.raises(ValueError, match="snapshot of the windows"):
            Windows.restore(damaged, MODEL)


def test_statistics_are_numpys_and_nan_where_there_is_nothing():
    series = Series(np.array([-1800.0, -900.0, 0.0]), np.array([60.0, 70.0, 74.0]))
    found = {name: statistic(name, series) for name in STATISTICS}
    slope = np.polyfit([0, 0.25, 0.5], series.value, 1)[0]
    assert found == pytest.approx(
        {
            "last": 74,
            "mean": 68,
            "median": 70,
            "min": 60,
            "max": 74,
            "std": series.value.std(),
            "slope": slope,
            "count": 3,
        }
    )
    one = Series(np.array([0.0]), np.array([60.0]))
    assert np.isnan(statistic("slope", one))
    assert statistic("count", None) == 0
    assert all(np.isnan(statistic(name, None)) for name in STATISTICS if name != "count")


def test_a_score_is_a_frame_that_the_validator_takes_and_its_identity_is_the_window():
    windows = Windows(MODEL).on_points("main", "p1", [(START + S, "hr", START + S, 70.0)], START + 60 * S)
    for score, stored in ((0.25, False), (float("nan"), False), (-3.0, True)):
        frame = score_frame(MODEL, windows[0], score, stored=stored)
        subject = subject_of(frame)
        assert subject == "vitals.v1.main.p1.model-risk.numeric"
        assert (frame.boot_id, frame.seq) == (2, (START + 60 * S) // (60 * S))
        _, rejects = Validator().check(
            "main/p1", Messages.build([(subject.encode(), 1, START + 61 * S, frame.SerializeToString())])
        )
        assert rejects == []
    with pytest.raises(ValueError, match="at most"):
        score_frame(MODEL, windows[0], 2e6)
