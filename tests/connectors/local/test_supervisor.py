"""The parts of the supervisor without servers: pauses, progress, the recovery store."""

import socket
import threading

import pytest

from connectors.local.flow import FlowProcess
from connectors.local.partitions import Partition, partitions_of
from connectors.local.ports import free_ports
from connectors.local.recovery import RecoveryStore
from connectors.local.supervisor import BackOff
from connectors.local.unaccounted import Unaccounted
from connectors.local.watch import Progress
from dataflows.monitor.state import StateRefusedError
from dataflows.settings import Settings


def test_pauses_double_and_start_anew_after_a_healthy_time():
    back_off = BackOff(longest_s=1.0, healthy_s=60.0)
    assert [back_off.after(1.0) for _ in range(5)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert back_off.after(61.0) == 0.2
    assert back_off.after(59.0) == 0.4


def test_partitions_are_read_from_the_metrics():
    samples = {
        'nats_epochs_total{partition="VITALS/p3",step_id="vitals.log"}': 4.0,
        'nats_log_time_seconds{partition="VITALS/p3",step_id="vitals.log"}': 9.5,
        "vitals_samples_total": 7.0,
    }
    assert partitions_of(samples) == {"VITALS/p3": Partition(epochs=4.0, log_s=9.5)}


class TestProgress:
    def test_a_pipeline_that_gets_on_is_not_silent(self):
        progress = Progress(10.0, 0.0, ticks=True)
        for second in range(60):
            assert progress.observe({"p0": Partition(epochs=second + 1, log_s=second + 1)}, second) is None

    def test_each_partition_has_to_get_on(self):
        progress = Progress(10.0, 0.0, ticks=False)
        changes = [progress.observe({"p0": Partition(epochs=n + 1), "p1": Partition(epochs=1)}, n) for n in range(15)]
        (change,) = filter(None, changes)
        assert change.silent
        assert change.partitions == ("p1",)
        back = progress.observe({"p0": Partition(epochs=99), "p1": Partition(epochs=2)}, 20)
        assert back is not None
        assert not back.silent

    def test_who_stands_still_a_moment_shorter_is_named_too(self):
        progress = Progress(10.0, 0.0, ticks=False)
        epochs = {"p0": 3, "p1": 4, "p2": 99}
        looks = ({p: Partition(epochs=min(n + 1, most)) for p, most in epochs.items()} for n in range(15))
        (change,) = filter(None, [progress.observe(look, n) for n, look in enumerate(looks)])
        assert change.partitions == ("p0", "p1")
        assert change.since_s == 2

    def test_epochs_without_ticks_are_silence_where_the_broker_ticks(self):
        still = [Partition(epochs=n + 1, log_s=5.0) for n in range(15)]
        with_ticks, without = Progress(10.0, 0.0, ticks=True), Progress(10.0, 0.0, ticks=False)
        assert any(with_ticks.observe({"p0": partition}, n) for n, partition in enumerate(still))
        assert not any(without.observe({"p0": partition}, n) for n, partition in enumerate(still))

    def test_a_flow_that_never_answers_or_starts_again_and_again_is_silent(self):
        absent, looping = Progress(10.0, 0.0, ticks=False), Progress(10.0, 0.0, ticks=False)
        assert any(absent.observe({}, n) for n in range(15))
        assert any(looping.observe({"p0": Partition(epochs=0)} if n % 2 else {}, n) for n in range(15))


class TestRecoveryStore:
    def test_is_made_once_and_then_continued(self, tmp_path):
        assert RecoveryStore(tmp_path / "r", Settings()).prepare()
        assert not RecoveryStore(tmp_path / "r", Settings()).prepare()

    @pytest.mark.parametrize(
        ("harm", "words"),
        [
            (lambda folder: (folder / "part-1.sqlite3").unlink(), "was made with 2 files, 1 are there"),
            (lambda folder: (folder / "part-0.sqlite3").write_bytes(b"x" * 9000), "is damaged: part-0.sqlite3"),
            (lambda folder: (folder / "vitals-recovery.json").unlink(), "has no stamp"),
            (lambda folder: (folder / "vitals-recovery.json").write_text('{"format": 9}'), "is of format 9"),
        ],
    )
    def test_is_refused_in_words(self, tmp_path, harm, words):
        store = RecoveryStore(tmp_path, Settings())
        store.prepare()
        harm(tmp_path)
        with pytest.raises(StateRefusedError, match=words):
            store.prepare()

    def test_of_another_number_of_partitions_of_the_log_is_refused(self, tmp_path):
        RecoveryStore(tmp_path, Settings()).prepare()
        other = Settings()
        other = other.model_copy(update={"streams": other.streams.model_copy(update={"partitions": 4})})
        with pytest.raises(StateRefusedError, match="is of log_partitions 8, this flow is of 4"):
            RecoveryStore(tmp_path, other).prepare()

    def test_two_flows_do_not_share_it(self, tmp_path):
        store = RecoveryStore(tmp_path, Settings())
        with store.held(), pytest.raises(StateRefusedError, match="another flow runs"), store.held():
            pass


class TestUnaccounted:
    @staticmethod
    def samples(received, stored, rejected=0, commands=0):
        return {
            "vitals_received_total": received,
            'vitals_frames_total{result="stored"}': stored,
            'vitals_frames_total{result="rejected"}': rejected,
            "vitals_commands_total": commands,
        }

    def test_reads_zero_while_everything_comes_out(self):
        ledger = Unaccounted(patience_s=5.0)
        for second in range(30):
            # At each look some of the last second's messages are on their way.
            samples = self.samples(100 * second, max(0, 100 * second - 60), 40 * (second > 0), 20 * (second > 0))
            assert ledger.observe(samples, second) == 0

    def test_what_does_not_come_out_is_counted_once_it_should_have(self):
        ledger = Unaccounted(patience_s=5.0)
        counts = [ledger.observe(self.samples(100, 97), second) for second in range(8)]
        assert counts == [0] * 5 + [3] * 3

    def test_what_comes_out_twice_is_counted_and_a_new_process_begins_anew(self):
        ledger = Unaccounted(patience_s=5.0)
        assert ledger.observe(self.samples(100, 101), 0) == 1
        assert ledger.observe(self.samples(1000, 1000), 1) == 0
        assert [ledger.observe(self.samples(10, 10), second) for second in range(2, 9)] == [0] * 7


def test_a_process_that_is_killed_while_it_answers_has_no_samples(tmp_path):
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as server:

        def cut_short():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nvitals_")

        answer = threading.Thread(target=cut_short)
        answer.start()
        assert FlowProcess(Settings(), tmp_path, {}, port).samples() == {}
        answer.join()
