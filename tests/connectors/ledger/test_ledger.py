"""`vitals ledger` and `vitals rejected` on the whole pipeline: what is taken away is named, rejects come back."""

import json
import time

import pytest

from bench.traffic import Ward
from connectors.cli import main
from connectors.local.flow import settings_environment
from tests.connectors.jetstream.tools import BROKEN_HEADERS, publish_raw
from tests.faults.whole import Whole
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
PATIENTS, SECONDS, SKIPPED = 3, 20, 7


@pytest.fixture
def vitals(capsys, monkeypatch):
    """Runs `vitals ARGUMENTS`; returns exit code and output."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["vitals", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return ended.value.code or 0, printed.out + printed.err

    return run


def balance(vitals, *arguments):
    code, said = vitals("ledger", "--json", *arguments)
    return code, json.loads(said)


def check_reject(vitals, number):
    """The reject of this number is listed, shown as far as it can be decoded, and refused again."""
    assert "undecodable" in vitals("rejected")[1]
    said = vitals("rejected", "show", number)[1]
    assert "patient: 'p00000'" in said
    assert "ENDS HERE" in said
    assert "would be refused again" in vitals("rejected", "redrive", number)[1]
    assert "there is no rejected message 1" in vitals("rejected", "show", 1)[1], "that is a writer's fence"


def test_a_deleted_row_a_lost_frame_and_a_reject_are_named_and_driven_again(
    nats_server, own_questdb, tmp_path, vitals, monkeypatch
):
    whole = Whole(nats_server, own_questdb, tmp_path)
    for name, value in settings_environment(whole.settings).items():
        monkeypatch.setenv(name, value)
    flow = whole.flow()
    publish = whole.publisher()
    ward = Ward(PATIENTS, time.time_ns() - 60 * 10**9)
    sent = [
        message
        for second in range(SECONDS)
        for patient in range(PATIENTS)
        for index, message in enumerate(ward.messages(patient, second))
        # A frame that the device numbered and nobody ever saw again.
        if (patient, second, index) != (1, SKIPPED, 0)
    ]
    publish.publish_all(sent)
    # The same frame again, after the server's memory of ids: a duplicate. And bytes that are no frame.
    subject, _, payload = ward.messages(0, 3)[0]
    publish.publish_all([(subject, [], payload), (subject, [], payload[:-3])])
    last = publish.stream_state("VITALS")[2]
    until(lambda: flow.done_to() >= last, 60, poll_s=0.1)
    whole.wait_for_waveforms(PATIENTS * SECONDS - 1, flow)

    code, found = balance(vitals)
    received = len(sent) + 2
    assert code == 1
    assert found["totals"] == {
        "received": received, "stored": received - 2, "late": 0, "duplicate": 1, "rejected": 1, "spilled": 0,
        "left_out": 0, "in_flight": 0, "lost": 0, "missing": 1,
    }  # fmt: skip
    (gap,) = found["missing"]
    assert (gap["patient"], gap["device"], gap["first_seq"], gap["last_seq"]) == ("p00001", "patch", SKIPPED, SKIPPED)
    assert vitals("ledger", "--allow-gaps")[0] == 0
    assert sum(part["received"] for part in found["partitions"]) == received
    assert balance(vitals, "--to", "2020-01-01")[1]["totals"]["received"] == 0

    http = whole.questdb.http
    http.execute("CREATE TABLE kept AS (SELECT * FROM waveforms WHERE patient = 'p00002' AND seq = 4) TIMESTAMP(ts)")
    taken = "SELECT * FROM waveforms WHERE NOT (patient = 'p00002' AND seq = 4)"
    http.execute(f"CREATE TABLE others AS ({taken}) TIMESTAMP(ts)")
    http.execute("TRUNCATE TABLE waveforms")
    http.execute("INSERT INTO waveforms SELECT * FROM others")
    code, said = vitals("ledger", "--allow-gaps")
    assert code == 1
    assert "LOST: main/p00002 patch ecg_ii boot 1 seq 4 " in said
    assert "1 messages are LOST" in said
    http.execute("INSERT INTO waveforms SELECT * FROM kept")
    assert vitals("ledger", "--allow-gaps")[0] == 0

    check_reject(vitals, publish.last_on("REJECTED", "rejected.v1.>"))
    assert vitals("report", "burden", "--tenant", "main")[0] == 0
    acts = [json.loads(text.split(b" ", 1)[1]) for _, text in whole.messages("AUDIT")]
    noted = {(act["patient"], act["detail"].split(" of ")[0]) for act in acts}
    assert noted >= {("", "ledger"), ("", "rejected *"), ("", "report burden")}
    assert [act["patient"] for act in acts if act["detail"].startswith("rejected show")] == ["p00000"]
    flow.stop()
    whole.close()


def test_a_reject_that_a_setting_caused_is_driven_again_once(nats_server, own_questdb, tmp_path, vitals, monkeypatch):
    whole = Whole(nats_server, own_questdb, tmp_path)
    for name, value in settings_environment(whole.settings).items():
        monkeypatch.setenv(name, value)
    publish = whole.publisher()
    ahead = Ward(1, time.time_ns() + 3000 * 10**9)
    strict = whole.flow()
    last = publish.publish_all(ahead.messages(0, 0))[-1]
    until(lambda: strict.done_to() >= last, 60, poll_s=0.1)
    strict.stop()
    code, said = vitals("ledger", "--json")
    assert (code, json.loads(said)["totals"]["rejected"]) == (0, 2)
    assert "0 driven again, 2 left" in vitals("rejected", "redrive", "--reason", "time_ahead")[1]

    monkeypatch.setenv("VITALS_FLOW__MAX_AHEAD_S", "3600")
    wide = whole.settings.flow.model_copy(update={"max_ahead_s": 3600.0})
    strict.settings = strict.settings.model_copy(update={"flow": wide})
    strict.begin()
    assert "2 driven again" in vitals("rejected", "redrive", "--reason", "time_ahead")[1]
    vitals("rejected", "redrive", "--reason", "time_ahead")
    last = publish.stream_state("VITALS")[2]
    until(lambda: strict.done_to() >= last, 60, poll_s=0.1)
    whole.wait_for_waveforms(1, strict)
    totals = json.loads(vitals("ledger", "--json")[1])["totals"]
    assert (totals["stored"], totals["rejected"], totals["lost"]) == (2, 2, 0)
    assert whole.questdb.reader.count("waveforms") == whole.questdb.reader.count("observations") == 1
    strict.stop()
    whole.close()


def test_what_no_client_can_read_stops_no_command_and_no_start(nats_server, own_questdb, tmp_path, vitals, monkeypatch):
    """Such messages come from any device in the log, and from a bridge's stolen identity in REJECTED."""
    whole = Whole(nats_server, own_questdb, tmp_path)
    for name, value in settings_environment(whole.settings).items():
        monkeypatch.setenv(name, value)
    flow, publish = whole.flow(), whole.publisher()
    ward = Ward(1, time.time_ns() - 60 * 10**9)
    subject, _, payload = ward.messages(0, 0)[0]
    publish_raw(nats_server.port, *((subject.encode(), headers, b"not a frame") for headers in BROKEN_HEADERS))
    publish_raw(nats_server.port, (b"vitals.v1.main.p1.d.\xff", b"", payload))
    publish.publish_all(ward.messages(0, 1))
    refused = len(BROKEN_HEADERS) + 1
    last = publish.stream_state("VITALS")[2]
    until(lambda: flow.done_to() >= last, 60, poll_s=0.1)
    whole.wait_for_waveforms(1, flow)
    flow.stop()
    publish_raw(
        nats_server.port,
        *((b"rejected.v1.undecodable.main.bridge", headers, b"x") for headers in BROKEN_HEADERS),
        (b"rejected.v1.undecodable.main.bridge", b"NATS/1.0\r\nVitals-Log-Seq: 1e9\r\n\r\n", b"x"),
    )

    code, said = vitals("ledger", "--json", "--allow-gaps")
    totals = json.loads(said)["totals"]
    assert (code, totals["received"], totals["stored"], totals["rejected"]) == (0, refused + 2, 2, refused), said
    later = vitals("ledger", "--json", "--from", "2099-01-01")[1]
    assert json.loads(later)["totals"]["received"] == 0
    listed = vitals("rejected")
    assert listed[0] == 0
    assert f"undecodable {2 * refused}" in " ".join(listed[1].split())

    flow.begin()
    publish.publish_all(ward.messages(0, 2))
    whole.wait_for_waveforms(2, flow)
    assert flow.total_restarts == 0
    flow.stop()
    whole.close()
