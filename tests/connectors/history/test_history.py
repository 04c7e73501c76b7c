"""Replay determinism on the shipped sample: workers, processes, batch sizes, a kill, a kept snapshot, a warm-up."""

import asyncio
import shutil
import threading
import time

import pytest

from bench.traffic import Ward
from connectors.cli.history import replayed
from connectors.cli.replay import run
from connectors.devices import samples
from connectors.devices.load import load
from connectors.devices.plan import Plan
from connectors.history.capture import CaptureSink, captured_messages, encode_messages
from connectors.history.compare import Comparer, Window
from connectors.history.graph import Range
from connectors.history.replay import Replay, plan_range
from connectors.jetstream.connection import connect
from connectors.jetstream.sink import OutMessage
from tests.faults.whole import Live, Whole
from tests.waiting import until


def test_a_captured_file_is_cut_back_to_the_recovery_state(tmp_path):
    sink = CaptureSink(tmp_path, "alerts", encode_messages)
    first = sink.build_part("captured", "alerts-0", None)
    first.write_batch([OutMessage("a", b"1", "1")])
    length = first.snapshot()
    first.write_batch([OutMessage("a", b"2", "2")])
    first.close()
    again = sink.build_part("captured", "alerts-0", length)
    again.write_batch([OutMessage("a", b"3", "3")])
    again.close()
    assert captured_messages(tmp_path, "alerts") == [("1", "a", b"1"), ("3", "a", b"3")]


def replay(whole, scratch, times=(None, None), warm_up_s=0.0, recovery=None, **changes):
    """Replays and compares; returns the comparisons by name."""
    settings = whole.settings
    for part in ("run", "flow"):
        wanted = {
            name: value for name, value in changes.items() if name in getattr(settings, part).__class__.model_fields
        }
        settings = settings.model_copy(update={part: getattr(settings, part).model_copy(update=wanted)})
    found = asyncio.run(replayed(settings, scratch, times, warm_up_s, recovery))
    return {comparison.name: comparison for comparison in found}


def differences(found):
    return {name: (one.only_live, one.only_replay) for name, one in found.items() if one.differing}


@pytest.fixture
def sample(nats_server, own_questdb, tmp_path):
    """The shipped recordings through the live flow; what it wrote stays."""
    whole = Whole(nats_server, own_questdb, tmp_path, log_time="header")
    flow = whole.flow()
    plan = Plan([load(path) for path in samples.ALL], speed=0, start_ns=1_795_000_000_000_000_000, boot=1)
    stored = asyncio.run(run(whole.settings, plan, lambda *_: None)).stored
    until(lambda: flow.done_to() >= stored, 120, poll_s=0.2)
    flow.stop()
    until(whole.is_drained, 60, poll_s=0.2)
    yield whole
    whole.close()


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_sample_replays_to_the_same_bytes_and_rows(sample, tmp_path):
    plain = replay(sample, tmp_path / "plain")
    assert differences(plain) == {}
    assert plain["alerts"].same > 10
    assert plain["ALERTS"].same > 10
    assert plain["beats"].same > 1000
    assert differences(replay(sample, tmp_path / "small", batch_messages=7, workers=2)) == {}
    assert differences(replay(sample, tmp_path / "two", processes=2)) == {}
    assert sum(b"replay-history 1 to " in text for _, text in sample.messages("AUDIT")) == 3


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_replay_through_kills_is_the_same_and_a_changed_alert_is_named(sample, tmp_path):
    last = sample.publisher().stream_state("VITALS")[2]
    slow = sample.settings.model_copy(
        update={"flow": sample.settings.flow.model_copy(update={"batch_messages": 2, "poll_ms": 20.0})}
    )
    killed = Replay(slow, tmp_path / "killed", Range(1, last), print)

    def written():
        return sum(file.stat().st_size for file in (tmp_path / "killed" / "out").glob("*"))

    thread = killed.in_background()
    kills = 0
    while thread.is_alive() and kills < 3:
        before = written()
        until(lambda before=before: written() > before or not thread.is_alive(), 60)
        if thread.is_alive():
            killed.supervisor.flow.processes[0].kill()
            kills += 1
            until(lambda before=kills: killed.supervisor.status.restarts >= before or not thread.is_alive(), 60)
    thread.join(200)
    assert kills >= 1
    whole = replay(sample, tmp_path / "plain")
    assert differences(whole) == {}
    for name in ("alerts", "rejected"):
        assert sorted(captured_messages(tmp_path / "killed" / "out", name)) == sorted(
            captured_messages(tmp_path / "plain" / "out", name)
        )
    (file, *_) = sorted(file for file in (tmp_path / "plain" / "out").glob("alerts-*.bin") if file.stat().st_size)
    file.write_bytes(file.read_bytes().replace(b'"raised"', b'"Raised"', 1))
    damaged = asyncio.run(compared_alerts(sample, tmp_path / "plain", last))
    assert damaged.differing == 2
    assert '"raised"' in damaged.only_live[0]
    assert '"Raised"' in damaged.only_replay[0]


async def compared_alerts(whole, scratch, last):
    client = await connect(whole.settings.nats, "test")
    found = await Comparer(whole.settings, Window({}, {}, {}, last), scratch).alerts(client)
    await client.close()
    return found


async def compared_while_the_flow_goes_on(whole, scratch):
    """The devices are silent by now: after the range is set, the flow raises an alert of that in each patient."""
    client = await connect(whole.settings.nats, "test")
    plan, window = await plan_range(client, whole.settings, (None, None), 0.0, {})
    before = whole.questdb.reader.count("alerts")
    await asyncio.to_thread(until, lambda: whole.questdb.reader.count("alerts") >= before + 6, 60)
    assert await asyncio.to_thread(Replay(whole.settings, scratch, plan, print).run) == 0
    comparer = Comparer(whole.settings, window, scratch)
    found = [await comparer.alerts(client), *await asyncio.to_thread(comparer.rows)]
    await client.close()
    return {comparison.name: comparison for comparison in found}


@pytest.mark.services
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_a_kept_snapshot_and_with_a_warm_up(nats_server, own_questdb, tmp_path):
    whole = Whole(nats_server, own_questdb, tmp_path)
    flow = whole.flow()
    until(lambda: flow.done_to() > 0)
    live = Live(whole, Ward(6, time.time_ns()), 40)
    live.start()
    threading.Event().wait(14)
    flow.stop()
    shutil.copytree(flow.store.folder, tmp_path / "kept")
    middle_ns = time.time_ns()
    flow.begin()
    live.join()
    whole.wait_for_waveforms(6 * 40, flow)
    going_on = asyncio.run(compared_while_the_flow_goes_on(whole, tmp_path / "going-on"))
    assert differences(going_on) == {}
    assert going_on["beats"].same > 100
    flow.stop()
    whole.close()
    kept = replay(whole, tmp_path / "from-kept", recovery=tmp_path / "kept")
    assert differences(kept) == {}
    assert kept["beats"].same > 100
    until_then = replay(whole, tmp_path / "until", times=(None, middle_ns))
    assert differences(until_then) == {}
    assert until_then["beats"].same > 50
    warm = replay(whole, tmp_path / "warm", times=(middle_ns + 10**10, None), warm_up_s=12.0)
    assert warm["waveforms"].left_out > 0
    assert differences({name: warm[name] for name in ("waveforms", "observations")}) == {}
