"""Ports that nobody listens on."""

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"
LOOPBACK_HOSTS = frozenset({LOOPBACK, "::1", "localhost"})
"""Names by which this machine reaches itself: what listens there is reached by nobody else."""


CANDIDATES = range(20_000, 32_768)
"""Below those that a system gives to whoever connects: between the search and its use nobody gets one by chance."""


def free_ports(count: int, host: str = LOOPBACK) -> list[int]:
    """Returns ports that nobody listens on now; all are held while they are found, so that they differ.

    Raises:
        OSError: There are not so many.
    """
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(CANDIDATES, 1000):
            if len(found) == count:
                return found
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                found.append(port)
    message = f"{host} has no {count} free ports from {CANDIDATES.start} to {CANDIDATES.stop - 1}"
    raise OSError(message)
