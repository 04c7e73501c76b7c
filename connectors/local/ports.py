"""Ports that nobody listens on."""

import socket

LOOPBACK = "127.0.0.1"
LOOPBACK_HOSTS = frozenset({LOOPBACK, "::1", "localhost"})
"""Names by which this machine reaches itself: what listens there is reached by nobody else."""


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Returns ports that nobody listens on now; all are held while they are found, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()
