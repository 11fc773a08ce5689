"""Cross-origin requests, for the origins that the configuration names and no others (fetch standard, CORS)."""

from aiohttp import web

from services.gateway.positions import HEADER

MAX_AGE_S = 600
METHODS = "GET, POST, PUT, DELETE"
REQUEST_HEADERS = f"Authorization, Content-Type, Last-Event-ID, Prefer, traceparent, {HEADER}"


class Origins:
    """The origins whose pages may call us with the user's cookie."""

    def __init__(self, allowed: str) -> None:
        self._allowed = frozenset(
            origin.strip().rstrip("/") for origin in allowed.split(",") if origin.strip()
        )

    def preflight(self, request: web.BaseRequest) -> web.Response | None:
        """Return the answer to a preflight of an allowed origin, None for everything else."""
        if request.method != "OPTIONS" or request.headers.get("Origin", "") not in self._allowed:
            return None
        response = web.Response(status=204)
        self.allow(request, response)
        response.headers["Access-Control-Allow-Methods"] = METHODS
        response.headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
        return response

    def allow(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Let the browser show this answer to a page of an allowed origin."""
        if not self._allowed or response.prepared:
            return
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin", "")
        if origin in self._allowed:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Access-Control-Expose-Headers"] = f"{HEADER}, Preference-Applied, Retry-After"

    def may_open_socket(self, request: web.BaseRequest) -> bool:
        """Tell whether the page that opens a socket is ours or allowed; programs send no Origin.

        Browsers let any page open a socket with the user's cookie, and say only where it came from.
        """
        origin = request.headers.get("Origin")
        if origin is None or origin in self._allowed:
            return True
        return origin.partition("://")[2] == request.headers.get("Host", "")
