"""Answers that say no, in the form of RFC 9457 (`application/problem+json`)."""

import logging
from typing import Any

import msgspec
from prometheus_client import Counter
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

logger = logging.getLogger(__name__)
REFUSED = Counter("vitals_api_refused", "Requests and screens of who was not let in, by status", ["status"])


class JsonResponse(Response):
    """JSON by msgspec: NaN becomes null, integers of ns stay exact."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Encodes the body."""
        return msgspec.json.encode(content)


class ProblemError(Exception):
    """A request that is not answered: the status and what to tell the caller."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


def answer(status: int, detail: str) -> Response:
    """Returns a problem as a response."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    body = msgspec.json.encode({"status": status, "detail": detail})
    return Response(body, status, headers, "application/problem+json")


def refused(connection: HTTPConnection, problem: ProblemError) -> None:
    """Logs and counts who was not let in: the address, the route and why; never what was presented."""
    REFUSED.labels(str(problem.status)).inc()
    address = connection.client.host if connection.client else "unknown"
    logger.warning("API refused %s %.100r: %s (%s)", address, connection.url.path, problem.detail, problem.status)


async def on_problem(request: Request, error: Exception) -> Response:
    """Handler of `ProblemError`."""
    if not isinstance(error, ProblemError):
        raise error
    if error.status in {401, 403}:
        refused(request, error)
    return answer(error.status, error.detail)


async def on_database_down(_: Request, error: Exception) -> Response:
    """Handler of `DatabaseUnavailableError`: the caller may try again."""
    response = answer(503, str(error))
    response.headers["Retry-After"] = "2"
    return response


async def on_missing(request: Request, _: Exception) -> Response:
    """Handler of paths that do not exist."""
    return answer(404, f"there is no {request.url.path}; /api/v1/openapi.json lists the routes")
