"""`/api/channels` and their routes: where outside callers start flows (spec flow8 section 14)."""

from datetime import timedelta

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import NotFound
from libs.common.messages.channel import (
    CHANNEL_KINDS,
    AddRoute,
    ChannelFields,
    ChannelSummary,
    ChannelView,
    CreateChannel,
    DeleteChannel,
    DeleteRoute,
    GetChannel,
    ListChannels,
    RouteFields,
    RouteView,
    UpdateChannel,
    UpdateRoute,
)
from libs.common.messages.request import REQUEST_DAYS_MAX, ListRequests, RequestView
from services.gateway import bodies, paging
from services.gateway.answers import Deleted, reply, whole_seconds
from services.gateway.operations import choice, operation, switch
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown
from services.gateway.store import Answer


class _Rows(msgspec.Struct, frozen=True):
    data: list[ChannelSummary]
    total: int


class _RequestRows(msgspec.Struct, frozen=True):
    data: list[RequestView]
    total: int


_fields = msgspec.json.Decoder(ChannelFields)
_route_fields = msgspec.json.Decoder(RouteFields)


class ChannelRoutes:
    """Channels and their routes: list, make, read, change, delete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/channels", self._list, "read"),
            Route("POST", "/api/channels", self._create, "edit"),
            Route("GET", "/api/channels/{id}", self._get, "read"),
            Route("PUT", "/api/channels/{id}", self._update, "edit"),
            Route("DELETE", "/api/channels/{id}", self._delete, "edit"),
            Route("GET", "/api/channels/{id}/requests", self._list_requests, "read"),
            Route("GET", "/api/channels/{id}/routes", self._list_routes, "read"),
            Route("POST", "/api/channels/{id}/routes", self._add_route, "edit"),
            Route("GET", "/api/channels/{id}/routes/{routeId}", self._get_route, "read"),
            Route("PUT", "/api/channels/{id}/routes/{routeId}", self._update_route, "edit"),
            Route("DELETE", "/api/channels/{id}/routes/{routeId}", self._delete_route, "edit"),
        ]

    # ── channels ────────────────────────────────────────────────────────────────────────────────────

    @operation(
        ChannelSummary,
        page=True,
        query=(
            choice("kind", "Only channels of this kind", (*CHANNEL_KINDS, "ws")),
            switch("enabled", "Only channels that are, or are not, enabled"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List channels."""
        query = call.request.query
        page = paging.page_of(query)
        kind = paging.choice(query, "kind", (*CHANNEL_KINDS, "ws"))
        wish = ListChannels(
            company_id=call.caller.company_id,
            page=page,
            kind="websocket" if kind == "ws" else kind,
            enabled=paging.switch(query, "enabled"),
        )
        answer = await self._parts.store.ask("channel", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(row) for row in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(ChannelView, status=201, body=_fields, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Make a channel.

        An enabled HTTP or WebSocket channel gets a port of its own. `authToken` and `hmacSecret` are write-only.
        """
        fields = await bodies.read(call.request, _fields)
        command = CreateChannel(**wishing(call, self._parts.clock), channel_id=ids.new_id(), fields=fields)
        answer = await self._parts.store.order("channel", command)
        return reply(_shown(answer), status=201, headers=answer.headers)

    @operation(ChannelView)
    async def _get(self, call: Call) -> web.Response:
        """Return one channel with its routes."""
        channel, answer = await self._channel(call)
        return reply(channel, headers=answer.headers)

    @operation(ChannelView, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a channel.

        Fields that are not named stay as they are. A disabled channel gives its port back.
        """
        fields = await bodies.read(call.request, _fields)
        command = UpdateChannel(
            **wishing(call, self._parts.clock), channel_id=_channel_id(call), fields=fields
        )
        answer = await self._parts.store.order("channel", command)
        return reply(_shown(answer), headers=answer.headers)

    @operation(Deleted)
    async def _delete(self, call: Call) -> web.Response:
        """Delete a channel with its routes; its port is free again."""
        command = DeleteChannel(**wishing(call, self._parts.clock), channel_id=_channel_id(call))
        answer = await self._parts.store.order("channel", command)
        return reply(Deleted(id=command.channel_id), headers=answer.headers)

    @operation(RequestView, page=True)
    async def _list_requests(self, call: Call) -> web.Response:
        """List what a channel was asked lately, newest first.

        Bodies are not kept, nor the values of headers that carry secrets.
        """
        page = paging.page_of(call.request.query)
        wish = ListRequests(
            company_id=call.caller.company_id,
            page=page,
            channel_id=_channel_id(call),
            since=self._parts.clock.now() - timedelta(days=REQUEST_DAYS_MAX),
        )
        answer = await self._parts.store.ask("channel", wish, call)
        rows = answer.decode(_RequestRows)
        envelope = paging.envelope([whole_seconds(row) for row in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    # ── routes ──────────────────────────────────────────────────────────────────────────────────────

    @operation(RouteView, page=True)
    async def _list_routes(self, call: Call) -> web.Response:
        """List the routes of a channel."""
        page = paging.page_of(call.request.query)
        channel, answer = await self._channel(call)
        first = page.page * page.size
        envelope = paging.envelope(
            list(channel.routes[first : first + page.size]), total=len(channel.routes), page=page
        )
        return reply(envelope, headers=answer.headers)

    @operation(RouteView, status=201, body=_route_fields, refusals=(409,))
    async def _add_route(self, call: Call) -> web.Response:
        """Add a route to a channel.

        An HTTP route has `httpMethod` and `path`, a WebSocket route a `path`, an MCP route a `toolName`.
        """
        fields = await bodies.read(call.request, _route_fields)
        command = AddRoute(
            **wishing(call, self._parts.clock),
            channel_id=_channel_id(call),
            route_id=ids.new_id(),
            fields=fields,
        )
        answer = await self._parts.store.order("channel", command)
        return reply(_route_in(_shown(answer), command.route_id), status=201, headers=answer.headers)

    @operation(RouteView)
    async def _get_route(self, call: Call) -> web.Response:
        """Return one route of a channel."""
        channel, answer = await self._channel(call)
        return reply(_route_in(channel, call.parameters[1]), headers=answer.headers)

    @operation(RouteView, body=_route_fields, refusals=(409,))
    async def _update_route(self, call: Call) -> web.Response:
        """Change a route.

        Fields that are not named stay as they are.
        """
        fields = await bodies.read(call.request, _route_fields)
        command = UpdateRoute(
            **wishing(call, self._parts.clock),
            channel_id=_channel_id(call),
            route_id=_route_id(call),
            fields=fields,
        )
        answer = await self._parts.store.order("channel", command)
        return reply(_route_in(_shown(answer), command.route_id), headers=answer.headers)

    @operation(Deleted)
    async def _delete_route(self, call: Call) -> web.Response:
        """Remove a route."""
        command = DeleteRoute(
            **wishing(call, self._parts.clock), channel_id=_channel_id(call), route_id=_route_id(call)
        )
        answer = await self._parts.store.order("channel", command)
        return reply(Deleted(id=command.route_id), headers=answer.headers)

    # ── parts ───────────────────────────────────────────────────────────────────────────────────────

    async def _channel(self, call: Call) -> tuple[ChannelView, Answer]:
        wish = GetChannel(company_id=call.caller.company_id, channel_id=_channel_id(call))
        answer = await self._parts.store.ask("channel", wish, call)
        return _shown(answer), answer


def _shown(answer: Answer) -> ChannelView:
    channel = whole_seconds(answer.decode(ChannelView))
    return msgspec.structs.replace(channel, routes=tuple(map(whole_seconds, channel.routes)))


def _route_in(channel: ChannelView, route_id: str) -> RouteView:
    route = next((route for route in channel.routes if route.id == route_id), None)
    if route is None:
        raise NotFound(f"channel {channel.id} has no route {shown(route_id)}", code="ROUTE_NOT_FOUND")
    return route


def _channel_id(call: Call) -> str:
    channel_id = call.parameters[0]
    if not ids.is_id(channel_id):
        raise NotFound(f"no channel {shown(channel_id)}", code="CHANNEL_NOT_FOUND")
    return channel_id


def _route_id(call: Call) -> str:
    route_id = call.parameters[1]
    if not ids.is_id(route_id):
        raise NotFound(f"no route {shown(route_id)}", code="ROUTE_NOT_FOUND")
    return route_id
