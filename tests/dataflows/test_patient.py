"""The engine-free monitors on recorded and built patients: what comes out depends on the log alone."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dataflows._native import Messages, Signals, Validator, rejection_reasons
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, WaveFramer, end_ns, subject_of
from dataflows.contracts.tables import TABLES
from dataflows.monitor.patient import Patient, Step, run

REPO = Path(__file__).parents[2]
VECTORS = REPO / "tests" / "vectors"
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
KEY = "main/p1"


def entry(frame, log_seq, log_ns=None):
    subject = subject_of(frame).replace("vitals.v1.", "vp.0.")
    return (subject.encode(), log_seq, log_ns or end_ns(frame) + 20_000_000, frame.SerializeToString())


def tick(log_seq, log_ns):
    return (b"", log_seq, log_ns, b"")


def heart(seconds, pause_s=()):
    """ECG of one beat a second but for the pauses, and SpO2 that falls for a minute in the middle, as a log."""
    time_s = np.arange(seconds * 250) / 250
    waves = np.exp(-(((time_s % 1.0) - 0.5) ** 2) / 0.0002)
    quiet = np.isin(time_s.astype(int), list(pause_s))
    noise = np.random.default_rng(1).normal(0, 0.01, time_s.size)
    counts = ((np.where(quiet, 0.0, waves) + noise) * 200).astype(np.int16)
    ecg = WaveFramer(Origin("p1", "patch"), pb.SIGNAL_ECG_II, 250_000, 0.005, START_NS)
    oximeter = NumericFramer(Origin("p1", "oximeter"))
    entries = []
    for second in range(seconds):
        frames = [ecg.frame(counts[second * 250 : (second + 1) * 250])]
        spo2 = 97.0 if abs(second - seconds // 2) > 30 else 82.0
        readings = [Reading(pb.CODE_SPO2, spo2, pb.UNIT_PERCENT)]
        frames.append(oximeter.frame(readings, START_NS + second * SECOND_NS))
        entries += [entry(frame, len(entries) + number) for number, frame in enumerate(frames)]
    return sorted(entries, key=lambda one: one[2])


def story(steps):
    """Everything that was said, without the arrays' identity."""
    steps = list(steps)
    rows = [(table, repr(row)) for step in steps for table, many in step.output.rows() for row in many]
    rows += [(record.table, repr(record.row)) for step in steps for record in step.records]
    alerts = [alert.body() for step in steps for alert in step.alerts]
    return sorted(rows), alerts, [reject.log_seq for step in steps for reject in step.rejects]


def rules(alerts):
    return [(body["rule"], body["event"]) for body in map(json.loads, alerts)]


def test_a_stopped_heart_and_a_fall_of_saturation_raise_and_clear():
    rows, alerts, rejects = story(run(heart(180, range(100, 107)), Validator()))
    assert rejects == []
    assert ("asystole", "raised") in rules(alerts)
    assert ("asystole", "ended") in rules(alerts)
    assert ("asystole", "escalated") in rules(alerts)
    assert {("spo2_below_90", "raised"), ("spo2_below_85", "raised"), ("spo2_below_90", "cleared")} <= set(
        rules(alerts)
    )
    tables = [table for table, _ in rows]
    assert tables.count("waveforms") == 180
    assert tables.count("observations") == 180
    assert 170 <= tables.count("beats") <= 175


def test_rows_have_the_columns_of_their_tables():
    for step in run(heart(200, range(100, 107)), Validator()):
        said = [pair for verdict in step.verdicts for pair in verdict.rows()]
        for table, many in [*step.output.rows(), *said]:
            for row in many:
                assert len(row) == len(TABLES[table].columns), table


