"""The rule `silence`, where it fires, where it must not, and at its exact boundary; log time is the server's here."""

import pytest

from dataflows._native import SignalsConfig, Validator
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import NumericFramer, Origin, Reading, subject_of
from dataflows.monitor.patient import run

S = 1_000_000_000
START_NS = 1_700_000_000 * S
LIMIT_S = 60
LAST_S = 90


def told(next_ns, every_s=10, until_s=400):
    """(second, event) of the rule: readings until second 90, the next one `next_ns` later, then again as before."""
    framer, at_ns, entries = NumericFramer(Origin("p1", "watch")), START_NS, []
    times = [START_NS + at_s * S for at_s in range(0, LAST_S + 1, every_s)]
    if next_ns is not None:
        times += [times[-1] + next_ns + number * every_s * S for number in range(30)]
    for at_ns in times:
        frame = framer.frame([Reading(pb.CODE_HR, 70, pb.UNIT_PER_MIN)], at_ns)
        subject = subject_of(frame).replace("vitals.v1.", "vp.0.").encode()
        entries.append((subject, len(entries) + 1, at_ns, frame.SerializeToString()))
    entries.append((b"", len(entries) + 1, START_NS + until_s * S, b""))
    entries = [one for one in entries if one[2] <= START_NS + until_s * S]
    config = SignalsConfig(silence_reading_s=float(LIMIT_S))
    alerts = [alert for step in run(entries, Validator(), config=config) for alert in step.alerts]
    return [((one.log_ns - START_NS) / S, one.event.value) for one in alerts if one.rule == "silence"]


@pytest.mark.parametrize(
    ("next_ns", "said"),
    [
        (None, [(LAST_S + LIMIT_S, "raised")]),
        ((LIMIT_S + 20) * S, [(LAST_S + LIMIT_S, "raised"), (LAST_S + LIMIT_S + 20, "cleared")]),
        ((LIMIT_S - 20) * S, []),
        (LIMIT_S * S, [(LAST_S + LIMIT_S, "raised"), (LAST_S + LIMIT_S, "cleared")]),
        (LIMIT_S * S - 1, []),
    ],
    ids=["fires", "fires_and_ends", "quiet", "boundary_fires", "boundary_quiet"],
)
def test_a_signal_that_falls_silent(next_ns, said):
    assert told(next_ns) == said
