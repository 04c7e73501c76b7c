"""What a patient's choice of waveforms leaves of them: by frames, commands and alerts alone, however the log is cut."""

import json

import numpy as np
import pytest

from dataflows._native import Messages, Validator
from dataflows.contracts.frames import command_frame
from dataflows.contracts.tables import TABLES
from dataflows.monitor.patient import Patient, run
from tests.dataflows.test_patient import KEY, SECOND_NS, START_NS, entry, heart

SECONDS, STOPPED_S = 240, 140
COLUMNS = [name for name, _ in TABLES["waveforms"].columns]


def command(name, key, second, **argument):
    """A command in the log at a second of the recording."""
    log_ns = START_NS + round(second * SECOND_NS)
    frame = command_frame("p1", name, actor="dr-who", idempotency_key=key, argument_json=json.dumps(argument))
    return entry(frame, 0, log_ns)


def log(*commands):
    """A heart that stops for seven seconds, with commands, numbered in the order of log time."""
    merged = sorted([*heart(SECONDS, range(STOPPED_S, STOPPED_S + 7)), *commands], key=lambda one: one[2])
    return [(subject, n, log_ns, payload) for n, (subject, _, log_ns, payload) in enumerate(merged)]


def rows_of(steps, table="waveforms"):
    found = []
    for step in steps:
        for source in (step.output, *step.verdicts):
            for name, rows in source.rows():
                found += rows if name == table else []
    return sorted(found, key=lambda row: row[0])


def seconds(rows):
    return [(row[0] - START_NS) // SECOND_NS for row in rows]


def same(one, other):
    """Rows alike to the bit, samples too."""
    assert len(one) == len(other)
    at = COLUMNS.index("samples")
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine[at], theirs[at])
        assert (*mine[:at], *mine[at + 1 :]) == (*theirs[:at], *theirs[at + 1 :])


def told_s(steps):
    """Seconds of the recording that decided alerts; frames of a minute after them are the rule's own business."""
    alerts = [alert for step in steps for alert in step.alerts if alert.event in {"raised", "recurred", "worsened"}]
    return sorted((alert.sample_ns - START_NS) / SECOND_NS for alert in alerts)


@pytest.fixture(scope="module")
def everything():
    return rows_of(run(log(), Validator()))


def test_none_and_all_hold_from_their_command_on_with_its_author(everything):
    changes = log(command("waveforms", "1", 50, keep="none"), command("waveforms", "2", 90, keep="all"))
    steps = list(run(changes, Validator()))
    # A frame arrives when its second is over.
    assert seconds(rows_of(steps)) == [s for s in range(SECONDS) if not 49 <= s < 89]
    same(rows_of(steps), [row for row in everything if not 49 <= seconds([row])[0] < 89])
    commands = rows_of(steps, "commands")
    assert [(row[3], row[4], row[7]) for row in commands] == [("waveforms", "dr-who", "done")] * 2
    alike = [(row[0], row[3:]) for row in rows_of(steps, "beats")]
    assert alike == [(row[0], row[3:]) for row in rows_of(run(log(), Validator()), "beats")]


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_around_alerts_keeps_those_seconds_to_the_bit_however_the_log_is_cut(everything, batch):
    choice = command("waveforms", "1", 0.5, keep="around_alerts", before_s=12, after_s=5)
    steps = list(run(log(choice), Validator(), batch=batch))
    times = told_s(steps)
    assert len(times) >= 2
    wanted = {s for s in range(SECONDS) for at in times if s + 1 >= at - 12 and s <= at + 5}
    found = rows_of(steps)
    assert set(seconds(found)) - {0} == wanted - {0}
    assert len(wanted) < SECONDS / 2
    same(found, [row for row in everything if seconds([row])[0] in set(seconds(found))])


@pytest.mark.parametrize("cut", [150, 290, 300, 340])
def test_held_frames_survive_a_restart(everything, cut):
    choice = command("waveforms", "1", 0.5, keep="around_alerts", before_s=12, after_s=5)
    entries, validator = log(choice), Validator()
    whole = rows_of(run(entries, validator))
    patient, found = Patient(KEY, validator), []
    for part in (entries[:cut], entries[cut:]):
        output, verdicts, _ = patient.on_messages(Messages.build(part))
        found += [
            row for one in (output, *verdicts) for name, rows in one.rows() if name == "waveforms" for row in rows
        ]
        state = patient.snapshot()
        patient = Patient(KEY, validator)
        patient.restore(state)
    same(sorted(found, key=lambda row: row[0]), whole)


def test_back_to_all_nothing_is_held_and_the_state_is_as_before():
    validator = Validator()
    plain, chosen = Patient(KEY, validator), Patient(KEY, validator)
    plain.on_messages(Messages.build(log()[:100]))
    changed = [
        command("waveforms", "1", 10, keep="around_alerts", before_s=5),
        command("waveforms", "2", 20, keep="all"),
    ]
    chosen.on_messages(Messages.build(log(*changed)[:102]))
    # 64 keys of commands are remembered anyhow; frames would be kilobytes.
    assert len(chosen.snapshot()[1]) < len(plain.snapshot()[1]) + 100


def test_what_cannot_be_meant_is_refused_and_changes_nothing(everything):
    wrong = [{"keep": "some"}, {}, {"keep": "around_alerts", "before_s": 121}, {"keep": "none", "more": 1}]
    commands = [command("waveforms", str(n), 10 + n, **argument) for n, argument in enumerate(wrong)]
    steps = list(run(log(*commands), Validator()))
    assert [row[7] for row in rows_of(steps, "commands")] == ["refused"] * len(wrong)
    same(rows_of(steps), everything)


def test_a_state_of_before_the_choice_existed_is_read():
    """A snapshot of a lifecycle without the last field, as older versions wrote it."""
    import msgspec

    from dataflows.alerts.lifecycle import Lifecycle

    before = msgspec.msgpack.encode(msgspec.to_builtins(Lifecycle())[:-1])
    assert msgspec.msgpack.decode(before, type=Lifecycle).waveforms.idle
