"""10,000 mutated frames and 10,000 random byte strings: each is stored or in REJECTED exactly once."""

import random
import time

import pytest

from bench.traffic import Ward
from tests.connectors.jetstream.tools import wait_for
from tests.faults.whole import Whole, doubles
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
COUNT = 10_000
RESULTS = ("stored", "late", "duplicate", "rejected")


def mutated(payload: bytes, seeded: random.Random) -> bytes:
    bytes_ = bytearray(payload)
    for _ in range(seeded.randint(1, 4)):
        at = seeded.randrange(len(bytes_))
        match seeded.randrange(3):
            case 0:
                bytes_[at] = seeded.randrange(256)
            case 1:
                del bytes_[at : at + seeded.randint(1, 9)]
            case _:
                bytes_[at:at] = seeded.randbytes(seeded.randint(1, 9))
        if not bytes_:
            bytes_ = bytearray(b"\0")
    return bytes(bytes_)


def test_every_message_is_stored_or_rejected_exactly_once(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    seeded = random.Random(3)
    seconds = 40
    start_ns = time.time_ns() - (COUNT + 1) * 10**9
    bad, good = Ward(1, start_ns), Ward(5, start_ns)
    # A flow that began anew would count from 0: it should not, where the machine stands still for some seconds.
    patient = whole.settings.nats.model_copy(update={"heartbeat_s": 20.0, "ack_timeout_s": 30.0})
    whole.settings = whole.settings.model_copy(update={"nats": patient})
    publish = whole.publisher()
    flow = whole.flow()
    sent = 0
    for second in range(COUNT):
        subject, _, payload = bad.messages(0, second)[second % 2]
        # Frames of another patient's subject are wrong in every field that says who they are.
        subject = subject.replace("p00000", "mutant")
        garbage = subject.replace("mutant", "garbage")
        batch = [(subject, [], mutated(payload, seeded)), (garbage, [], seeded.randbytes(seeded.randint(0, 200)))]
        if second < seconds:
            batch += [message for patient in range(1, 5) for message in good.messages(patient, second)]
        sent += len(publish.publish_all(batch))
    reader = whole.questdb.reader
    became = wait_for(lambda: _settled(sent, flow), 120, 0.5)
    until(lambda: len(whole.messages("REJECTED")) == became["rejected"], 60, poll_s=1.0)
    whole.wait_for_waveforms(4 * seconds, flow)
    flow.stop()
    whole.close()
    rejected = whole.messages("REJECTED")
    assert doubles(rejected) == []
    assert len(rejected) == became["rejected"]
    reader.wait_applied()
    frames = "(SELECT DISTINCT patient, device, boot, signal, seq FROM {})"
    stored = sum(reader.count_of(frames.format(table)) for table in ("waveforms", "observations"))
    assert stored + len(rejected) + became["duplicate"] == sent
    for patient in range(1, 5):
        assert reader.count("waveforms", f"patient = 'p{patient:05d}'") == seconds
        assert reader.count("observations", f"patient = 'p{patient:05d}'") == seconds
    assert reader.count("waveforms", "patient = 'garbage'") == 0


def _became(flow) -> dict[str, float]:
    samples = flow.samples()
    return {name: samples.get(f'vitals_frames_total{{result="{name}"}}', 0.0) for name in RESULTS}


def _settled(sent: int, flow) -> dict[str, float]:
    """What became of everything; nothing before that."""
    flow.check()
    became = _became(flow)
    return became if sum(became.values()) == sent else {}
