"""Kafka: topics of frames in, alerts out to a topic.

In: an offset is committed after JetStream has the messages before it. Out: a transaction a group, by an idempotent
producer whose name fences off a bridge that was thought dead; every record carries its place in ALERTS, and the last
one in the topic says where to go on. So a reader with `isolation.level=read_committed` sees every alert once, in the
order of its patient, whatever was killed when.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from connectors.bridge.inbound import Incoming
from connectors.bridge.outbound import OutAlert, Outbound, Position
from connectors.bridge.service import BridgeError, alerts_client, inbound, together
from connectors.identity.files import read_secret
from dataflows.settings import BridgeSettings, Settings

ERRORS = (KafkaException,)
NAME = "kafka"
POSITION, SUBJECT, IDENTITY = "Vitals-Position", "Vitals-Subject", "Vitals-Id"
"""Headers of a record in the topic of alerts."""
_POLL_S = 0.2
_ANSWER_S = 30.0
_LOOK_BACK = 16
_T = TypeVar("_T")


async def session(settings: Settings) -> None:
    """Runs both directions until one of them fails.

    Raises:
        ExceptionGroup: What failed.
    """
    bridge = settings.bridge
    parts = [frames_in(settings)] if bridge.kafka_topics else []
    parts += [alerts_out(settings)] if bridge.kafka_alerts else []
    await together(*parts)


async def frames_in(settings: Settings) -> None:
    """Takes frames from topics until something fails."""
    with inbound(settings, NAME) as (way_in, executor):
        config = {
            "group.id": settings.bridge.kafka_group,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "session.timeout.ms": 10_000,
        }
        if settings.bridge.kafka_instance:
            config["group.instance.id"] = settings.bridge.kafka_instance
        consumer = Consumer(_common(settings.bridge) | config)
        try:
            await _in(executor, consumer.subscribe, settings.bridge.kafka_topics)
            while True:
                records = await _in(executor, _group, consumer, settings.bridge.group_messages)
                if not records:
                    continue
                incoming = [_incoming(record) for record in records]
                await _in(executor, way_in.take, incoming)
                await _in(executor, lambda ends: consumer.commit(offsets=ends, asynchronous=False), _ends(records))
        finally:
            await asyncio.shield(_in(executor, consumer.close))


def _group(consumer: Consumer, most: int) -> list[Record]:
    """What is there; asked for many, the library would wait for all of them."""
    first = consumer.consume(1, _POLL_S)
    return first + consumer.consume(most - 1, 0) if first and most > 1 else first


def _incoming(record: Record) -> Incoming:
    if (error := record.error()) is not None:
        raise KafkaException(error)
    return Incoming(record.value() or b"", f"kafka/{record.topic()}/{record.partition()}/{record.offset()}")


def _ends(records: Sequence[Record]) -> list[TopicPartition]:
    """One past the last record of each partition."""
    ends: dict[tuple[str, int], int] = {}
    for record in records:
        ends[str(record.topic()), int(record.partition() or 0)] = int(record.offset() or 0) + 1
    return [TopicPartition(topic, partition, offset) for (topic, partition), offset in ends.items()]


async def alerts_out(settings: Settings) -> None:
    """Sends alerts to a topic until something fails."""
    with ThreadPoolExecutor(1, "bridge-kafka-alerts") as executor:
        topic = AlertTopic(settings.bridge)
        async with alerts_client(settings, NAME) as client:
            held = await _in(executor, topic.open)

            async def send(group: Sequence[OutAlert]) -> None:
                await _in(executor, topic.send, group)

            await Outbound(client, settings, NAME, settings.bridge.kafka_alerts).run(send, held)


class AlertTopic:
    """The topic of alerts.

    Args:
        settings: Where it is.
    """

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        self._topic = settings.kafka_alerts
        name = f"vitals-bridge-{settings.tenant}-{settings.kafka_alerts}"
        self._producer = Producer(_common(settings) | {"transactional.id": name, "linger.ms": 2})

    def open(self) -> Position | None:
        """Ends what an earlier bridge left open; returns the place of the last alert that the topic holds."""
        # First: it aborts an open transaction, so that the end of the topic is what a reader sees.
        self._producer.init_transactions(_ANSWER_S)
        return last_position(self._settings, self._topic)

    def send(self, group: Sequence[OutAlert]) -> None:
        """Writes alerts; all of them are there when it returns, or none.

        Raises:
            KafkaException: They are not, or it is not known; the topic's end says.
        """
        failed: list[KafkaError] = []

        def on_delivery(error: KafkaError | None, _: Record) -> None:
            if error is not None:
                failed.append(error)

        self._producer.begin_transaction()
        for alert in group:
            headers: dict[str, str | bytes | None] = {
                POSITION: alert.position.encode(),
                SUBJECT: alert.subject,
                IDENTITY: alert.key,
            }
            # Keyed by patient: the transitions of an alert keep their order.
            key = "/".join(alert.subject.split(".")[2:4])
            self._producer.produce(self._topic, alert.payload, key, headers=headers, on_delivery=on_delivery)
        self._producer.commit_transaction(_ANSWER_S)
        if failed:
            raise KafkaException(failed[0])


def last_position(settings: BridgeSettings, topic: str) -> Position | None:
    """Returns the place of the last alert in a topic; None where it holds none."""
    config = {"group.id": f"{settings.kafka_group}-end", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = Consumer(_common(settings) | config | {"isolation.level": "read_committed"})
    try:
        described = consumer.list_topics(topic, _ANSWER_S).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        found = [_last_of(consumer, topic, partition) for partition in described.partitions]
        return max((one for one in found if one), key=lambda one: (one.created_ns, one.seq), default=None)
    finally:
        consumer.close()


def _last_of(consumer: Consumer, topic: str, partition: int) -> Position | None:
    """The end of a partition holds marks of transactions, too: looked back from until there is a record."""
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), _ANSWER_S)
    back = _LOOK_BACK
    while True:
        start, last = max(low, high - back), None
        if start >= high:
            return None
        consumer.assign([TopicPartition(topic, partition, start)])
        while True:
            (record,) = consumer.consume(1, _ANSWER_S) or (None,)
            if record is None:
                message = f"topic {topic} does not answer"
                raise BridgeError(message)
            if (error := record.error()) is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (the library's public name for it)
                    break
                raise KafkaException(error)
            last = _position(record) or last
        if last is not None or start == low:
            return last
        back *= 8


def _position(record: Record) -> Position | None:
    headers = dict(record.headers() or [])
    value = headers.get(POSITION)
    return Position.decode(value if isinstance(value, bytes) else value.encode()) if value else None


def _common(settings: BridgeSettings) -> dict[str, Any]:
    """What every client of the bridge has: the address, and the file with what is secret (TLS, SASL)."""
    config: dict[str, Any] = {"bootstrap.servers": settings.kafka_servers, "log_level": 3}
    if settings.kafka_properties is not None:
        for line in read_secret(settings.kafka_properties).splitlines():
            name, found, value = line.strip().partition("=")
            if found and not name.startswith("#"):
                config[name.strip()] = value.strip()
    return config


async def _in(executor: Executor, call: Callable[..., _T], *arguments: Any) -> _T:
    return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)
