"""`WS /api/ws`: live events of the caller's company (spec flow8 section 16)."""

from aiohttp import web

from libs.common import ids
from libs.common.errors import Forbidden, Invalid, NotFound, Unavailable
from services.gateway import paging
from services.gateway.closing import CLOSE_S_MAX
from services.gateway.cors import Origins
from services.gateway.following import Wish, parse_since
from services.gateway.operations import operation, text
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown
from services.gateway.sockets import Socket

# What clients say is ignored; more than this ends the connection.
CLIENT_MESSAGE_BYTES_MAX = 65_536
WISHES = (
    text("flowId", "Only plays of this flow, by id or permanentId"),
    text("playId", "Only this play"),
    text("since", "Go on after the frame with this `sequence`; 0 is all that the log holds"),
)


class SocketRoutes:
    """Upgrades to sockets; refuses before the upgrade, in the API's error format."""

    def __init__(self, parts: Parts, origins: Origins) -> None:
        self._parts = parts
        self._origins = origins

    def routes(self) -> list[Route]:
        """Return the endpoint."""
        return [Route("GET", "/api/ws", self._open, None)]

    @operation(
        status=101,
        query=(*WISHES, text("token", "An API key, for clients that can send no header")),
        refusals=(400, 401, 403, 404, 429),
        permission="read",
    )
    async def _open(self, call: Call) -> web.StreamResponse:
        """Open a WebSocket with the live events of the company.

        The messages are described in the AsyncAPI document, `/asyncapi.json`.
        """
        request, auth, feeds = call.request, self._parts.auth, self._parts.feeds
        caller = await auth.identify(request, socket=True)
        caller.must_reach(0)
        caller.must("read")
        if not self._origins.may_open_socket(request):
            raise Forbidden("this origin may not open sockets here")
        if feeds.draining:
            raise Unavailable("this gateway is about to stop")
        connection = web.WebSocketResponse(
            autoping=False, compress=False, timeout=CLOSE_S_MAX, max_msg_size=CLIENT_MESSAGE_BYTES_MAX
        )
        if not connection.can_prepare(request).ok:
            raise Invalid("this is a WebSocket: ask for an upgrade")
        wish = await self._wish(request, caller.company_id)
        socket = Socket(
            self._parts.bus,
            self._parts.clock,
            wish,
            connection,
            still_holds=lambda: auth.identify(request, socket=True),
        )
        positions = await feeds.join(caller.company_id, socket)
        try:
            await connection.prepare(request)
            await socket.serve(request, positions)
        finally:
            await feeds.leave(caller.company_id, socket)
        return connection

    async def _wish(self, request: web.BaseRequest, company_id: str) -> Wish:
        query = request.query
        flow, play_id = paging.text(query, "flowId"), paging.text(query, "playId")
        since = paging.text(query, "since")
        flow_id = None
        if flow is not None:
            flow_id = await self._parts.definitions.id_of(company_id, flow)
            if flow_id is None:
                raise NotFound(f"no flow {shown(flow)}", code="FLOW_NOT_FOUND")
        if play_id is not None and not ids.is_id(play_id):
            raise NotFound(f"no play {shown(play_id)}", code="PLAY_NOT_FOUND")
        positions = None if since is None else parse_since(since, self._parts.config.shards)
        return Wish(company_id=company_id, flow_id=flow_id, play_id=play_id, since=positions)
