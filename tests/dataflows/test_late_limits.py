"""What comes late is judged by the limits of its own time: detectors, and the row that says which limits those were."""

import json

import pytest

from dataflows._native import Messages, Validator
from dataflows.alerts.alert import Alert
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, WaveFramer, command_frame, end_ns, subject_of
from dataflows.contracts.tables import TABLES
from dataflows.monitor.patient import Patient
from tests.dataflows.test_detector_limits import FS, SECOND_NS, START_NS, beats

SECONDS = 300
FIRST_LATE_S = 5
UPLOADED_S = 400
BY_NAME = [
    (100, "threshold", {"rule": "tachycardia", "limit": 100}),
    (100, "threshold", {"rule": "spo2_below_90", "limit": 95, "delay_s": 5}),
    (160, "threshold", {"rule": "tachycardia", "limit": 115}),
    (200, "threshold", {"rule": "spo2_below_90", "limit": 86}),
]
BY_PROFILE = [
    (2, "profile", {"profile": "copd"}),
    (100, "threshold", {"rule": "tachycardia", "limit": 95}),
    (200, "profile", {"profile": "adult"}),
    (380, "threshold", {"rule": "tachycardia", "limit": 140}),
]
RULES = {"tachycardia", "spo2_below_90"}


def frames(frame_s, spo2):
    """A pulse of 105/min with a constant saturation, as frames of so many seconds."""
    ecg = WaveFramer(Origin("p1", "patch"), pb.SIGNAL_ECG_II, FS * 1000, 0.005, START_NS)
    oximeter, counts = NumericFramer(Origin("p1", "oximeter")), beats(SECONDS, 105.0)
    for first in range(0, SECONDS, frame_s):
        yield ecg.frame(counts[first * FS : (first + frame_s) * FS])
        readings = [Reading(pb.CODE_SPO2, spo2, pb.UNIT_PERCENT, offset_ms=1000 * n) for n in range(frame_s)]
        yield oximeter.frame(readings, START_NS + first * SECOND_NS)


def log(commands, frame_s, spo2, *, upload):
    """The frames as they come live, or all but the first few seconds in one upload, and the commands between."""
    entries = []
    for number, (at_s, name, argument) in enumerate(commands):
        asked = command_frame("p1", name, actor="dr a", idempotency_key=str(number), argument_json=json.dumps(argument))
        entries.append((START_NS + at_s * SECOND_NS, asked))
    for frame in frames(frame_s, spo2):
        frame.stored = upload and frame.device_ns >= START_NS + FIRST_LATE_S * SECOND_NS
        entries.append((START_NS + UPLOADED_S * SECOND_NS if frame.stored else end_ns(frame), frame))
    for number, (log_ns, frame) in enumerate(sorted(entries, key=lambda one: one[0]), 1):
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        yield subject, number, log_ns, frame.SerializeToString()


def heard(entries, *, restart=False):
    """Alerts, and rows of late findings by column."""
    patient, alerts, late = Patient("main/p1", Validator()), [], []
    columns = [name for name, _ in TABLES["late_findings"].columns]
    for entry in entries:
        _, verdicts, rejects = patient.on_messages(Messages.build([entry]))
        assert not rejects
        alerts += [one for one in verdicts if isinstance(one, Alert) and one.rule in RULES]
        rows = [row for one in verdicts for table, many in one.rows() if table == "late_findings" for row in many]
        late += [dict(zip(columns, row, strict=True)) for row in rows]
        if restart:
            patient.restore(patient.snapshot())
    return alerts, late


def second(ns):
    return round((ns - START_NS) / SECOND_NS)


@pytest.mark.parametrize("restart", [False, True], ids=["", "restarts"])
@pytest.mark.parametrize("frame_s", [1, 5, 25])
@pytest.mark.parametrize(
    ("commands", "spo2", "expect"),
    [
        (
            BY_NAME,
            94.0,
            [
                ("spo2_below_90", True, 100, 105, 95.0, 100),
                ("spo2_below_90", False, 100, 215, 86.0, 200),
                ("tachycardia", True, 93, 100, 100.0, 100),
                ("tachycardia", False, 93, 176, 115.0, 160),
            ],
        ),
        (
            BY_PROFILE,
            89.0,
            [
                ("spo2_below_90", True, 200, 230, 90.0, 200),
                ("spo2_below_90", False, 200, 299, 90.0, 200),
                ("tachycardia", True, 93, 100, 95.0, 100),
                ("tachycardia", False, 93, 300, float("nan"), 200),
            ],
        ),
    ],
    ids=["by_name", "by_profile"],
)
def test_late_findings_of_detectors_are_judged_by_the_limits_of_their_own_time(
    commands, spo2, expect, frame_s, restart
):
    entries = list(log(commands, frame_s, spo2, upload=True))
    entries.append((b"", len(entries) + 1, START_NS + (UPLOADED_S + 100) * SECOND_NS, b""))
    since = {0: 0} | {second(ns): number for subject, number, ns, _ in entries if b".control." in subject}
    alerts, late = heard(entries, restart=restart)
    assert alerts == []
    found = [
        (row["rule"], row["raised"], second(row["ts"]), second(row["sample_ns"]), row["limit_value"],
         row["limits_version"])
        for row in late if row["rule"] in RULES
    ]  # fmt: skip
    assert sorted(found, key=lambda one: (one[0], one[3])) == [
        (*row, pytest.approx(limit, nan_ok=True), since[at_s]) for *row, limit, at_s in expect
    ]


@pytest.mark.parametrize("commands", [BY_NAME, BY_PROFILE], ids=["by_name", "by_profile"])
def test_what_comes_late_is_found_as_it_would_have_been_live(commands):
    alerts, _ = heard(log(commands, 1, 89.0, upload=False))
    _, late = heard(log(commands, 1, 89.0, upload=True))
    late = sorted((row for row in late if row["rule"] in RULES), key=lambda row: (row["rule"], row["sample_ns"]))
    alerts.sort(key=lambda one: (one.rule, one.sample_ns))
    found = [(row["rule"], row["raised"], row["limit_value"]) for row in late if row["limit_value"] > 0]
    assert found == [(one.rule, one.condition, one.limit) for one in alerts]
    assert found
    for row, alert in zip(late, alerts, strict=False):
        # A command comes with a frame's delay to what is judged live.
        onset_ns = max(alert.onset_ns, START_NS + FIRST_LATE_S * SECOND_NS)
        assert abs(row["ts"] - onset_ns) < 1.5 * SECOND_NS


def test_a_late_finding_keeps_its_identity_where_the_device_clock_is_corrected():
    # Three minutes ahead, which the first live frame proves; the limit is passed until the upload ends.
    ahead_ns, entries = 180 * SECOND_NS, []
    for number, (subject, _, log_ns, body) in enumerate(log([], 5, 80.0, upload=True), 1):
        frame = pb.Frame.FromString(body)
        frame.device_ns += ahead_ns
        entries.append((subject, number, log_ns, frame.SerializeToString()))
    entries.append((b"", len(entries) + 1, START_NS + (UPLOADED_S + 100) * SECOND_NS, b""))
    _, late = heard(entries)
    begun, over = sorted((row for row in late if row["rule"] == "spo2_below_90"), key=lambda row: not row["raised"])
    assert (begun["raised"], over["raised"]) == (True, False)
    assert second(begun["ts"]) == FIRST_LATE_S
    assert (begun["ts"], begun["alert_id"]) == (over["ts"], over["alert_id"])
