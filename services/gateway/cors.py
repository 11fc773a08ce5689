"""Cross-origin requests (fetch standard, CORS).

The origins that the configuration names may call us with the user's cookie. Any other may call the second surface,
which takes tokens in a header, and gets no cookie along.
"""

from aiohttp import web

from services.gateway.flow_like import surface
from services.gateway.positions import HEADER

MAX_AGE_S = 600
METHODS = "GET, POST, PUT, PATCH, DELETE"
REQUEST_HEADERS = (
    f"Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Prefer, traceparent, "
    f"X-API-Key, {surface.REQUEST_ID}, {HEADER}"
)
SHOWN_HEADERS = (
    f"{HEADER}, ETag, Location, Preference-Applied, Retry-After, {surface.ERROR_ID}, {surface.REQUEST_ID}, "
    f"{surface.TOTAL}"
)


class Origins:
    """The origins whose pages may call us with the user's cookie."""

    def __init__(self, allowed: str) -> None:
        self._allowed = frozenset(
            origin.strip().rstrip("/") for origin in allowed.split(",") if origin.strip()
        )

    def preflight(self, request: web.BaseRequest, path: str) -> web.Response | None:
        """Return the answer to a preflight of an origin that may call this path, None for everything else."""
        origin = request.headers.get("Origin", "")
        if request.method != "OPTIONS" or not origin:
            return None
        if origin not in self._allowed and not surface.may_be_called_from_anywhere(path):
            return None
        response = web.Response(status=204)
        self.allow(request, response, path)
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        return response

    def allow(self, request: web.BaseRequest, response: web.StreamResponse, path: str) -> None:
        """Let the browser show this answer to a page of an origin that may call this path."""
        anywhere = surface.may_be_called_from_anywhere(path)
        if not (self._allowed or anywhere) or response.prepared:
            return
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin", "")
        if origin in self._allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
        elif origin and anywhere:
            response.headers["Access-Control-Allow-Origin"] = "*"
        else:
            return
        response.headers["Access-Control-Expose-Headers"] = SHOWN_HEADERS

    def may_open_socket(self, request: web.BaseRequest) -> bool:
        """Tell whether the page that opens a socket is ours or allowed; programs send no Origin.

        Browsers let any page open a socket with the user's cookie, and say only where it came from.
        """
        origin = request.headers.get("Origin")
        if origin is None or origin in self._allowed:
            return True
        return origin.partition("://")[2] == request.headers.get("Host", "")
