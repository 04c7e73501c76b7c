"""Bytes that no client would send, for each listener: conversations of the protocol, changed at random by a seed.

The first message of a conversation may be right, so that what follows meets a parser that has let somebody in.
"""

import base64
import json
import random
import re
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import nkeys

EXTREMES = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF]


class Changer:
    """Changes bytes at random, the same way for the same seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def change(self, data: bytes) -> bytes:
        """Returns the bytes with one to four changes."""
        found = bytearray(data)
        for _ in range(self.random.randint(1, 4)):
            found = bytearray(self.random.choice(self._acts())(found))
        return bytes(found)

    def _acts(self) -> list[Callable[[bytearray], bytes]]:
        return [self._flip, self._cut, self._insert, self._repeat, self._extreme, self._number, self._swap]

    def _place(self, data: bytearray) -> int:
        return self.random.randrange(len(data) + 1)

    def _flip(self, data: bytearray) -> bytes:
        for _ in range(self.random.randint(1, 8)):
            if data:
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return bytes(data)

    def _cut(self, data: bytearray) -> bytes:
        return bytes(data[: self._place(data)])

    def _insert(self, data: bytearray) -> bytes:
        at = self._place(data)
        return bytes(data[:at]) + self.random.randbytes(self.random.choice([1, 16, 300])) + bytes(data[at:])

    def _repeat(self, data: bytearray) -> bytes:
        at = self._place(data)
        return bytes(data[:at] + data[at : at + 64] * self.random.choice([2, 50, 2000]) + data[at:])

    def _extreme(self, data: bytearray) -> bytes:
        at, width = self._place(data), self.random.choice([1, 2, 4, 8])
        value = self.random.choice(EXTREMES) & ((1 << (8 * width)) - 1)
        return bytes(data[:at]) + value.to_bytes(width, "big") + bytes(data[at + width :])

    def _number(self, data: bytearray) -> bytes:
        """A number in text becomes another one: lengths, ids."""
        value = self.random.choice([*EXTREMES, -1]) if self.random.random() < 0.8 else 10**400
        numbers = list(re.finditer(rb"\d+", data))
        if not numbers:
            return bytes(data)
        chosen = self.random.choice(numbers)
        return bytes(data[: chosen.start()]) + str(value).encode() + bytes(data[chosen.end() :])

    def _swap(self, data: bytearray) -> bytes:
        a, b = sorted((self._place(data), self._place(data)))
        return bytes(data[b:] + data[a:b] + data[:a])


@dataclass(frozen=True)
class Listener:
    """A listener.

    Attributes:
        port: Where it is.
        open: What is sent rightly at first; may read from the connection, and returns the one to go on with.
        messages: What is changed then.
    """

    port: int
    open: Callable[[socket.socket], socket.socket]
    messages: list[bytes]

    def talk(self, change: Changer) -> bytes:
        """One conversation: opened rightly two times of three, then changed messages; returns what was answered."""
        heard = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                talking = self.open(connection) if change.random.random() < 2 / 3 else connection
                talking.settimeout(0.05)
                for message in change.random.choices(self.messages, k=change.random.randint(1, 6)):
                    talking.sendall(change.change(message) if change.random.random() < 0.8 else message)
                for _ in range(3):
                    heard += talking.recv(65536)
        except (OSError, ValueError):  # hung up on, or silent
            pass
        return heard


def tls(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    """The connection in TLS."""
    return context.wrap_socket(connection, server_hostname="127.0.0.1")


def line(connection: socket.socket) -> bytes:
    """Reads a line, and nothing after it."""
    found = b""
    while not found.endswith(b"\n"):
        got = connection.recv(1)
        if not got:
            break
        found += got
    return found


def nats_listener(port: int, context: ssl.SSLContext, credentials: str, subject: str) -> Listener:
    """NATS's own protocol, as a device that was let in."""
    token = re.search(r"JWT-+\s+(\S+)", credentials)
    seed = re.search(r"SEED-+\s+(\S+)", credentials)
    assert token
    assert seed

    def opened(connection: socket.socket) -> socket.socket:
        nonce = json.loads(line(connection)[5:])["nonce"]
        signed = base64.urlsafe_b64encode(nkeys.from_seed(seed.group(1).encode()).sign(nonce.encode())).rstrip(b"=")
        options = {"jwt": token.group(1), "sig": signed.decode(), "verbose": True, "headers": True, "protocol": 1}
        inside = tls(connection, context)
        inside.sendall(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        return inside

    name, head = subject.encode(), b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\n"
    messages = [
        b"PING\r\n", b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b"SUB > 1\r\n", b"SUB _INBOX.x.y q 7\r\n",
        b"UNSUB 1 5\r\n",
        b"PUB " + name + b" 5\r\nhello\r\n", b"PUB " + name + b" _INBOX.a.b.c 5\r\nhello\r\n", b"PUB a..b.> 0\r\n\r\n",
        b"HPUB " + name + b" %d %d\r\n" % (len(head), len(head) + 5) + head + b"hello\r\n",
        b'CONNECT {"user":"a","pass":"b"}\r\n', b'INFO {"server_id":"x"}\r\n', b"MSG a 1 5\r\nhello\r\n",
        b"RMSG $G a 5\r\nhello\r\n", b"LMSG a a 3 5\r\nhello\r\n", b"A+ x\r\n", b"LS+ x\r\n", b"RS+ $G x\r\n",
    ]  # fmt: skip
    return Listener(port, opened, messages)


def _text(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def _packet(first: int, body: bytes) -> bytes:
    length, rest = b"", len(body)
    while True:
        rest, low = rest >> 7, rest & 0x7F
        length += bytes([low | (0x80 if rest else 0)])
        if not rest:
            return bytes([first]) + length + body


def mqtt_listener(port: int, context: ssl.SSLContext, token: str, topic: str) -> Listener:
    """MQTT 3.1.1 packets."""

    def connect(password: bytes) -> bytes:
        head = _text(b"MQTT") + bytes([4, 0xC2]) + struct.pack(">H", 30)
        return _packet(0x10, head + _text(b"raw") + _text(b"device") + _text(password))

    def opened(connection: socket.socket) -> socket.socket:
        inside = tls(connection, context)
        inside.sendall(connect(token.encode()))
        return inside

    name, one = _text(topic.encode()), struct.pack(">H", 1)
    messages = [
        connect(b"wrong"), _packet(0x30, name + b"frame"), _packet(0x32, name + one + b"frame"),
        _packet(0x34, name + one + b"frame"), _packet(0x3B, name + one + b"frame"), _packet(0x62, one),
        _packet(0x40, one), _packet(0x50, one), _packet(0x70, one), _packet(0x82, one + _text(b"#") + b"\1"),
        _packet(0x82, one + _text(b"$MQTT/#") + b"\1"), _packet(0xA2, one + _text(b"#")), _packet(0xC0, b""),
        _packet(0xD0, b""), _packet(0xE0, b""), _packet(0xF0, b"x"), b"\x30\xff\xff\xff\x7f",
    ]  # fmt: skip
    return Listener(port, opened, messages)


def _frame(opcode: int, body: bytes) -> bytes:
    head = bytes([0x80 | opcode])
    if len(body) < 126:
        head += bytes([0x80 | len(body)])
    else:
        head += bytes([0xFE]) + struct.pack(">H", len(body))
    return head + b"\0\0\0\0" + body  # a mask of zeros changes nothing


def websocket_listener(port: int, context: ssl.SSLContext, paths: tuple[str, ...] = ("/", "/mqtt")) -> Listener:
    """WebSocket frames."""
    upgrade = (
        "GET {} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )

    def opened(connection: socket.socket) -> socket.socket:
        inside = tls(connection, context)
        inside.sendall(upgrade.format(paths[0]).encode())
        while line(inside).strip():
            pass
        return inside

    messages = [upgrade.format(path).encode() for path in paths]
    messages += [_frame(opcode, body) for opcode in range(16) for body in (b"", b"PING\r\n", b"x" * 300)]
    messages += [b"\x82\xff" + b"\xff" * 12, b"\x02\xfe\xff\xff", b"\xc1\x85\0\0\0\0hello", b"\x88\x81\0\0\0\0x"]
    return Listener(port, opened, messages)


def http_listener(port: int, key: str, body: bytes) -> Listener:
    """HTTP/1.1, as bytes."""

    def request(head: str, content: bytes = b"") -> bytes:
        return f"POST /v1/frames HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n{head}\r\n".encode() + content

    kind = "Content-Type: application/x-protobuf\r\n"
    messages = [
        request(f"{kind}Content-Length: {len(body)}\r\n", body), request(f"{kind}Content-Length: -5\r\n", body),
        request(f"{kind}Content-Length: 5\r\nContent-Length: 9\r\n", body),
        request(f"{kind}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        request(f"{kind}Transfer-Encoding: chunked\r\n", b"ffffffffffffffff\r\nx"),
        request(f"{kind}Transfer-Encoding: chunked\r\n", b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"),
        request("X: " + "y" * 70_000 + "\r\n"), request("".join(f"X{n}: y\r\n" for n in range(3000))),
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET " + b"/" * 100_000,
        b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 5000,
    ]  # fmt: skip
    return Listener(port, lambda connection: connection, messages)


def _h2(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _literal(name: str, value: str | bytes) -> bytes:
    def text(part: bytes) -> bytes:
        if len(part) < 127:
            return bytes([len(part)]) + part
        rest, coded = len(part) - 127, b"\x7f"
        while rest >= 128:
            coded, rest = coded + bytes([rest & 0x7F | 0x80]), rest >> 7
        return coded + bytes([rest]) + part

    return b"\0" + text(name.encode()) + text(value if isinstance(value, bytes) else value.encode())


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _h2(4, 0, 0)


def grpc_head(stream: int, key: str | bytes, path: str | bytes = "/vitals.v1.Ingest/Upload") -> bytes:
    """The frame that begins a call."""
    return _h2(1, 4, stream, _call(key, path))


def _call(key: str | bytes, path: str | bytes) -> bytes:
    bearer = b"Bearer " + (key if isinstance(key, bytes) else key.encode())
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
    fields |= {"content-type": "application/grpc", "te": "trailers", "authorization": bearer}
    return b"".join(_literal(name, value) for name, value in fields.items())


def grpc_listener(port: int, key: str, frame: bytes) -> Listener:
    """HTTP/2 frames with gRPC in them."""
    head = _call(key, "/vitals.v1.Ingest/Upload")

    def opened(connection: socket.socket) -> socket.socket:
        connection.sendall(PREFACE + _h2(1, 4, 1, head))
        return connection

    message = b"\0" + struct.pack(">I", len(frame)) + frame
    messages = [
        PREFACE + _h2(1, 4, 1, head), grpc_head(13, key, b"/vitals.v1.Ingest/Uplo\xe1d"),
        _h2(4, 0, 0, struct.pack(">HI", 4, 0x7FFFFFFF) * 100),
        _h2(4, 1, 0),
        _h2(1, 4, 3, head), _h2(1, 5, 5, head), _h2(1, 0, 7, head[:20]) + _h2(9, 4, 7, head[20:]),
        _h2(1, 0, 9, head[:9]) + b"".join(_h2(9, 0, 9, b"\0\1a\1b" * 500) for _ in range(50)),
        _h2(0, 0, 1, message), _h2(0, 1, 1, message), _h2(0, 0, 1, b"\1" + message[1:]),
        _h2(0, 0, 1, b"\0\xff\xff\xff\xff"),
        _h2(0, 8, 1, b"\xff" + message), _h2(0, 0, 0, message), _h2(2, 0, 1, b"\0\0\0\1\xff"),
        _h2(5, 4, 1, b"\0\0\0\2" + head),
        b"".join(_h2(1, 5, n, head) + _h2(3, 0, n, b"\0\0\0\x08") for n in range(11, 411, 2)),
        b"".join(_h2(6, 0, 0, b"12345678") for _ in range(500)), _h2(7, 0, 0, b"\0\0\0\0\0\0\0\0"),
        _h2(8, 0, 0, b"\x7f\xff\xff\xff") * 2, _h2(8, 0, 1, b"\0\0\0\0"), _h2(0xFA, 0xFF, 0x7FFFFFFF, b"x" * 100),
    ]  # fmt: skip
    return Listener(port, opened, messages)


def conversations(listener: Listener, seed: str, count: int) -> Iterator[bytes]:
    """Talks so often; yields what was answered to each."""
    change = Changer(seed)
    for _ in range(count):
        yield listener.talk(change)
