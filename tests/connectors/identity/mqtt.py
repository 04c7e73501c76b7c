"""An MQTT 3.1.1 device for tests: paho with its callbacks turned into lists and events."""

import threading

import paho.mqtt.client as mqtt

from tests.connectors.identity.conftest import tls_context
from tests.waiting import until


class MqttDevice:
    """Connects with a token as password; `with` ends the connection."""

    def __init__(self, locked, token, *, client_id="device", transport="tcp", user="device"):
        self.refused = None
        self.gone = threading.Event()
        self.acknowledged = []
        self.messages = []
        self.granted = []
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311, transport=transport
        )
        self.client.username_pw_set(user, token)
        self.client.tls_set_context(tls_context(locked.ca))
        self.client.reconnect_delay_set(60)
        connected = threading.Event()

        def on_connect(client, userdata, flags, reason, properties):
            self.refused = reason if reason.is_failure else None
            connected.set()

        def on_disconnect(client, userdata, flags, reason, properties):
            self.gone.set()

        self.client.on_connect = on_connect
        self.client.on_disconnect = on_disconnect
        self.client.on_publish = lambda client, userdata, mid, reason, properties: self.acknowledged.append(mid)
        self.client.on_message = lambda client, userdata, message: self.messages.append(message)
        self.client.on_subscribe = lambda client, userdata, mid, codes, properties: self.granted.append(codes[0])
        port = locked.websocket_port if transport == "websockets" else locked.mqtt_port
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        until(lambda: connected.is_set() or self.gone.is_set(), 10.0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def publish(self, topic, payload, qos=1):
        """Publishes and waits for the PUBACK (QoS 1) or until it is sent (QoS 0)."""
        sent = self.client.publish(topic, payload, qos=qos)
        until(lambda: sent.mid in self.acknowledged or self.gone.is_set(), 10.0)
        return not self.gone.is_set()

    def subscribe(self, topic, qos=0):
        """Returns what the server granted: 0x80 is a refusal."""
        before = len(self.granted)
        self.client.subscribe(topic, qos)
        until(lambda: len(self.granted) > before or self.gone.is_set(), 10.0)
        return self.granted[-1].value if len(self.granted) > before else None
