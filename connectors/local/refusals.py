"""Counts what nats-server refuses: it logs each refusal and counts none of them."""

import os
import re
from pathlib import Path
from typing import BinaryIO

from prometheus_client import Counter

REFUSALS = Counter("vitals_server_refusals", "What NATS, MQTT and WebSocket listeners refused, by kind", ["kind"])
_CLIENT = re.compile(rb"\[ERR\] \S+ - [cmw]id:\d+ - (.*)")
_KINDS = {
    b"unable to connect": "",  # said of a refused MQTT client beside the reason
    b"authentication error": "identity",
    b"Authentication Timeout": "identity",
    b"Publish Violation": "publish",
    b"Subscription Violation": "subscribe",
    b"TLS handshake error": "tls",
    b"maximum": "limit",
}
_MOST_BYTES = 8 << 20


def kind_of(line: bytes) -> str:
    """Returns what a line of the log says was refused: `identity`, `publish`, `subscribe`, `tls`, `limit`, `protocol`.

    "" for a line that tells of no refusal.
    """
    found = _CLIENT.search(line)
    if found is None:
        return ""
    return next((kind for words, kind in _KINDS.items() if words in found.group(1)), "protocol")


class Refusals:
    """Follows a server's log from its present end, through rotation.

    Args:
        log: The file; it may be made later.
    """

    def __init__(self, log: Path) -> None:
        self._log, self._rest = log, b""
        self._file: BinaryIO | None = None
        if log.exists():
            self._file = log.open("rb")
            self._file.seek(0, os.SEEK_END)

    def look(self) -> None:
        """Counts what was logged since the last look, at most 8 MiB of it."""
        if self._file is None and self._log.exists():
            self._file = self._log.open("rb")
        if self._file is None:
            return
        *lines, self._rest = (self._rest + self._file.read(_MOST_BYTES)).split(b"\n")
        for line in lines:
            if kind := kind_of(line):
                REFUSALS.labels(kind).inc()
        if not lines and self._rotated(self._file):
            self.close()

    def close(self) -> None:
        """Lets go of the file."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _rotated(self, file: BinaryIO) -> bool:
        try:
            return os.fstat(file.fileno()).st_ino != self._log.stat().st_ino
        except FileNotFoundError:
            return False
