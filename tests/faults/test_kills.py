"""kill -9 of the flow changes nothing: not in QuestDB, not in ALERTS, alert bodies byte for byte."""

import random
import threading
import time

import pytest

from bench.traffic import Ward, publish_live
from tests.faults.whole import Live, Whole, doubles, story_until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(900)]
PATIENTS, SECONDS, MORE_SECONDS, KILLS, WITHIN_EPOCH = 20, 60, 20, 20, 6


class AlertTrigger(threading.Thread):
    """Kills the flow right after an alert appeared in ALERTS: before the end of the epoch that wrote it."""

    def __init__(self, whole: Whole, flow, wanted: int) -> None:
        super().__init__(daemon=True)
        self._whole, self._flow, self._wanted = whole, flow, wanted
        self.kills_in_epoch = 0
        self.ended = threading.Event()

    def run(self) -> None:
        watch = self._whole.publisher()
        seen = watch.last_on("ALERTS", "alerts.v1.>")
        while self.kills_in_epoch < self._wanted and not self.ended.wait(0.01):
            last = watch.last_on("ALERTS", "alerts.v1.>")
            if last > seen:
                self._flow.kill()
                self.kills_in_epoch += 1
                seen = last


def test_twenty_kills_change_nothing(nats_server, own_questdb, tmp_path):
    # A window of a second: exactness must not lean on the server's memory of ids.
    whole = Whole(nats_server, own_questdb, tmp_path, dedupe_window_s=1.0)
    seeded = random.Random(20261124)
    ward = Ward(PATIENTS, time.time_ns())
    flow = whole.flow()
    live = Live(whole, ward, SECONDS)
    live.start()
    trigger = AlertTrigger(whole, flow, wanted=WITHIN_EPOCH)
    trigger.start()
    pause = threading.Event()
    for _ in range(KILLS - WITHIN_EPOCH):
        pause.wait(seeded.uniform(0.5, 3.5))
        flow.kill()
    live.join()
    frames = PATIENTS * SECONDS
    # A flow that takes long to start brings the alerts of that time at once: traffic goes on until there were kills.
    for more in range(1, 10):
        if not trigger.is_alive():
            break
        publish_live(Ward(PATIENTS, time.time_ns(), first=100 * more), MORE_SECONDS, whole.publisher())
        frames += PATIENTS * MORE_SECONDS
    trigger.join(60)
    trigger.ended.set()
    whole.wait_for_waveforms(frames, flow)
    flow.stop()
    broken_alerts, broken_rows = whole.messages("ALERTS"), whole.rows()
    assert trigger.kills_in_epoch == WITHIN_EPOCH
    assert flow.kills >= KILLS
    assert doubles(broken_alerts) == []
    assert whole.messages("REJECTED") == []

    whole.forget_outputs()
    calm = whole.flow()
    whole.wait_for_waveforms(frames, calm)
    calm.stop()
    whole.close()
    alerts, rows = whole.messages("ALERTS"), whole.rows()
    assert rows["waveforms"].height == frames
    assert rows["alerts"].height == len(alerts)
    cut_ns = rows["waveforms"]["log_ns"].max()
    broken_alerts, broken_rows = story_until(cut_ns, broken_alerts, broken_rows)
    alerts, rows = story_until(cut_ns, alerts, rows)
    assert len(alerts) > 10
    assert broken_alerts == alerts
    for table, frame in rows.items():
        assert broken_rows[table].equals(frame), table