@pytest.mark.parametrize("batch", [1, 7, 64, 100_000])
def test_the_batch_size_changes_nothing(batch):
    entries = heart(120, range(60, 66))
    assert story(run(entries, Validator(), batch=batch)) == story(run(entries, Validator(), batch=33))


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_order_loss_and_restart_give_the_same_story_however_the_log_is_cut(data):
    entries = heart(60, range(20, 26))
    dropped = data.draw(st.sets(st.integers(0, len(entries) - 1), max_size=8))
    swaps = data.draw(st.lists(st.integers(0, len(entries) - 2), max_size=8))
    ticks = data.draw(st.sets(st.integers(0, 60), max_size=20))
    kept = [one for index, one in enumerate(entries) if index not in dropped]
    for at in swaps:
        if at + 1 < len(kept):
            first, second = kept[at], kept[at + 1]
            # The places in the log stay, the messages change them.
            kept[at] = (second[0], first[1], first[2], second[3])
            kept[at + 1] = (first[0], second[1], second[2], first[3])
    last = tick(9_999, START_NS + 100 * SECOND_NS)
    ticked = sorted([*kept, *(tick(0, START_NS + at * SECOND_NS) for at in ticks)], key=lambda one: one[2])
    expected = story(run([*kept, last], Validator(), batch=1_000_000))
    assert story(run([*ticked, last], Validator(), batch=data.draw(st.integers(1, 50)))) == expected

    cut = data.draw(st.integers(0, len(kept)))
    patient, steps = Patient(KEY, Validator()), []
    for part in (kept[:cut], [*kept[cut:], last]):
        steps.append(patient.on_messages(Messages.build(part)))
        snapshot = patient.snapshot()
        patient = Patient(KEY, Validator())
        patient.restore(snapshot)
        assert patient.snapshot() == snapshot
    assert story(Step(KEY, *step) for step in steps)[:2] == expected[:2]


def test_a_frame_that_contradicts_another_is_refused_and_the_rest_goes_on():
    entries = heart(20)
    subject, _, log_ns, payload = [one for one in entries if b"ecg" in one[0]][-3]
    forged = pb.Frame.FromString(payload)
    forged.first_sample += 7
    entries.append((subject, 500, log_ns, forged.SerializeToString()))
    _, _, rejects = story(run(entries, Validator()))
    assert rejects == [500]


def test_the_judge_hears_each_reading_once_in_the_canonical_unit_and_knows_the_late_ones():
    oximeter = NumericFramer(Origin("p1", "oximeter"))
    frames = [oximeter.frame([Reading(pb.CODE_TEMP, 98.6, pb.UNIT_DEGF)], START_NS + n * SECOND_NS) for n in range(6)]
    entries = [entry(frame, number) for number, frame in enumerate(frames)]
    moved = (entries[2][0], 6, START_NS + 20 * SECOND_NS, entries[2][3])
    again = (entries[4][0], 7, START_NS + 21 * SECOND_NS, entries[4][3])
    steps = run([*entries[:2], *entries[3:], moved, again], Validator())
    heard = [event for step in steps for event in step.output.events]
    assert [(event.seq, event.stored) for event in heard] == [
        (0, False), (1, False), (3, False), (4, False), (5, False), (2, True)
    ]  # fmt: skip
    assert {(event.code, event.unit, round(event.value, 6)) for event in heard} == {("temp", "Cel", 37.0)}
    assert [event.ts_ns for event in heard[:2]] == [START_NS, START_NS + SECOND_NS]


def test_late_and_stored_frames_are_kept_and_raise_nothing():
    entries = heart(40)
    ecg = [one for one in entries if b"ecg" in one[0]]
    missing = ecg[10]
    held_back = [one for one in entries if one is not missing]
    held_back.append((missing[0], 700, START_NS + 60 * SECOND_NS, missing[3]))
    rows, _, _ = story(run(held_back, Validator()))
    assert ["'late'" in row for table, row in rows if table == "late_frames"] == [True]
    assert sum(table == "waveforms" for table, _ in rows) == 40

    stored = []
    for subject, log_seq, log_ns, payload in entries:
        frame = pb.Frame.FromString(payload)
        frame.stored = True
        stored.append((subject, log_seq, log_ns + 3600 * SECOND_NS, frame.SerializeToString()))
    rows, alerts, _ = story(run(stored, Validator()))
    assert alerts == []
    assert sum(table == "late_frames" for table, _ in rows) == len(entries)


@pytest.mark.parametrize("name", sorted(path.stem for path in VECTORS.glob("*.hex")))
def test_the_golden_frames_pass_the_validator(name):
    payload = bytes.fromhex((VECTORS / f"{name}.hex").read_text())
    frame = pb.Frame.FromString(payload)
    log_ns = max(end_ns(frame), 1)
    subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
    key = f"{frame.tenant or 'main'}/{frame.patient}"
    items, rejects = Validator().check(key, Messages.build([(subject, 1, log_ns, payload)]))
    assert (len(items), rejects) == (1, [])


@pytest.mark.parametrize("snapshot", [b"", b"SIGS", b"\x00" * 100])
def test_a_damaged_snapshot_of_signals_is_refused_in_words(snapshot):
    with pytest.raises(ValueError, match="snapshot"):
        Signals.restore(snapshot)


def test_the_documented_rejection_reasons_are_current():
    documented = (REPO / "docs" / "architecture.md").read_text()
    for name, text in rejection_reasons():
        assert f"| `{name}` | {text} |" in documented
