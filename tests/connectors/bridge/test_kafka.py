"""The bridge to a real Kafka, killed under way: every frame and every alert is there once."""

import time

import pytest
from confluent_kafka import Consumer, Producer

from tests.brokers import Kafka
from tests.connectors.bridge.conftest import bad, frames
from tests.waiting import until

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
FRAMES, ALERTS = 600, 120


def read_topic(kafka, topic):
    """(key, headers, payload) of what a reader of committed records sees."""
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.address,
            "group.id": f"test-{time.monotonic_ns()}",
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([topic])
    found, ended = [], set()
    while len(ended) < 2:
        for record in consumer.consume(500, 0.5):
            if record.error():
                ended.add(record.partition())
            else:
                found.append((record.key(), dict(record.headers()), record.value()))
    consumer.close()
    return found


def send(kafka, topic, payloads):
    producer = Producer({"bootstrap.servers": kafka.address})
    for n, payload in enumerate(payloads):
        producer.produce(topic, payload, partition=n % 2)
    assert producer.flush(60) == 0


def test_nothing_is_lost_or_doubled_through_kills_of_the_bridge(log, tmp_path):
    good, wrong = frames("kafka", FRAMES), bad("kafka-bad")
    with Kafka(tmp_path / "kafka") as kafka:
        kafka.topic("frames")
        kafka.topic("alerts")
        send(kafka, "frames", good[: FRAMES // 2] + [payload for payload, _ in wrong])
        log.raise_alerts(0, ALERTS // 2)
        settings = {
            "kafka_servers": kafka.address,
            "kafka_topics": '["frames"]',
            "kafka_alerts": "alerts",
            "kafka_instance": "one",
            "group_messages": 20,
        }
        bridge = log.bridge("kafka", tmp_path, **settings)
        bridge.start()
        try:
            until(lambda: log.count("VITALS", "vp.*.main.kafka.>") >= 40, 180)
            bridge.kill()
            bridge.wait(10)
            bridge.start()
            send(kafka, "frames", good[FRAMES // 2 :])
            log.raise_alerts(ALERTS // 2, ALERTS // 2)
            until(lambda: len(read_topic(kafka, "alerts")) >= ALERTS // 2, 180)
            bridge.kill()
            bridge.wait(10)
            # What a lost note of the position would do: the topic itself knows where to go on.
            log.forget_positions()
            bridge.start()
            until(lambda: len(read_topic(kafka, "alerts")) >= ALERTS, 180)
            until(lambda: log.count("VITALS", "vp.*.main.kafka.>") >= FRAMES, 180)
            until(lambda: log.count("REJECTED", ">") >= len(wrong))
        finally:
            bridge.kill()
            bridge.wait(10)
        alerts = read_topic(kafka, "alerts")
    assert sorted(payload for payload, _ in log.read("VITALS", "vp.*.main.kafka.>")) == sorted(good)
    rejected = log.read("REJECTED", ">")
    assert sorted(headers["Vitals-Reason"] for _, headers in rejected) == sorted(reason for _, reason in wrong)
    assert all(headers["Vitals-Source"].startswith("kafka/frames/") for _, headers in rejected)
    originals = {reason: payload for payload, reason in wrong}
    for payload, headers in rejected:
        assert payload == originals[headers["Vitals-Reason"]][: 64 << 10]
    for patient in range(3):
        mine = [headers["Vitals-Id"].decode() for key, headers, _ in alerts if key == f"main/q{patient}".encode()]
        assert mine == [f"a{n}.0" for n in range(patient, ALERTS, 3)]
