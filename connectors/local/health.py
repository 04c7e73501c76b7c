"""The health endpoint of `vitals run`: /live, /ready, /status (JSON) and /metrics."""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from connectors.local.supervisor import State, Supervisor

Answer = tuple[int, str, bytes]


class Health:
    """What is answered, without the server around it.

    Args:
        supervisor: Whom it speaks of.
        silent: Whether the dead-man watch says that the pipeline is silent.
    """

    def __init__(self, supervisor: Supervisor, silent: Callable[[], bool]) -> None:
        self._supervisor = supervisor
        self._silent = silent

    def answer(self, path: str) -> Answer:
        """Returns status, content type and body for a path."""
        status = self._supervisor.status
        if path == "/live":
            return self._verdict(self._supervisor.alive)
        if path == "/ready":
            return self._verdict(status.state == State.RUNNING and not self._silent())
        if path == "/status":
            return 200, "application/json", json.dumps(self._status(), indent=2).encode()
        if path == "/metrics":
            lines = "".join(f"{name} {value!r}\n" for name, value in status.samples.items())
            return 200, CONTENT_TYPE_LATEST, generate_latest() + lines.encode()
        return 404, "text/plain", b"/live, /ready, /status, /metrics\n"

    def _verdict(self, good: bool) -> Answer:
        return (200 if good else 503), "application/json", json.dumps(self._status()).encode()

    def _status(self) -> dict[str, object]:
        status = self._supervisor.status
        return {
            "state": status.state,
            "silent": self._silent(),
            "restarts": status.restarts,
            "reason": status.reason,
            "unaccounted": status.unaccounted,
            "lag_s": max((partition.lag_s for partition in status.partitions.values()), default=None),
            "pending": sum(partition.pending for partition in status.partitions.values()),
            "partitions": {name: asdict(partition) for name, partition in sorted(status.partitions.items())},
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Writes a traceback, unless a prober only hung up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as in socketserver


class HealthServer:
    """Serves `Health` in a thread.

    Args:
        health: Who answers.
        host: Address to listen on.
        port: Port; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, health: Health, host: str, port: int) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 10.0  # who does not ask in time keeps no thread

            def do_GET(self) -> None:
                code, kind, body = health.answer(self.path)
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Probes come every few seconds: nothing to write down."""

        self._server = _Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
