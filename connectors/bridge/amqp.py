"""AMQP 0.9.1 (RabbitMQ): queues of frames in, alerts out to an exchange.

In: messages are acknowledged after JetStream has them. Out: with publisher confirms, the routing key is the alert's
subject, the message id its identity. An exchange cannot be asked what it has passed on, so a bridge that dies between a
confirm and the note of it sends that group again: receivers drop an identity that they have.
"""

import asyncio
import hashlib
from collections.abc import Sequence

import aio_pika
from aio_pika.abc import AbstractIncomingMessage
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from connectors.bridge.inbound import Incoming
from connectors.bridge.outbound import OutAlert, Outbound
from connectors.bridge.service import BridgeError, alerts_client, inbound, together
from dataflows.settings import Settings

ERRORS = (AMQPError, ChannelInvalidStateError)
NAME = "amqp"
_ANSWER_S = 10.0
_IDLE_S = 5.0
_NAME_CHARS = 200


async def session(settings: Settings) -> None:
    """Runs both directions until one of them fails.

    Raises:
        ExceptionGroup: What failed.
    """
    bridge = settings.bridge
    # Not aio-pika's robust connection: it would go on with messages that the broker has meanwhile given to others.
    connection = await aio_pika.connect(bridge.amqp_url.get_secret_value(), timeout=_ANSWER_S)
    async with connection:
        parts = [frames_in(settings, connection, queue) for queue in bridge.amqp_queues]
        parts += [alerts_out(settings, connection)] if bridge.amqp_exchange else []
        await together(*parts)


async def frames_in(settings: Settings, connection: aio_pika.abc.AbstractConnection, name: str) -> None:
    """Takes frames from a queue until something fails."""
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    most = settings.bridge.group_messages
    # A channel a queue: an acknowledgement of many concerns its channel.
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=2 * most)
    queue = await channel.get_queue(name)
    loop = asyncio.get_running_loop()
    with inbound(settings, NAME) as (way_in, executor):
        await queue.consume(arrived.put)
        while True:
            try:
                group = [await asyncio.wait_for(arrived.get(), _IDLE_S)]
            except TimeoutError:
                # A consumer ends without a word when its queue is deleted, or its connection is cut off.
                if not (await channel.declare_queue(name, passive=True)).declaration_result.consumer_count:
                    message = f"queue {name} has let the bridge go"
                    raise BridgeError(message) from None
                continue
            while len(group) < most and not arrived.empty():
                group.append(arrived.get_nowait())
            await loop.run_in_executor(executor, way_in.take, [_incoming(name, message) for message in group])
            await group[-1].ack(multiple=True)


def _incoming(queue: str, message: AbstractIncomingMessage) -> Incoming:
    # A queue has no offsets: what the sender calls it, or its content. What no header takes (a line end would end the
    # bridge again and again) has the digest of it for a name, so that two names stay two.
    name = str(message.message_id or hashlib.sha256(message.body).hexdigest())
    if not (name.isascii() and name.isprintable() and len(name) <= _NAME_CHARS):
        name = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return Incoming(message.body, f"amqp/{queue}/{name}")


async def alerts_out(settings: Settings, connection: aio_pika.abc.AbstractConnection) -> None:
    """Sends alerts to an exchange until something fails."""
    name = settings.bridge.amqp_exchange
    channel = await connection.channel(publisher_confirms=True)
    exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)

    async def send(group: Sequence[OutAlert]) -> None:
        confirms = [
            exchange.publish(
                aio_pika.Message(
                    alert.payload,
                    content_type="application/json",
                    message_id=alert.key,
                    delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                ),
                alert.subject,
                mandatory=False,
                timeout=_ANSWER_S,
            )
            for alert in group
        ]
        await asyncio.gather(*confirms)

    async with alerts_client(settings, NAME) as client:
        await Outbound(client, settings, NAME, name).run(send, None)
