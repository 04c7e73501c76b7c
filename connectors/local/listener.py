"""HTTP/1.1 as the gateway and the API listen: whoever does not ask in time makes room for those who do.

uvicorn alone waits for ever for the head of a request, and for the rest of a body that was answered early: so many
connections as `limit_concurrency` allows, each dripping a byte now and then, and everybody else is answered 503.
"""

import asyncio
from typing import Any

from h11 import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from dataflows.settings import GatewaySettings, WebSettings


class PromptHttp(H11Protocol):
    """A connection that has `head_s` from its beginning, or from its last answer, to the end of the next head.

    When there are as many connections as may be, the one that has waited longest without a request is hung up on.
    """

    head_s = 15.0
    """Also how long an idle connection is kept."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Begins to wait for a request."""
        super().connection_made(transport)
        self._began_s = 0.0
        self._hang_up_at: asyncio.TimerHandle | None = None
        self._wait()
        if self.limit_concurrency is not None and len(self.connections) >= self.limit_concurrency:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: Request) -> None:
        """Leaves the connection to the other protocol."""
        self._stop_waiting()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        """Begins to wait for the next request; one that came early is taken up in here."""
        self._wait()
        super().on_response_complete()

    @property
    def waits_since(self) -> float | None:
        """Since when it has waited for a request, by the loop's clock; None while one is being answered."""
        return self._began_s if self.cycle is None or self.cycle.response_complete else None

    def hang_up(self) -> None:
        """Ends the connection, unless a request is being answered."""
        if self.waits_since is not None and not self.transport.is_closing():
            self.connections.discard(self)
            self.transport.close()

    def _wait(self) -> None:
        self._stop_waiting()
        self._began_s = self.loop.time()
        self._hang_up_at = self.loop.call_later(self.head_s, self.hang_up)

    def _stop_waiting(self) -> None:
        if self._hang_up_at is not None:
            self._hang_up_at.cancel()

    def _make_room(self) -> None:
        others = [one for one in self.connections if isinstance(one, PromptHttp) and one is not self]
        waiting = [(one.waits_since, id(one), one) for one in others if one.waits_since is not None]
        if waiting:
            min(waiting)[2].hang_up()


def serving(door: GatewaySettings | WebSettings) -> dict[str, Any]:
    """Returns how uvicorn serves an application at its address, with its certificate."""
    return {
        "host": door.host,
        "port": door.port,
        "http": PromptHttp,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "limit_concurrency": door.connections,
        # Streams of events have no end of their own.
        "timeout_graceful_shutdown": 3,
        "timeout_keep_alive": PromptHttp.head_s,
        "ssl_certfile": door.tls_cert,
        "ssl_keyfile": door.tls_key,
    }
