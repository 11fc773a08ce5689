"""The HTTP server: each request to its route, each error to its answer, and a measure of both.

aiohttp's low-level server, for its application layer costs a quarter of a request's CPU here and gives what a table
of routes gives as well.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from libs.common import metrics, trace
from libs.common.config import Config
from libs.common.errors import TooLarge
from services.gateway import cors, problems
from services.gateway.auth import Auth
from services.gateway.bodies import TooSlow
from services.gateway.connections import Connection
from services.gateway.flow_like import surface
from services.gateway.routing import Call, Route, Router

# Also how long a connection may take to send the head of its first request.
KEEPALIVE_S = 75.0
# Above the sockets and event streams that one gateway may have.
CONNECTIONS_MAX = 20_000
UNKNOWN_ROUTE = "unknown"

# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = structlog.get_logger(__name__)


class Server(web.Server):
    """Serves a table of routes."""

    def __init__(self, router: Router, auth: Auth, config: Config, origins: cors.Origins) -> None:
        super().__init__(
            self._serve, request_factory=self._request, access_log=None, keepalive_timeout=KEEPALIVE_S
        )
        self._router = router
        self._auth = auth
        self._body_bytes_max = config.body_bytes_max
        self._access_log = config.log_level == "debug"
        self._origins = origins
        self._measures = _Measures()

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        size_max = self._body_bytes_max
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=size_max)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began_s = time.perf_counter()
        route_name = UNKNOWN_ROUTE
        path = surface.canonical(_path(request))
        second = surface.covers(path)
        try:
            preflight = self._origins.preflight(request, path)
            if preflight is not None:
                return preflight
            route, parameters = self._router.match(request.method, path)
            route_name = route.path
            response = await self._answer(route, Call(request, parameters))
        except ConnectionError:
            # Nobody is left to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever is raised becomes an answer
            to_response = surface.to_response if second else problems.to_response
            response = to_response(error, route=route_name)
            if isinstance(error, TooSlow | TooLarge):
                # What is left of the body is not worth reading.
                response.force_close()
        self._origins.allow(request, response, path)
        if second:
            surface.finish(request, response)
        took_s = time.perf_counter() - began_s
        self._measures.note(request.method, route_name, response.status, took_s)
        if self._access_log:
            log.debug(
                "request", method=request.method, path=request.path, status=response.status, took_s=took_s
            )
        return response

    async def _answer(self, route: Route, call: Call) -> web.StreamResponse:
        given = call.request.headers.get("traceparent", "")
        traceparent = given if _TRACEPARENT.fullmatch(given) else ""
        with trace.continued(f"{route.method} {route.path}", traceparent):
            return await self._handle(route, call)

    async def _handle(self, route: Route, call: Call) -> web.StreamResponse:
        if route.permission is not None:
            call.caller = await self._auth.identify(call.request)
            if not surface.covers(route.path):
                # What a personal access token is for has names on the second surface alone.
                call.caller.must_reach(0)
            call.caller.must(route.permission)
        return await route.handler(call)


class _Connection(Connection):
    connections_max = CONNECTIONS_MAX
    full = "connections_full"


class _Measures:
    """Request counters, with their label look-ups done once, and times."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, int], Any] = {}

    def note(self, method: str, route: str, status: int, took_s: float) -> None:
        """Count one answer. Methods nobody knows are one, for callers choose them freely."""
        counter = self._counters.get((method, route, status))
        if counter is None:
            shown = method if method in _METHODS else "other"
            counter = metrics.REQUESTS.labels(shown, route, str(status))
            if shown == method:
                self._counters[method, route, status] = counter
        counter.inc()
        metrics.REQUEST_SECONDS.observe((route,), took_s)


_METHODS: Mapping[str, None] = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))


def _path(request: web.BaseRequest) -> str:
    raw = request.raw_path
    if raw.startswith("/"):
        return raw.partition("?")[0].partition("#")[0]
    # The absolute form (RFC 9112 section 3.2.2).
    return request.rel_url.raw_path
