"""The commands against a real nats-server: replay, alerts, doctor."""

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGINT, SIGTERM

import numpy as np
import pytest

from connectors.cli.demo import demo_settings
from connectors.devices import samples
from connectors.devices.wfdb_record import read_wfdb
from connectors.jetstream.connection import connect
from connectors.jetstream.streams import ensure_streams
from dataflows._native import tick_token
from dataflows.contracts import vitals_pb2 as pb
from tests.waiting import until

pytestmark = pytest.mark.services


@pytest.fixture
def server(nats_server, monkeypatch):
    """A nats-server that the environment names, its log in header time."""
    monkeypatch.setenv("VITALS_NATS__URL", nats_server.url)
    monkeypatch.setenv("VITALS_STREAMS__LOG_TIME", "header")
    monkeypatch.setenv("VITALS_STREAMS__VITALS_MAX_BYTES", str(1 << 30))
    monkeypatch.setenv("VITALS_STREAMS__SPILL_MAX_BYTES", str(1 << 28))
    return nats_server


def everything(server, stream):
    async def read():
        client = await connect(server.settings().nats, "test")
        js = client.jetstream()
        last = (await js.stream_info(stream)).state.last_seq
        messages = [await js.get_msg(stream, seq) for seq in range(1, last + 1)]
        await client.close()
        return messages

    return asyncio.run(read())


def publish(server, *messages):
    async def send():
        client = await connect(server.settings().nats, "test")
        for subject, payload in messages:
            await client.jetstream().publish(subject, payload)
        await client.close()

    asyncio.run(send())


def alert(number, rule="asystole", event="raised"):
    body = {
        "alert_id": str(number), "event": event, "notify": event == "raised", "actor": "", "tenant": "main",
        "patient": f"p{number}", "rule": rule,
        "priority": "high", "signal": "ecg_ii", "code": "", "value": 4.0, "limit": 4.0, "unit": "s",
        "log_ns": 1_700_000_000_000_000_000 + number,
    }  # fmt: skip
    return f"alerts.v1.main.p{number}.{rule}", json.dumps(body).encode()


def test_a_replay_stores_every_sample_once_and_ends_with_a_tick_in_each_partition(vitals, server):
    code, out, err = vitals("replay", samples.ASYSTOLE, "--speed", 0, "--patients", 3, "--stagger", 1)
    assert (code, err) == (0, "")
    assert "728 messages stored in" in out
    messages = everything(server, "VITALS")
    frames = {}
    for message in messages[:-8]:
        frame = pb.Frame.FromString(message.data)
        frames.setdefault((frame.patient, frame.signal), []).append(frame)
    waves = {wave.signal: wave.counts for wave in read_wfdb(samples.ASYSTOLE).waves}
    assert frames.keys() == {(f"a161l-{n}", signal) for n in (1, 2, 3) for signal in waves}
    for (_, signal), sent in frames.items():
        found = np.concatenate([np.frombuffer(frame.waveform.samples, "<i2") for frame in sent])
        np.testing.assert_array_equal(found, waves[signal])
    last_ns = max(int(message.headers["Vitals-Log-Time"]) for message in messages[:-8])
    ticks = {message.subject: int(message.headers["Vitals-Log-Time"]) for message in messages[-8:]}
    assert ticks == {f"vp.{n}.tick.{tick_token(n, 8)}.broker.tick": last_ns + 9 * 10**9 for n in range(8)}


def test_the_same_start_and_boot_give_the_same_bytes_and_are_known(vitals, server):
    arguments = (
        "replay",
        samples.NORMAL,
        "--duration",
        10,
        "--speed",
        0,
        "--start",
        "2026-11-20T08:00:00",
        "--boot",
        7,
    )
    assert vitals(*arguments)[0] == 0
    code, out, _ = vitals(*arguments)
    assert code == 0
    assert "(28 of them known before)" in out
    frame = pb.Frame.FromString(everything(server, "VITALS")[0].data)
    assert (frame.boot_id, frame.device_ns) == (7, 1_795_161_600_000_000_000)


def test_a_second_replay_goes_on_in_log_time(vitals, server):
    for _ in range(2):
        assert vitals("replay", samples.NORMAL, "--duration", 10, "--speed", 0)[0] == 0
    times = [int(message.headers["Vitals-Log-Time"]) for message in everything(server, "VITALS")]
    assert times == sorted(times)
    assert len({pb.Frame.FromString(m.data).boot_id for m in everything(server, "VITALS") if m.data}) == 2


def test_alerts_prints_the_last_ones_of_whom_it_is_asked(vitals, server):
    ensure_streams(server.settings(log_time="header"))
    assert vitals("alerts")[1] == "no alerts yet\n"
    publish(server, *(alert(number) for number in range(1, 6)), alert(3, "spo2_below_90", "cleared"))
    code, out, _ = vitals("alerts", "--last", 2)
    assert (code, len(out.splitlines())) == (0, 2)
    assert "main/p3  spo2_below_90" in out
    _, out, _ = vitals("alerts", "--patient", "p3", "--json")
    assert [json.loads(line)["rule"] for line in out.splitlines()] == ["asystole", "spo2_below_90"]
    assert len(vitals("alerts", "--rule", "asystole")[1].splitlines()) == 5


