"""What one request and one device may cost: bodies, their time, frames a second."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request

from connectors.gateway.problems import RefusedError

_IDLE_S = 600.0


async def read_body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """Returns the body.

    Compressed bodies are refused unread, so no body can be larger than it looks. The time is for the whole body: a
    sender that drips bytes holds a connection no longer than any other.

    Raises:
        RefusedError: It is compressed, larger than `max_bytes`, or not here within `seconds`.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise RefusedError(
            415, "compressed", f"Content-Encoding {encoding[:20]!r} is not taken: send the body as it is"
        )
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > max_bytes:
        raise RefusedError(413, "too_large", f"a body may have {max_bytes} bytes, this one says {declared[:20]}")
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise RefusedError(413, "too_large", f"a body may have {max_bytes} bytes")
    except TimeoutError:
        raise RefusedError(408, "slow_body", f"the body was not complete within {seconds:g} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "cut_off", "the body ended early") from None
    return bytes(body)


@dataclass
class _Bucket:
    tokens: float
    at_s: float


class RateLimit:
    """A bucket of frames a sender; by the clock, for the door only: the flow has its own limit in log time.

    Args:
        sender: What is limited, for people: `this device`.
        per_s: Frames a second.
        burst: Frames at once.
        clock: Seconds, monotonic.
    """

    def __init__(self, sender: str, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._sender, self._per_s, self._burst, self._clock = sender, per_s, burst, clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept_s = clock()

    def take(self, who: str, frames: int) -> None:
        """Takes frames from a sender's bucket.

        Raises:
            RefusedError: It has fewer; says when it will have enough. Nothing is taken then.
        """
        now = self._clock()
        self._sweep(now)
        bucket = self._buckets.setdefault(who, _Bucket(float(self._burst), now))
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at_s) * self._per_s)
        bucket.at_s = now
        if frames > self._burst:
            raise RefusedError(413, "too_many", f"a request may hold {self._burst} frames, this one holds {frames}")
        if frames > bucket.tokens:
            wait_s = (frames - bucket.tokens) / self._per_s
            detail = f"{self._sender} may send {self._per_s:g} frames a second, {self._burst} at once"
            raise RefusedError(429, "over_rate", detail, retry_s=wait_s)
        bucket.tokens -= frames

    def give(self, who: str, frames: int) -> None:
        """Gives frames back that were taken and then refused for another reason."""
        if (bucket := self._buckets.get(who)) is not None:
            bucket.tokens = min(self._burst, bucket.tokens + frames)

    def _sweep(self, now: float) -> None:
        """Forgets buckets that are full again, so that their number stays that of the senders."""
        if now - self._swept_s > _IDLE_S:
            self._swept_s = now
            full_s = self._burst / self._per_s
            self._buckets = {who: bucket for who, bucket in self._buckets.items() if now - bucket.at_s < full_s}
