"""What the tests of JetStream share: an administrator's connection, and waiting on conditions."""

import asyncio
import socket

import nats

from connectors.jetstream import native_options
from dataflows._native import Publisher, Puller
from tests.waiting import until

WAIT_S = 60.0
BROKEN_HEADERS = [
    b"\0\1\2\3",
    b"NATS/9.9 abc\r\nA: b\r\n\r\n",
    b"NATS/1.0\r\nno colon\r\n\r\n",
    b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\n\xff: b\r\n\r\n",
    b"NATS/1.0\r\nA B: c\r\n\r\n",
    b"NATS/1.0\r\nA: b\rc\r\n\r\n",
    b"NATS/1.0\r\nVitals-Log-Time: \xff\r\n\r\n",
    b"NATS/1.0 409 Consumer Deleted\r\n\r\n",
]
"""Headers that client libraries break off at."""


def wait_for(condition, timeout_s=WAIT_S, interval_s=0.01):
    """`until`, in the times of these tests."""
    return until(condition, timeout_s, interval_s)


def open_puller(settings, partition=0, **options):
    streams = settings.streams
    options = {"heartbeat_s": settings.nats.heartbeat_s, **options}
    return Puller(
        native_options(settings.nats, "test puller"), streams.vitals, partition, streams.partitions, **options
    )


def open_publisher(settings):
    return Publisher(native_options(settings.nats, "test publisher"))


def publish_raw(port, *messages):
    """Publishes (subject, headers, payload) as they are, which no client does."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answers = connection.makefile("rb")
        answers.readline()
        connection.sendall(b'CONNECT {"verbose":false,"headers":true}\r\n')
        for subject, headers, payload in messages:
            if headers:
                sizes = b"%d %d" % (len(headers), len(headers) + len(payload))
                connection.sendall(b"HPUB " + subject + b" " + sizes + b"\r\n" + headers + payload + b"\r\n")
            else:
                connection.sendall(b"PUB " + subject + b" %d\r\n" % len(payload) + payload + b"\r\n")
        connection.sendall(b"PING\r\n")
        while (line := answers.readline()) != b"PONG\r\n":
            assert line == b"PING\r\n", line  # the server asks too, on a connection that is two seconds old


def frame(patient, n=0, signal="ecg-ii", **headers):
    names = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return f"vitals.v1.main.{patient}.d1.{signal}", names, b"%d" % n


def poll_until(puller, condition, max_messages=4000, timeout_s=WAIT_S):
    """Polls and collects entries per patient until `condition(entries by patient)`."""
    seen = {}

    def step():
        for key, messages in puller.poll(max_messages):
            seen.setdefault(key, []).extend(messages.entries())
        return condition(seen)

    wait_for(step, timeout_s, 0.002)
    return seen


def payloads(entries):
    """Payloads of messages, without ticks."""
    return [int(payload) for subject, _, _, payload in entries if subject]


def ticks(entries):
    return [(seq, log_ns) for subject, seq, log_ns, _ in entries if not subject]


def alerts_in(admin):
    """How many alerts ALERTS holds."""
    return sum((admin.info("ALERTS", subjects_filter="alerts.v1.>").state.subjects or {}).values())


class Admin:
    """nats-py for what the flow never does: purging, deleting, looking at single messages."""

    def __init__(self, url):
        self._loop = asyncio.new_event_loop()
        self._connection = self._loop.run_until_complete(nats.connect(url, allow_reconnect=False, connect_timeout=30))
        self.js = self._connection.jetstream(timeout=30)

    def __call__(self, coroutine):
        return self._loop.run_until_complete(coroutine)

    def info(self, stream, **options):
        return self(self.js.stream_info(stream, **options))

    def consumers(self, stream):
        return self(self.js.consumers_info(stream))

    def close(self):
        self(self._connection.close())
        self._loop.close()
