"""Source and sink inside Bytewax."""

import threading
from datetime import timedelta

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import cluster_main

from connectors.jetstream import JetStreamSink, JetStreamSource, OutMessage, ensure_streams
from dataflows._native import JetStreamError
from tests.connectors.jetstream.tools import alerts_in, frame, open_publisher, payloads, wait_for

pytestmark = pytest.mark.services


def build(settings, stop=lambda key, n: None):
    """Publishes one alert for each frame; its id is the patient and the frame's number."""

    def alerts(item):
        key, messages = item
        for n in payloads(messages.entries()):
            stop(key, n)
            patient = key.split("/")[1]
            yield key, OutMessage(f"alerts.v1.main.{patient}.test", b"%d" % n, f"{patient}.{n}")

    flow = Dataflow("test")
    stream = op.input("log", flow, JetStreamSource(settings))
    op.output("alerts", op.flat_map("alert", stream, alerts), JetStreamSink(settings.nats, "ALERTS"))
    return flow


class StopFlowError(Exception):
    pass


def run_until_stopped(flow, **options):
    options = {"epoch_interval": timedelta(milliseconds=100), "worker_count_per_proc": 1, **options}
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (Bytewax and PyO3 wrap it; callers look at the cause)
        cluster_main(flow, [], 0, **options)
    return caught.value


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("workers", [1, 2])
def test_every_frame_becomes_one_alert(nats_server, admin, workers):
    settings = nats_server.settings(partitions=4)
    ensure_streams(settings)
    patients = [f"p{n}" for n in range(10)]
    publisher = open_publisher(settings)
    publisher.publish_all([frame(p, n) for n in range(50) for p in patients])

    def stop(key, n):
        if n == 10_000:
            raise StopFlowError

    def end():
        wait_for(lambda: alerts_in(admin) == 500)
        publisher.publish_all([frame("end", 10_000)])

    flow = build(settings, stop)
    thread = threading.Thread(target=end)
    thread.start()
    run_until_stopped(flow, worker_count_per_proc=workers)
    thread.join()
    stored = [one for one in publisher.scan("ALERTS", 1, "Vitals-Writer") if one[1]]
    assert sorted(message_id for _, message_id, _ in stored) == sorted(f"{p}.{n}" for p in patients for n in range(50))
    assert len({writer for _, _, writer in stored}) > 1
    for patient in patients:
        own = [int(message_id.split(".")[1]) for _, message_id, _ in stored if message_id.startswith(f"{patient}.")]
        assert own == list(range(50))


def test_a_killed_server_ends_the_flow_with_an_error(nats_server, admin):
    settings = nats_server.settings(partitions=4)
    ensure_streams(settings)
    open_publisher(settings).publish_all([frame("a", n) for n in range(5)])

    def kill():
        wait_for(lambda: alerts_in(admin) == 5)
        nats_server.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    error = run_until_stopped(build(settings))
    thread.join()
    assert any(isinstance(cause, JetStreamError) for cause in causes(error)), error
