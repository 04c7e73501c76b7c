"""The bridge to a real RabbitMQ, killed under way."""

import asyncio
import json

import aio_pika
import pytest

from tests.brokers import RabbitMQ, rabbitmq_sbin
from tests.connectors.bridge.conftest import RULE, bad, frames
from tests.waiting import until

pytestmark = [
    pytest.mark.services,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(rabbitmq_sbin() is None, reason="RabbitMQ is not installed (`just brokers`)"),
]
FRAMES, ALERTS = 600, 60


class Broker:
    """What a test does with the broker."""

    def __init__(self, rabbit):
        self.url = rabbit.url

    def run(self, act):
        async def run():
            connection = await aio_pika.connect(self.url)
            async with connection:
                return await act(await connection.channel())

        return asyncio.run(run())

    def prepare(self):
        async def act(channel):
            await channel.declare_queue("frames", durable=True)
            exchange = await channel.declare_exchange("alerts", aio_pika.ExchangeType.TOPIC, durable=True)
            paged = await channel.declare_queue("pages", durable=True)
            await paged.bind(exchange, f"alerts.v1.main.*.{RULE}")

        self.run(act)

    def send(self, payloads, message_id=None):
        async def act(channel):
            for payload in payloads:
                message = aio_pika.Message(
                    payload, delivery_mode=aio_pika.DeliveryMode.PERSISTENT, message_id=message_id
                )
                await channel.default_exchange.publish(message, "frames")

        self.run(act)

    def waiting(self, queue):
        async def act(channel):
            return (await channel.declare_queue(queue, passive=True)).declaration_result.message_count

        return self.run(act)

    def take_all(self, queue):
        async def act(channel):
            declared = await channel.get_queue(queue)
            found = []
            while (message := await declared.get(fail=False)) is not None:
                found.append((message.message_id, message.routing_key, message.body))
                await message.ack()
            return found

        return self.run(act)


def test_nothing_is_lost_through_a_kill_of_the_bridge(log, tmp_path):
    good, wrong = frames("amqp", FRAMES), bad("amqp-bad")
    with RabbitMQ(tmp_path / "rabbit") as rabbit:
        broker = Broker(rabbit)
        broker.prepare()
        broker.send(good[: FRAMES // 2] + [payload for payload, _ in wrong])
        log.raise_alerts(1000, ALERTS // 2)
        settings = {
            "amqp_url": rabbit.url,
            "amqp_queues": '["frames"]',
            "amqp_exchange": "alerts",
            "group_messages": 20,
        }
        bridge = log.bridge("amqp", tmp_path, **settings)
        bridge.start()
        try:
            until(lambda: log.count("VITALS", "vp.*.main.amqp.>") >= 40 and broker.waiting("pages"), 180)
            bridge.kill()
            bridge.wait(10)
            bridge.start()
            broker.send(good[FRAMES // 2 :])
            log.raise_alerts(1000 + ALERTS // 2, ALERTS // 2)
            until(lambda: log.count("VITALS", "vp.*.main.amqp.>") >= FRAMES)
            until(lambda: log.count("REJECTED", ">") >= len(wrong))
            until(lambda: broker.waiting("pages") >= ALERTS)

            def acknowledged():
                # What is taken and not yet acknowledged waits nowhere: a bridge that is killed gives it back.
                until(lambda: broker.waiting("frames") == 0)
                bridge.kill()
                bridge.wait(10)
                return broker.waiting("frames") == 0 or bridge.start()

            until(acknowledged)
        finally:
            bridge.kill()
            bridge.wait(10)
        pages = broker.take_all("pages")
        said = (tmp_path / "bridge.log").read_text()
    assert sorted(payload for payload, _ in log.read("VITALS", "vp.*.main.amqp.>")) == sorted(good)
    rejected = log.read("REJECTED", ">")
    assert sorted(headers["Vitals-Reason"] for _, headers in rejected) == sorted(reason for _, reason in wrong)
    # A kill between the broker's confirm and the note of it sends a group again: with the same identities, in order.
    assert list(dict.fromkeys(identity for identity, _, _ in pages)) == [f"a{n}.0" for n in range(1000, 1000 + ALERTS)]
    assert all(subject == f"alerts.v1.main.q{json.loads(body)['n'] % 3}.{RULE}" for _, subject, body in pages)
    assert "guest:guest" not in said


def test_no_name_of_a_message_stops_the_bridge_and_two_names_are_two_messages(log, tmp_path):
    (wrong, _), *_ = bad("amqp-names")
    before = log.count("REJECTED", ">")
    names = ["a\r\nVitals-Reason: none", "\0", "\u00e9", "x" * 220 + "1", "x" * 220 + "2", "plain"]
    with RabbitMQ(tmp_path / "rabbit") as rabbit:
        broker = Broker(rabbit)
        broker.prepare()
        for name in [*names, names[0]]:
            broker.send([wrong], name)
        broker.send(frames("amqp-names", 1))
        bridge = log.bridge("amqp", tmp_path, amqp_url=rabbit.url, amqp_queues='["frames"]')
        bridge.start()
        try:
            until(lambda: log.count("VITALS", "vp.*.main.amqp-names.>") == 1)
            until(lambda: broker.waiting("frames") == 0)
        finally:
            bridge.kill()
            bridge.wait(10)
    assert log.count("REJECTED", ">") - before == len(names)
