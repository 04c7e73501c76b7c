"""MQTT 3.1.1 and WebSocket: the same identities, the same rights."""

import asyncio

import pytest

from dataflows.contracts.frames import Origin
from tests.connectors.identity.mqtt import MqttDevice
from tests.stalls import Stalls
from tests.waiting import until

pytestmark = pytest.mark.services


def last(locked, subject):
    async def run():
        async with locked.pipeline() as client:
            return await client.jetstream().get_last_msg("VITALS", subject)

    return asyncio.run(run())


def messages(locked):
    async def run():
        async with locked.pipeline() as client:
            return (await client.jetstream().stream_info("VITALS", subjects_filter="vp.*.main.>")).state.subjects or {}

    return asyncio.run(run())


@pytest.mark.parametrize("transport", ["tcp", "websockets"])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_frame_over_mqtt_is_stored(locked, transport, qos):
    patient = f"mq-{transport}-{qos}"
    device = locked.enrol(Origin(patient, "d"), by="mqtt")
    with MqttDevice(locked, device.secret, transport=transport, client_id=patient) as mqtt:
        assert mqtt.refused is None
        assert mqtt.publish(f"vitals/v1/main/{patient}/d/ecg_ii", b"frame", qos)
        until(lambda: any(f".main.{patient}.d.ecg_ii" in subject for subject in messages(locked)), 10.0)
    assert last(locked, f"vp.*.main.{patient}.d.ecg_ii").data == b"frame"


@pytest.mark.parametrize(
    "topic",
    [
        "vitals/v1/main/other/d/ecg_ii",
        "vitals/v1/main/mq/d2/ecg_ii",
        "vitals/v1/main/mq/control/discharge",
        "vitals/v1/clinic/mq/d/ecg_ii",
        "$JS/API/STREAM/PURGE/VITALS",
        "alerts/v1/main/mq/asystole",
        "/vitals/v1/main/mq/d/ecg_ii",
        "vitals/v1/main/mq.d/ecg_ii",
    ],
)
@pytest.mark.parametrize("qos", [0, 1])
def test_a_topic_that_is_not_its_own_stores_nothing(locked, topic, qos):
    device = locked.enrol(Origin("mq", "d"), by="mqtt")
    with MqttDevice(locked, device.secret, client_id="mq") as mqtt:
        before = messages(locked)
        mqtt.publish(topic, b"forged", qos)
    # A connection that still stands answers in order: what it sent before has been dealt with.
    with MqttDevice(locked, device.secret, client_id="mq") as mqtt:
        assert mqtt.publish("vitals/v1/main/mq/d/pleth", b"own", 1)
    until(lambda: any(subject.endswith("main.mq.d.pleth") for subject in messages(locked)), 10.0)
    after = {subject: count for subject, count in messages(locked).items() if not subject.endswith("main.mq.d.pleth")}
    assert after == {subject: count for subject, count in before.items() if not subject.endswith("main.mq.d.pleth")}


@pytest.mark.parametrize("topic", ["#", "+/v1/#", "vitals/v1/#", "alerts/v1/#", "$SYS/#", "config/v1/main/other/d"])
def test_wildcards_and_other_topics_are_not_granted(locked, topic):
    device = locked.enrol(Origin("mq", "d"), by="mqtt")
    with MqttDevice(locked, device.secret, client_id="mq-sub") as mqtt:
        assert mqtt.subscribe(topic) in {0x80, None}


def test_its_configuration_is_granted(locked):
    device = locked.enrol(Origin("mq", "d"), by="mqtt")

    async def configure():
        async with locked.pipeline() as client:
            await client.publish("config.v1.main.mq.d", b"settings")
            await client.flush()

    with MqttDevice(locked, device.secret, client_id="mq-config") as mqtt:
        assert mqtt.subscribe("config/v1/main/mq/d", 0) == 0
        asyncio.run(configure())
        until(lambda: [message.payload for message in mqtt.messages] == [b"settings"], 10.0)


@pytest.mark.parametrize("token", ["", "wrong", "a.b.c"])
def test_a_wrong_token_is_refused(locked, token):
    with MqttDevice(locked, token) as mqtt:
        assert mqtt.refused is not None or mqtt.gone.is_set()


def test_an_identity_is_good_for_its_own_way_in_alone(locked):
    """A NATS identity needs the key to sign with; its token, which travels, opens no MQTT door. And the other way."""
    nats_device = locked.enrol(Origin("ways", "d"))
    token = nats_device.secret.splitlines()[1]
    with MqttDevice(locked, token) as mqtt:
        assert mqtt.refused is not None or mqtt.gone.is_set()

    mqtt_device = locked.enrol(Origin("ways", "d"), by="mqtt")

    async def run():
        import nats

        with pytest.raises(nats.errors.Error):
            await nats.connect(
                f"tls://127.0.0.1:{locked.port}",
                user_jwt_cb=lambda: bytearray(mqtt_device.secret.encode()),
                signature_cb=lambda nonce: b"",
                tls=__import__("ssl").create_default_context(cafile=locked.ca),
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=60,
            )

    asyncio.run(run())


def test_revocation_ends_an_mqtt_connection(locked):
    device = locked.enrol(Origin("mq-revoked", "d"), by="mqtt")

    async def revoke():
        async with locked.devices() as devices:
            await devices.revoke(Origin("mq-revoked", "d"))

    with MqttDevice(locked, device.secret, client_id="mq-revoked") as mqtt:
        assert mqtt.publish("vitals/v1/main/mq-revoked/d/ecg_ii", b"x", 1)
        with Stalls() as stalls:
            assert stalls.timed(lambda: (asyncio.run(revoke()), mqtt.gone.wait(60))) < 5.0
        assert mqtt.gone.is_set()
    with MqttDevice(locked, device.secret, client_id="mq-revoked") as mqtt:
        assert mqtt.refused is not None or mqtt.gone.is_set()


def test_a_websocket_client_of_nats_has_the_same_rights(locked):
    device = locked.enrol(Origin("ws", "d"))

    async def run():
        url = f"wss://127.0.0.1:{locked.websocket_port}"
        async with locked.device(device, url=url) as (client, refused, _):
            acknowledged = await client.jetstream().publish("vitals.v1.main.ws.d.ecg_ii", b"over websocket")
            assert acknowledged.stream == "VITALS"
            await client.publish("vitals.v1.main.other.d.ecg_ii", b"forged")
            await client.flush()
            for _ in range(200):
                if refused:
                    break
                await asyncio.sleep(0.01)
            assert "permissions violation" in refused[0]

    asyncio.run(run())
    assert last(locked, "vp.*.main.ws.d.ecg_ii").data == b"over websocket"
