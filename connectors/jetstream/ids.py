"""Message ids that nobody else can guess.

The server drops a message whose id it has seen within its window, whoever used it and on whichever subject: who guesses
the ids of another's next frames has them acknowledged and not stored. So a program adds to the identity of a message
what only the holder of its credentials can compute. A retransmission has the same id, also after a restart.
"""

import hashlib
import hmac

from dataflows.settings import NatsSettings

_CHARS = 24
"""Hexadecimal digits that are added: 96 bits."""


class MessageIds:
    """Makes ids.

    Args:
        nats: Whose credentials; without any nobody is kept out, and an id is the identity as it is.
    """

    def __init__(self, nats: NatsSettings) -> None:
        self._key = hashlib.sha256(nats.credentials.read_bytes()).digest() if nats.credentials else b""

    def of(self, identity: str) -> str:
        """Returns the `Nats-Msg-Id` of a message."""
        if not self._key:
            return identity
        return f"{identity}/{hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()[:_CHARS]}"
