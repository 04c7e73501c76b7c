"""Replays as messages: every sample once, in the order of arrival, accepted by the validator, the same each time."""

from itertools import pairwise

import numpy as np
import pytest

from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Log, Plan
from connectors.devices.recording import Recording, RecordingError, WaveTrack
from connectors.devices.replay import ARRIVAL_NS, PatientReplay, check, copies, merged
from dataflows._native import Messages, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, end_ns

START_NS = 1_700_000_000_000_000_000
HEADER_LOG = Log(header_time=True, partitions=8, last_ns=0)


@pytest.fixture(scope="module")
def recordings():
    return [load(path) for path in samples.ALL]


@pytest.fixture(scope="module")
def replays(recordings):
    return Plan(recordings, start_ns=START_NS, boot=1).replays(HEADER_LOG, START_NS)


def frames_by_subject(publications):
    found = {}
    for publication in publications:
        found.setdefault(publication.subject, []).append(pb.Frame.FromString(publication.payload))
    return found


def test_every_sample_and_reading_is_published_once(replays):
    for replay in replays:
        frames = frames_by_subject(replay.publications())
        assert sum(map(len, frames.values())) == replay.count()
        waves = {frame.signal: subject for subject, (frame, *_) in frames.items()}
        for wave in replay.recording.waves:
            payloads = b"".join(frame.waveform.samples for frame in frames[waves[wave.signal]])
            assert payloads == wave.counts.astype("<i2").tobytes()
        if replay.recording.numerics:
            items = [item for frame in frames[waves[pb.SIGNAL_NUMERIC]] for item in frame.observations.items]
            readings = [reading for row in replay.recording.numerics.readings for reading in row]
            assert [(item.code, item.value) for item in items] == [
                (reading.code, reading.value) for reading in readings
            ]


def test_messages_come_in_the_order_of_arrival_soon_after_their_last_sample(replays):
    publications = list(merged(replays))
    assert all(a.log_ns <= b.log_ns for a, b in pairwise(publications))
    assert all(p.log_ns == end_ns(pb.Frame.FromString(p.payload)) + ARRIVAL_NS for p in publications)


def test_message_ids_are_unique_and_a_second_replay_repeats_every_byte(replays):
    first, second = list(merged(replays)), list(merged(replays))
    assert first == second
    assert len({publication.message_id for publication in first}) == len(first)


def test_the_validator_takes_every_message(replays):
    rules = Validator()
    for replay in replays:
        messages = [(p.subject.encode(), n, p.log_ns, p.payload) for n, p in enumerate(replay.publications(), 1)]
        items, rejects = rules.check(f"main/{replay.origin.patient}", Messages.build(messages))
        assert (len(items), rejects) == (len(messages), [])


def test_copies_are_patients_of_their_own_with_shifted_starts(replays):
    several = copies(replays[0], 12, stagger_s=0.25)
    assert [copy.origin.patient for copy in several][:2] == ["100-01", "100-02"]
    assert [copy.start_ns - START_NS for copy in several] == [n * 250_000_000 for n in range(12)]
    assert copies(replays[0], 1, stagger_s=0.25) == [replays[0]]


def test_by_default_a_replay_ends_now_and_its_boot_number_grows(recordings):
    plan = Plan(recordings[:1])
    (first,) = plan.replays(HEADER_LOG, START_NS)
    assert START_NS - 10**9 < first.end_ns <= START_NS
    (later,) = plan.replays(HEADER_LOG, START_NS + 10**9)
    assert later.origin.boot_id == first.origin.boot_id + 1


def test_in_real_time_a_replay_begins_now(recordings):
    (replay,) = Plan(recordings[:1], speed=1.0).replays(HEADER_LOG, START_NS)
    assert replay.start_ns == START_NS


def test_a_second_replay_into_a_log_continues_after_the_first(recordings):
    log = Log(header_time=True, partitions=8, last_ns=START_NS + 5)
    (replay,) = Plan(recordings[:1]).replays(log, START_NS)
    assert replay.start_ns == START_NS + 5 + 10**9


def test_a_recording_may_be_cut(recordings):
    short = recordings[2].cut(10.0)
    assert {wave.counts.size for wave in short.waves} == {2500}
    assert recordings[3].cut(10.0).numerics.times_s == tuple(map(float, range(10)))


def test_what_would_be_rejected_is_refused_before_it_begins():
    slow = WaveTrack("II", pb.SIGNAL_ECG_II, 62_500, 0.005, np.zeros(500, np.int16))
    replay = PatientReplay(Recording("r", (slow,)), Origin("p1", "d1"), START_NS)
    with pytest.raises(RecordingError, match="r: ecg_ii would be rejected as rate_out_of_range: 62500 mHz"):
        check(replay)


def test_good_recordings_pass_the_check(replays):
    for replay in replays:
        check(replay)