def test_alerts_without_the_stream_says_who_makes_it(vitals, server):
    code, _, err = vitals("alerts")
    assert code == 1
    assert "there is no stream ALERTS yet" in err


def test_alerts_follows_until_it_is_interrupted(server, tmp_path):
    ensure_streams(server.settings(log_time="header"))
    publish(server, alert(1))
    output = tmp_path / "out"
    command = [sys.executable, "-m", "connectors.cli", "alerts", "--follow", "--json"]
    with output.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE) as process:
        until(lambda: output.read_text().count("\n") == 1)
        (event,) = (json.loads(one.data) for one in everything(server, "AUDIT"))
        assert event["detail"] == "alerts * followed of every organisation"
        publish(server, alert(2), alert(3))
        until(lambda: output.read_text().count("\n") == 3)
        process.send_signal(2)
        assert process.wait(20) == 130
        assert b"Traceback" not in process.stderr.read()
    assert [json.loads(line)["alert_id"] for line in output.read_text().splitlines()] == ["1", "2", "3"]


def test_alerts_says_when_the_server_goes(server):
    ensure_streams(server.settings(log_time="header"))
    publish(server, alert(1))
    command = [sys.executable, "-m", "connectors.cli", "alerts", "--follow", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())["alert_id"] == "1"
        server.kill()
        assert process.wait(30) == 1
        assert process.stderr.read().decode() == f"vitals: the connection to NATS at {server.url} was lost\n"


def test_doctor_sees_servers_streams_and_that_nobody_reads(vitals, server, monkeypatch):
    monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
    ensure_streams(server.settings(log_time="header", spill_max_bytes=1 << 20))
    code, out, _ = vitals("doctor")
    assert code == 1
    assert "nobody reads the log" in out
    assert any("stream ALERTS" in line and line.startswith("ok") for line in out.splitlines())
    assert any("stream SPILL" in line and line.startswith("note") for line in out.splitlines())
    assert "max_bytes is 1048576, the settings say 268435456" in " ".join(out.split())
    assert "1 problem\n" in out


def test_the_demo_takes_other_ports_when_the_usual_ones_are_taken(tmp_path):
    settings, api = demo_settings(tmp_path)
    first = settings.nats.url
    assert api >= 3030
    assert settings.streams.log_time == "header"
    assert first.startswith("nats://127.0.0.1:")
    assert settings.stack.data_dir == tmp_path


@pytest.fixture
def flow(server, monkeypatch, tmp_path):
    """`vitals flow` on the server, without a database; its words go to a file."""
    monkeypatch.setenv("VITALS_QUESTDB__ENABLED", "false")
    monkeypatch.setenv("VITALS_STACK__DATA_DIR", str(tmp_path / "data"))
    ensure_streams(server.settings(log_time="header"))
    words = tmp_path / "words"
    command = [sys.executable, "-m", "connectors.cli", "flow"]
    with words.open("wb") as file, subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file) as process:
        until(lambda: readers(server) == 8 or process.poll() is not None)
        yield process, words
        process.kill()


def pending(process, number):
    """Whether a signal has not reached the program yet."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"ShdPnd:\s*(\w+)", status)[1], 16) >> (number - 1) & 1


def readers(server):
    async def count():
        client = await connect(server.settings().nats, "test")
        found = len(await client.jetstream().consumers_info("VITALS"))
        await client.close()
        return found

    return asyncio.run(count())


@pytest.mark.parametrize(("stop", "code"), [(SIGINT, 130), (SIGTERM, 0)])
def test_the_flow_stops_in_words(flow, stop, code):
    process, words = flow
    process.send_signal(stop)
    assert process.wait(30) == code
    assert words.read_text() == "the flow runs; Ctrl-C stops it\nstopped; `vitals flow` continues where it was\n"


def test_a_flow_that_cannot_drain_is_broken_off_by_a_second_ctrl_c(flow, server):
    process, words = flow
    server.pause()
    try:
        process.send_signal(SIGINT)
        until(lambda: not pending(process, SIGINT))  # two at once would be one
        time.sleep(0.5)
        process.send_signal(SIGINT)
        assert process.wait(30) == 130
    finally:
        server.resume()
    assert words.read_text().endswith("stopped; `vitals flow` continues where it was\n")
    assert "Traceback" not in words.read_text()


def test_the_flow_says_that_it_lost_the_server(flow, server):
    process, words = flow
    server.kill()
    assert process.wait(60) == 1
    assert "vitals: the flow ended: " in words.read_text()
    assert "`vitals flow` continues where it was" in " ".join(words.read_text().split())
