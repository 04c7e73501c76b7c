"""The whole flow behind locked doors: TLS, client certificates and credentials on every connection it makes."""

import time

import numpy as np
import pytest

from connectors.local.flow import FlowProcess
from connectors.local.ports import free_ports
from dataflows.contracts import vitals_pb2 as pb
from dataflows.contracts.frames import Origin, WaveFramer, signal_token
from tests.connectors.identity.conftest import Locked
from tests.connectors.identity.mqtt import MqttDevice
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A stack whose clients need a certificate beside their credentials."""
    locked = Locked(tmp_path_factory.mktemp("certified"), client_certificates=True)
    with locked.stack:
        yield locked


def frames(origin, count):
    framer = WaveFramer(origin, pb.SIGNAL_PLETH, 100_000, 1.0, time.time_ns() - count * 10**9)
    ramp = np.arange(100, dtype=np.int16)
    return [framer.frame(ramp + n) for n in range(count)]


def flow_of(locked, folder):
    (port,) = free_ports(1)
    # Nobody starts it again here: it should not end when the machine stands still for 4 s.
    nats = locked.settings.nats.model_copy(update={"heartbeat_s": 10.0})
    return FlowProcess(locked.settings.model_copy(update={"nats": nats}), folder, {}, port)


def became(flow, result):
    return flow.samples().get(f'vitals_frames_total{{result="{result}"}}', 0.0)


def test_the_flow_reads_with_a_certificate_and_credentials(certified, tmp_path):
    """The Rust client and nats-py alike: the flow opens a dozen connections of both."""
    from connectors.jetstream.connection import native_options
    from dataflows._native import Publisher

    publisher = Publisher(native_options(certified.settings.nats, "test"))
    origin = Origin("certified", "d")
    messages = [
        (f"vitals.v1.main.certified.d.{signal_token(f.signal)}", [], f.SerializeToString()) for f in frames(origin, 5)
    ]
    publisher.publish_all(messages)
    publisher.close()
    flow = flow_of(certified, tmp_path)
    flow.start()
    try:
        until(lambda: flow.alive and became(flow, "stored") == 5, 60.0)
    finally:
        flow.stop()


@pytest.mark.parametrize("missing", ["credentials", "tls_ca", "tls_cert"])
def test_without_one_of_them_the_rust_client_is_refused_in_words(certified, missing):
    from connectors.jetstream.connection import native_options
    from dataflows._native import JetStreamError, Publisher

    nats = certified.settings.nats.model_copy(update={missing: None})
    with pytest.raises(JetStreamError, match="cannot connect to NATS"):
        Publisher(native_options(nats, "test"))


def test_what_mqtt_repeats_is_removed_by_the_frames_identity(locked, tmp_path):
    """MQTT has no message id: the log holds a frame as often as it was sent, the flow takes it once."""
    origin = Origin("mq-twice", "d")
    device = locked.enrol(origin, by="mqtt")
    with MqttDevice(locked, device.secret, client_id="mq-twice") as mqtt:
        for frame in frames(origin, 6):
            for _ in range(3):
                assert mqtt.publish("vitals/v1/main/mq-twice/d/pleth", frame.SerializeToString(), 1)
    flow = flow_of(locked, tmp_path)
    flow.start()
    try:
        assert until(lambda: flow.alive and (n := became(flow, "duplicate")) >= 12 and n, 60.0) == 12
    finally:
        flow.stop()
