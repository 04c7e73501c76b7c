"""A receiver of webhooks that checks signatures, fails on purpose, and applies the idempotency key."""

import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from connectors.notify.signature import verify


class Receiver:
    """Keeps what arrived: `raw` counts requests that were taken, `applied` is what is left after the key."""

    def __init__(self, secret, answer=lambda key, attempt: 200):
        self.secret, self.answer = secret, answer
        self.raw, self.attempts, self.applied, self.forged = Counter(), Counter(), {}, 0
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(self.headers, body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/alerts"
        self._thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self._thread.start()

    def take(self, headers, body):
        key, signature = headers["Idempotency-Key"], headers["Vitals-Signature"]
        if not verify(self.secret, int(headers["Vitals-Timestamp"]), body, signature, now_s=time.time()):
            self.forged += 1
            return 401
        with self._lock:
            self.attempts[key] += 1
            status = self.answer(key, self.attempts[key])
            if status < 300:
                self.raw[key] += 1
                self.applied.setdefault(key, body)
        return status

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
