"""QuestDB killed under load: alerts keep coming within a second, and afterwards no row is missing."""

import asyncio
import os
import threading
import time

import pytest

from bench.pipeline import alert_times
from bench.traffic import Ward
from tests.faults.whole import Live, Whole, doubles, story_until
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(400)]
# Half a minute in CI; VITALS_OUTAGE_S=120 is the long run.
OUTAGE_S = float(os.environ.get("VITALS_OUTAGE_S", "30"))
PATIENTS, SECONDS = 50, int(OUTAGE_S) + 30


def test_a_dead_database_delays_no_alert_and_loses_no_row(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    flow = whole.flow()
    until(lambda: flow.metrics().get("nats_last_seq"), 60)
    live = Live(whole, Ward(PATIENTS, time.time_ns()), SECONDS)
    live.start()
    threading.Event().wait(10.0)
    own_questdb.kill()
    threading.Event().wait(OUTAGE_S)
    own_questdb.start()
    live.join()
    whole.wait_for_waveforms(PATIENTS * SECONDS, flow)
    flow.stop()
    alerts, rows = whole.messages("ALERTS"), whole.rows()
    latencies = sorted([delay_s * 1000 for _, delay_s, _ in asyncio.run(alert_times(whole.settings))])
    assert len(latencies) > 20
    assert latencies[int(len(latencies) * 0.99)] < 1000, latencies[-5:]
    assert doubles(alerts) == []

    whole.forget_outputs()
    calm = whole.flow()
    whole.wait_for_waveforms(PATIENTS * SECONDS, calm)
    calm.stop()
    whole.close()
    calm_rows = whole.rows()
    cut_ns = calm_rows["waveforms"]["log_ns"].max()
    calm_alerts, calm_rows = story_until(cut_ns, whole.messages("ALERTS"), calm_rows)
    alerts, rows = story_until(cut_ns, alerts, rows)
    assert calm_alerts == alerts
    for table, frame in calm_rows.items():
        assert rows[table].equals(frame), table
