"""The HTTP server of one channel, on the channel's own port (spec flow8 section 14.1)."""

import asyncio
import time
from http import HTTPStatus
from typing import Any, NamedTuple

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from libs.common import metrics, trace
from libs.common.clock import Clock
from libs.common.errors import HeadraceError, NotFound, TooLarge, TooMany
from libs.common.messages.channel import Channel
from services.gateway import bodies, problems
from services.gateway.answers import reply
from services.gateway.bodies import TooSlow
from services.gateway.channels import request_args
from services.gateway.channels.callers import Callers
from services.gateway.channels.invocation import Invocation, http_answer
from services.gateway.channels.matching import Found, find
from services.gateway.channels.recorder import Recorder, Seen
from services.gateway.channels.secrets import ChannelSecrets
from services.gateway.channels.socket import ChannelSocket
from services.gateway.connections import Connection
from services.gateway.routing import as_utf8

# Also how long a connection may take to send the head of its first request.
KEEPALIVE_S = 20.0
CONNECTIONS_MAX = 2_000
REQUESTS_AT_ONCE_MAX = 500
SOCKETS_MAX = 1_000
HEADERS_MAX = 100
ROUTE = "channel"

log = structlog.get_logger(__name__)


class TooManyHeaders(HeadraceError):
    """The request has more headers than one may have."""

    status = 431
    default_code = "TOO_MANY_HEADERS"


class Tools(NamedTuple):
    """What the servers of all channels share."""

    invocation: Invocation
    secrets: ChannelSecrets
    recorder: Recorder
    clock: Clock
    body_bytes_max: int


class ChannelServer(web.Server):
    """Serves one channel as it is defined now; `channel` is replaced when its definition changes."""

    def __init__(self, channel: Channel, tools: Tools) -> None:
        super().__init__(
            self._serve,
            request_factory=self._request,
            access_log=None,
            keepalive_timeout=KEEPALIVE_S,
            max_headers=HEADERS_MAX + 1,
        )
        self.channel = channel
        self._tools = tools
        self._callers = Callers(tools.secrets, tools.clock)
        self._busy = 0
        self._sockets: set[ChannelSocket] = set()

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def say_goodbye(self) -> None:
        """Tell the sockets of this channel that it is over."""
        for socket in tuple(self._sockets):
            socket.end_soon()

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        writer: AbstractStreamWriter,
        task: "asyncio.Task[None]",
    ) -> web.BaseRequest:
        size_max = self._tools.body_bytes_max
        return web.BaseRequest(message, payload, protocol, writer, task, self._loop, client_max_size=size_max)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        began_s = time.perf_counter()
        seen = Seen(at=self._tools.clock.now(), method=request.method, path=_path(request))
        try:
            with trace.span("call a channel", channel=self.channel.id):
                response = await self._answer(request, seen)
        except ConnectionError:
            # Nobody is left to answer.
            raise
        except Exception as error:  # noqa: BLE001 - the edge: whatever is raised becomes an answer
            response = problems.to_response(error, route=ROUTE)
            if isinstance(error, TooSlow | TooLarge):
                # What is left of the body is not worth reading.
                response.force_close()
        took_s = time.perf_counter() - began_s
        if response.status != HTTPStatus.SWITCHING_PROTOCOLS:
            self._note(request, seen, response.status, took_s)
        return response

    def _note(self, request: web.BaseRequest, seen: Seen, status: int, took_s: float) -> None:
        metrics.CHANNEL_REQUESTS.labels(str(status)).inc()
        self._tools.recorder.record(self.channel, request, seen, status=status, took_s=took_s)

    async def _answer(self, request: web.BaseRequest, seen: Seen) -> web.StreamResponse:
        channel = self.channel
        if channel.deleted or not channel.enabled:
            # A connection that outlived the channel's last moments.
            raise NotFound("this channel is closed", code="CHANNEL_CLOSED")
        if len(request.headers) > HEADERS_MAX:
            raise TooManyHeaders(f"a request has at most {HEADERS_MAX} headers")
        if channel.kind == "websocket":
            return await self._open_socket(request, seen)
        if self._busy >= REQUESTS_AT_ONCE_MAX:
            raise TooMany(f"{REQUESTS_AT_ONCE_MAX} requests of this channel are under way")
        self._busy += 1
        try:
            return await self._call(request, seen)
        finally:
            self._busy -= 1

    async def _call(self, request: web.BaseRequest, seen: Seen) -> web.Response:
        channel, headers = self.channel, request.headers
        await self._callers.check_token(channel, headers)
        found = find(channel, request.method, _path(request))
        seen.route_id = found.route.id
        data = await bodies.received(request)
        delivery = await self._callers.check_signature(channel, headers, data)
        args = _args(request, found, hide_token=channel.auth_mode == "header_token")
        args |= request_args.body_of(data, headers.get("Content-Type", ""))
        ran = await self._tools.invocation.run(channel, found.route, args, delivery=delivery)
        seen.play_ids = ran.play_ids
        answer = http_answer(ran)
        return reply(answer.body, status=answer.status, headers={"Headrace-Play-Id": ",".join(ran.play_ids)})

    async def _open_socket(self, request: web.BaseRequest, seen: Seen) -> web.StreamResponse:
        channel = self.channel
        query = request_args.query_of(_query(request))
        given = query.pop("token", "")
        token = given if isinstance(given, str) else ""
        await self._callers.check_token(channel, request.headers, query_token=token)
        found = find(channel, "", _path(request))
        seen.route_id = found.route.id
        args = _args(request, found, hide_token=True) | {"method": "WS", "query": query}
        if len(self._sockets) >= SOCKETS_MAX:
            raise TooMany(f"{SOCKETS_MAX} sockets of this channel are open")

        def note(status: int, play_ids: tuple[str, ...], took_s: float) -> None:
            frame = Seen(self._tools.clock.now(), "WS", seen.path, found.route.id, play_ids)
            self._note(request, frame, status, took_s)

        socket = ChannelSocket(self._tools.invocation, channel, found.route, args, note)
        self._sockets.add(socket)
        try:
            return await socket.serve(request, message_bytes_max=self._tools.body_bytes_max)
        finally:
            self._sockets.discard(socket)


class _Connection(Connection):
    connections_max = CONNECTIONS_MAX
    full = "channel_connections_full"


def _args(request: web.BaseRequest, found: Found, *, hide_token: bool) -> dict[str, Any]:
    return {
        "headers": request_args.headers_of(request.headers, hide_token=hide_token),
        "query": request_args.query_of(_query(request)),
        "method": request.method,
        "path": _path(request),
        "params": found.params,
    }


def _path(request: web.BaseRequest) -> str:
    raw = request.raw_path
    if not raw.startswith("/"):
        # The absolute form (RFC 9112 section 3.2.2).
        raw = request.rel_url.raw_path
    return as_utf8(raw.partition("?")[0].partition("#")[0])


def _query(request: web.BaseRequest) -> str:
    return as_utf8(request.raw_path.partition("?")[2].partition("#")[0])
