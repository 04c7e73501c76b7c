"""QuestDB killed under load: alerts keep coming within a second, and afterwards no row is missing."""

import asyncio
import os
import threading
import time

import pytest

from bench.pipeline import alert_times
from bench.traffic import Ward
from tests.faults.whole import WARM, Live, Whole, doubles, story_until
from tests.stalls import Stalls

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]
# Half a minute in CI; VITALS_OUTAGE_S=120 is the long run.
OUTAGE_S = float(os.environ.get("VITALS_OUTAGE_S", "30"))
PATIENTS, SECONDS = 50, int(OUTAGE_S) + 30


def test_a_dead_database_delays_no_alert_and_loses_no_row(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    flow = whole.flow()
    warm = whole.warm_up(flow)
    live = Live(whole, Ward(PATIENTS, time.time_ns()), SECONDS)
    with Stalls(0.25) as stalls:
        live.start()
        threading.Event().wait(10.0)
        killed_s = time.time()
        own_questdb.kill()
        threading.Event().wait(OUTAGE_S)
        own_questdb.start()
        live.join()
        ended_s = time.time()
    whole.wait_for_waveforms(warm + PATIENTS * SECONDS, flow)
    flow.stop()
    alerts, rows = whole.messages("ALERTS"), whole.rows()
    timed = asyncio.run(alert_times(whole.settings))
    # From the kill to the end of the traffic. Before it all patients are new at once, which takes up to a second on a
    # busy machine; after it each signal's silence is an alert, which waits for a tick, and that comes each second.
    during = [
        stalls.awake_until_s(at_s, delay_s)
        for at_s, delay_s, patient in timed
        if killed_s <= at_s < ended_s and patient < f"p{WARM}"
    ]
    print(f"{len(timed)} alerts, {len(during)} of them without the database or while it comes back")
    latencies = sorted(delay_s * 1000 for delay_s in during)
    assert len(latencies) > 20
    assert latencies[int(len(latencies) * 0.99)] < 1000, latencies[-5:]
    assert doubles(alerts) == []

    whole.forget_outputs()
    calm = whole.flow()
    whole.wait_for_waveforms(warm + PATIENTS * SECONDS, calm)
    calm.stop()
    whole.close()
    calm_rows = whole.rows()
    cut_ns = calm_rows["waveforms"]["log_ns"].max()
    calm_alerts, calm_rows = story_until(cut_ns, whole.messages("ALERTS"), calm_rows)
    alerts, rows = story_until(cut_ns, alerts, rows)
    assert calm_alerts == alerts
    for table, frame in calm_rows.items():
        assert rows[table].equals(frame), table
