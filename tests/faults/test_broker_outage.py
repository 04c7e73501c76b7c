"""The broker is away for longer than silence may last: one alert of the pipeline, none of the patients."""

import json
import threading
import time

import pytest

from bench.traffic import Ward, publish_live
from tests.faults.whole import Whole, doubles
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENTS, SECONDS, AWAY_S = 10, 8, 14.0


def bodies(whole: Whole, rule: str) -> list[dict[str, object]]:
    """Bodies of the alerts of a rule, in order."""
    found = [json.loads(text.split(b" ", 1)[1]) for _, text in whole.messages("ALERTS")]
    return [body for body in found if body["rule"] == rule]


def test_a_hole_in_the_log_is_one_alert_and_silence_is_counted_anew(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    flow = whole.flow()
    publish_live(Ward(PATIENTS, time.time_ns()), SECONDS, whole.publisher())
    nats_server.kill()
    threading.Event().wait(AWAY_S)
    nats_server.start()
    # The devices have started anew, too, and go on as soon as there is somebody to talk to.
    publish_live(Ward(PATIENTS, time.time_ns(), boot_id=2), SECONDS, whole.publisher())
    spoken_until_ns = time.time_ns()
    until(lambda: bodies(whole, "log_hole") != [], 30)
    whole.wait_for_waveforms(2 * PATIENTS * SECONDS, flow)
    flow.stop()
    whole.close()
    holes = bodies(whole, "log_hole")
    assert [(body["tenant"], body["patient"], body["transition"]) for body in holes] == [("tick", "broker", 0)]
    assert AWAY_S - 1 < holes[0]["value"] < AWAY_S + 10
    silences = [body for body in bodies(whole, "silence") if body["log_ns"] < spoken_until_ns]
    assert silences == []
    assert doubles(whole.messages("ALERTS")) == []
