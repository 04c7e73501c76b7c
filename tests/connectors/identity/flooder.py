"""Publishes as fast as it can until it is killed, and comes back when it is cut off: `python flooder.py WAY ...`."""

import asyncio
import ssl
import sys

import nats
import paho.mqtt.client as mqtt


async def over_nats(url, ca, credentials, inbox, subject):
    async def on_error(_):
        pass

    while True:
        try:
            client = await nats.connect(
                url, user_credentials=credentials, tls=ssl.create_default_context(cafile=ca), inbox_prefix=inbox,
                allow_reconnect=False, error_cb=on_error,
            )  # fmt: skip
            sys.stdout.write("in\n")
            sys.stdout.flush()
            while True:
                for _ in range(100):
                    await client.publish(subject, b"x" * 300)
                await asyncio.sleep(0)
        except (nats.errors.Error, OSError):
            await asyncio.sleep(0.02)


def over_mqtt(port, ca, token, topic):
    while True:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="flooder", protocol=mqtt.MQTTv311)
        client.username_pw_set("device", token)
        client.tls_set_context(ssl.create_default_context(cafile=ca))
        try:
            client.connect("127.0.0.1", int(port))
            sys.stdout.write("in\n")
            sys.stdout.flush()
            while client.loop(0) == mqtt.MQTT_ERR_SUCCESS:
                for _ in range(100):
                    client.publish(topic, b"x" * 300)
        except OSError:
            pass


def main():
    way, *arguments = sys.argv[1:]
    if way == "nats":
        asyncio.run(over_nats(*arguments))
    else:
        over_mqtt(*arguments)


if __name__ == "__main__":
    main()
