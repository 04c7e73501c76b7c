"""One request to a webhook, and what its answer means."""

import http.client
import socket
import ssl
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from connectors.notify.signature import sign
from dataflows.settings import NotifyTarget

_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Answer:
    """What became of a request."""

    delivered: bool
    permanent: bool
    """Sending it again would not help."""
    text: str
    retry_after_s: float = 0.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A signed body goes where its target says, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return


_OPENER = urllib.request.build_opener(_NoRedirect)


_TYPES = {"vitals": "application/json", "fhir": "application/fhir+json"}


def post(target: NotifyTarget, message_id: str, body: bytes) -> Answer:
    """Sends a transition and waits for the answer, at most `target.timeout_s`."""
    now_s = int(time.time())
    headers = {
        "Content-Type": _TYPES[target.form],
        "User-Agent": "vitals-notify",
        "Idempotency-Key": message_id,
        "Vitals-Timestamp": str(now_s),
        "Vitals-Signature": sign(target.secret.get_secret_value(), now_s, body),
    }
    request = urllib.request.Request(target.url, body, headers, method="POST")  # noqa: S310  (checked by the settings)
    try:
        with _OPENER.open(request, timeout=target.timeout_s) as answer:
            return Answer(delivered=True, permanent=False, text=str(answer.status))
    except urllib.error.HTTPError as error:
        after = error.headers.get("Retry-After", "")
        error.close()
        permanent = 300 <= error.code < 500 and error.code not in _AGAIN
        wait_s = min(float(after), 3600.0) if after.isdigit() else 0.0
        return Answer(delivered=False, permanent=permanent, text=f"HTTP {error.code}", retry_after_s=wait_s)
    except (OSError, http.client.HTTPException, ssl.SSLError, socket.timeout) as error:  # noqa: UP041
        return Answer(delivered=False, permanent=False, text=f"{type(error).__name__}: {error}")
