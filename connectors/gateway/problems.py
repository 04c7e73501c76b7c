"""Answers that say no (RFC 9457): which entry, which field, and the reason in the words of the rejection reasons."""

from collections.abc import Sequence

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_MOST_ERRORS = 20
"""Errors that an answer lists; a batch of thousands of bad frames gets no answer of megabytes."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with one entry.

    Attributes:
        index: Which frame or observation of the request, from 0.
        reason: A rejection reason of docs/architecture.md, or `invalid`.
        field: Where in the entry, as far as it is known.
        detail: In words.
    """

    index: int
    reason: str
    field: str = ""
    detail: str


class RefusedError(Exception):
    """A request that is not taken.

    Args:
        status: HTTP status.
        title: A short word that is counted: `unknown_key`, `too_large`, ...
        detail: In words, without anything secret.
        errors: What is wrong with which entry.
        retry_s: After how long to try again; 0: the same request will never do.
    """

    def __init__(
        self, status: int, title: str, detail: str, *, errors: Sequence[FieldError] = (), retry_s: float = 0.0
    ) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail = status, title, detail
        self.errors = list(errors)
        self.retry_s = retry_s

    def response(self) -> Response:
        """The answer."""
        body: dict[str, object] = {"type": "about:blank", "title": self.title, "status": self.status}
        body["detail"] = self.detail
        if self.errors:
            body["errors"] = self.errors[:_MOST_ERRORS]
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if self.retry_s:
            headers["Retry-After"] = str(max(1, round(self.retry_s)))
        if self.status in {408, 413}:
            headers["Connection"] = "close"  # what is left of the body is not read
        return Response(msgspec.json.encode(body), self.status, headers, "application/problem+json")


async def on_refused(_: Request, error: Exception) -> Response:
    """Handler of `RefusedError`."""
    if not isinstance(error, RefusedError):
        raise error
    return error.response()
