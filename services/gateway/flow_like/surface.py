"""What is the same for all paths of the second surface: which they are, how errors look, who may call from where.

`/api/v1` and `/jobs` answer errors in an envelope of their own, and every path with and without a slash at its end
(spec flow-like sections 1.2 and 11.2, FQ1).
"""

import msgspec
from aiohttp import web

from services.gateway import problems
from services.gateway.answers import reply
from services.gateway.origin import request_id_of

PREFIXES = ("/api/v1", "/jobs")
# Answered with and without a slash at the end; the probes belong to both surfaces.
SLASHED = (*PREFIXES, "/health")
COMPRESSED_ABOVE_BYTES = 1_024
REQUEST_ID = "X-Request-Id"
ERROR_ID = "X-Error-Id"
TOTAL = "X-Total-Count"

# Section 1.2; 405, 408 and 413 are ours, for there is a word for everything.
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    410: "GONE",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE_ENTITY",
    429: "TOO_MANY_REQUESTS",
    500: "INTERNAL_ERROR",
    503: "SERVICE_UNAVAILABLE",
}
# Codes of this surface that say more than their status.
OWN_CODES = frozenset({"DATABASE_ERROR"})


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong; `id` finds the report of a server error in the log."""

    code: str
    message: str
    id: str = ""


class ErrorEnvelope(msgspec.Struct, frozen=True, kw_only=True):
    """The body of every answer of this surface that is an error."""

    error: Failure


def covers(path: str) -> bool:
    """Tell whether a path belongs to this surface."""
    return _below(path, PREFIXES)


def may_be_called_from_anywhere(path: str) -> bool:
    """Tell whether pages of any origin may call this path, without cookies; jobs they may not (FQ4)."""
    return _below(path, PREFIXES[:1])


def canonical(path: str) -> str:
    """Return a path as routes spell it: without the slash at its end where both forms are answered."""
    return path[:-1] if path.endswith("/") and _below(path, SLASHED) else path


def to_response(error: Exception, *, route: str) -> web.Response:
    """Return the answer for anything a handler raised, in this surface's envelope."""
    said = problems.told(error, route=route)
    code = said.code if said.code in OWN_CODES else CODES.get(said.status, "ERROR")
    message = problems.CRASHED if said.status == 500 else said.message
    body = ErrorEnvelope(error=Failure(code=code, message=message, id=said.error_id))
    headers = {**said.headers, ERROR_ID: said.error_id} if said.error_id else said.headers
    return reply(body, status=said.status, headers=headers)


def finish(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Give an answer the request's id, and compress it when that is worth it."""
    if response.prepared:
        return
    response.headers[REQUEST_ID] = request_id_of(request)
    if isinstance(response, web.Response) and response.body is not None:
        size = len(response.body) if isinstance(response.body, bytes | bytearray) else 0
        if size > COMPRESSED_ABOVE_BYTES:
            response.headers.add("Vary", "Accept-Encoding")
            response.enable_compression()


def _below(path: str, prefixes: tuple[str, ...]) -> bool:
    # Every request asks: nearly all are told by the first look.
    return path.startswith(prefixes) and any(
        path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/") for prefix in prefixes
    )
