"""An organisation's own stream: a copy of its alerts in its own account, for programs that the pipeline's is closed to.

JetStream itself copies, from where the copy ends and in the order of ALERTS: what a crash cuts off is caught up with.
What the account may ask for names its organisation in the subject, so no other one's alerts can come.
"""

from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, ExternalStream, StreamConfig, StreamSource
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError

from connectors.identity.authority import Authority, IdentityError
from connectors.identity.roles import ALERTS, ALERTS_BYTES, API, COPIES
from connectors.jetstream.connection import connect
from dataflows.settings import NatsSettings


async def ensure_own_alerts(nats: NatsSettings, authority: Authority, tenant: str, *, reader: str = "") -> None:
    """Makes an organisation's stream where it is missing, and a reader's consumer; what is there stays as it is.

    Args:
        nats: Where the server is.
        authority: Has the organisation's account, which the server knows.
        tenant: The organisation.
        reader: Name of a consumer; a new one begins with what comes from now on. Empty: none.

    Raises:
        IdentityError: The server cannot be reached or refuses.
    """
    own = {"credentials": authority.credentials(f"owner-{tenant}"), "user": None, "password": None}
    try:
        client = await connect(nats.model_copy(update=own), "vitals own alerts")
        try:
            js = client.jetstream(timeout=nats.ack_timeout_s)
            await _ensure(js, tenant, reader)
        finally:
            await client.close()
    except (OSError, NatsError) as error:
        message = f"the stream of {tenant}'s own alerts was not made: {error or type(error).__name__}"
        raise IdentityError(message) from error


async def _ensure(js: JetStreamContext, tenant: str, reader: str) -> None:
    try:
        await js.stream_info(ALERTS)
    except NotFoundError:
        alerts = StreamSource(
            name=ALERTS, filter_subject=f"alerts.v1.{tenant}.>", external=ExternalStream(API, f"{COPIES}.{tenant}")
        )
        await js.add_stream(StreamConfig(name=ALERTS, mirror=alerts, max_bytes=ALERTS_BYTES))
    if not reader:
        return
    try:
        await js.consumer_info(ALERTS, reader)
    except NotFoundError:
        config = ConsumerConfig(
            durable_name=reader, ack_policy=AckPolicy.EXPLICIT, deliver_policy=DeliverPolicy.NEW, max_ack_pending=10_000
        )
        await js.add_consumer(ALERTS, config)
