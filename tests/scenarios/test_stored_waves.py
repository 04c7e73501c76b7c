"""Which waves are stored is a command in the log: through the running flow, and through a kill in the midst of it."""

import json

import pytest

from connectors.devices.load import load
from connectors.devices.plan import Log, Plan
from connectors.devices.replay import Publication, merged
from connectors.devices.samples import ASYSTOLE, NORMAL
from dataflows.contracts.frames import LOG_TIME_HEADER, command_frame, message_id, subject_of
from tests.faults.whole import Whole
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
S = 1_000_000_000
START_NS = 1_795_000_000 * S
SECONDS = 300
NONE_FROM, NONE_TO = 60, 120
BEFORE_S, AFTER_S = 12, 5


def command(patient, second, **argument):
    """The command, at a second of the recording."""
    asked = {"actor": "dr-who", "idempotency_key": f"w-{second}", "argument_json": json.dumps(argument)}
    frame = command_frame(patient, "waveforms", **asked)
    log_ns = START_NS + round(second * S)
    return Publication(log_ns, subject_of(frame), message_id(frame), frame.SerializeToString())


def log():
    """Two patients of five minutes: waves that nobody wants for a minute, and waves around alerts alone."""
    plan = Plan([load(NORMAL, None), load(ASYSTOLE, None)], speed=0, start_ns=START_NS, boot=1)
    recorded = [one for one in merged(plan.replays(Log(True, 8, 0), START_NS)) if one.log_ns < START_NS + SECONDS * S]
    commands = [
        command("100", NONE_FROM + 0.5, keep="none"),
        command("100", NONE_TO + 0.5, keep="all"),
        command("a161l", 0.5, keep="around_alerts", before_s=BEFORE_S, after_s=AFTER_S),
    ]
    return sorted([*recorded, *commands], key=lambda one: one.log_ns)


def publish(whole, publications):
    publisher = whole.publisher()
    publisher.publish_all(
        [
            (one.subject, {"Nats-Msg-Id": one.message_id, LOG_TIME_HEADER: str(one.log_ns)}, one.payload)
            for one in publications
        ]
    )
    publisher.close()


def test_the_choice_holds_in_the_database_and_through_a_kill(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path, log_time="header")
    flow, publications = whole.flow(), log()
    half = len(publications) // 2
    publish(whole, publications[:half])
    until(lambda: flow.done_to() > half // 2, 90, poll_s=0.2)
    flow.kill()
    publish(whole, publications[half:])
    last = whole.publisher().stream_state("VITALS")[2]
    until(lambda: flow.done_to() >= last, 90, poll_s=0.2)
    until(whole.is_drained, 90, poll_s=0.2)
    flow.stop()
    whole.close()
    reader = whole.questdb.reader
    reader.wait_applied()

    def seconds(patient, signal):
        found = reader.query(
            f"SELECT cast(ts AS long) ts FROM waveforms WHERE patient = '{patient}' AND signal = '{signal}' ORDER BY ts"
        )
        return [(ts - START_NS) / S for ts in found["ts"]]

    def beats(patient, at):
        where = f"patient = '{patient}' AND ts >= {START_NS + at[0] * S} AND ts < {START_NS + at[1] * S}"
        return reader.query(f"SELECT count() n FROM beats WHERE {where}")["n"].item()

    # A frame is judged when its second is over, so a choice begins with the frame that arrives next.
    recorded_s = min(SECONDS, load(NORMAL, None).duration_s)
    found = seconds("100", "ecg_mlii")
    assert found == sorted(set(found))
    assert {round(at) for at in found} == {s for s in range(int(recorded_s)) if not NONE_FROM <= s < NONE_TO}
    assert beats("100", (NONE_FROM, NONE_TO)) > 50  # detectors see all of them

    told = reader.query("SELECT event, body FROM alerts WHERE patient = 'a161l'").to_dicts()
    times = [
        (json.loads(one["body"])["sample_ns"] - START_NS) / S
        for one in told
        if one["event"] in {"raised", "recurred", "worsened"}
    ]
    assert times
    kept = seconds("a161l", "ecg_ii")
    assert kept == sorted(set(kept))
    wanted = {s for s in range(SECONDS) for at in times if s + 1 >= at - BEFORE_S and s <= at + AFTER_S}
    wanted &= set(range(int(load(ASYSTOLE, None).duration_s)))
    assert {round(at) for at in kept} - {0} == wanted - {0}
    assert 0 < len(wanted) < SECONDS / 2
    asked = reader.query("SELECT patient, result, actor FROM commands WHERE name = 'waveforms' ORDER BY ts")
    assert asked.rows() == [("a161l", "done", "dr-who"), ("100", "done", "dr-who"), ("100", "done", "dr-who")]
