"""Channels: where outside callers start flows, and the routes of each (spec flow8 section 14)."""

from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.origin import Fact, Wish
from libs.common.messages.query import Page, Query

ChannelKind = Literal["http", "websocket", "mcp"]
AuthMode = Literal["public", "header_token", "hmac"]
HmacStyle = Literal["github", "stripe", "standard-webhooks"]
ResponseMode = Literal["sync", "async"]
CHANNEL_KINDS: tuple[ChannelKind, ...] = ("http", "websocket", "mcp")
AUTH_MODES: tuple[AuthMode, ...] = ("public", "header_token", "hmac")
HMAC_STYLES: tuple[HmacStyle, ...] = ("github", "stripe", "standard-webhooks")
RESPONSE_MODES: tuple[ResponseMode, ...] = ("sync", "async")
TIMEOUT_S_DEFAULT = 30
HMAC_TOLERANCE_S_DEFAULT = 300


class ChannelRoute(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One way into a channel and the flows behind it.

    An HTTP route has `http_method` and `path`, a WebSocket route a `path`, an MCP route a `tool_name`; what a kind has
    not is empty. `timeout_seconds` is how long a synchronous caller waits.
    """

    id: str
    name: str
    http_method: str = ""
    path: str = ""
    tool_name: str = ""
    description: str = ""
    input_schema: dict[str, Any] | None = None
    target_flow_ids: tuple[str, ...] = ()
    response_mode: ResponseMode = "sync"
    timeout_seconds: int = TIMEOUT_S_DEFAULT
    created_at: datetime
    updated_at: datetime


class Channel(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole of a channel, as each of its events carries it (D7).

    `sealed_token` and `sealed_hmac_secret` are encrypted (D14). `port` is set while an HTTP or WebSocket channel is
    enabled; MCP channels share the port of the MCP server.
    """

    id: str
    company_id: str
    name: str
    kind: ChannelKind
    auth_mode: AuthMode = "public"
    sealed_token: str = ""
    hmac_style: HmacStyle | None = None
    sealed_hmac_secret: str = ""
    hmac_tolerance_seconds: int = HMAC_TOLERANCE_S_DEFAULT
    enabled: bool = True
    port: int | None = None
    routes: tuple[ChannelRoute, ...] = ()
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


def token_context(channel_id: str) -> str:
    """Return what a channel's token is sealed for; it opens nowhere else."""
    return f"channel-token:{channel_id}"


def hmac_context(channel_id: str) -> str:
    """Return what a channel's signing secret is sealed for; it opens nowhere else."""
    return f"channel-hmac:{channel_id}"


class RouteView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A route as the API shows it; what its channel's kind does not have is null."""

    id: str
    channel_id: str
    name: str
    http_method: str | None
    path: str | None
    tool_name: str | None
    description: str
    input_schema: dict[str, Any] | None
    target_flow_ids: tuple[str, ...]
    response_mode: str
    timeout_seconds: int
    created_at: datetime
    updated_at: datetime


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A channel as lists show it: token and secret are write-only."""

    id: str
    company_id: str
    name: str
    kind: str
    auth_mode: str
    hmac_style: str | None
    hmac_tolerance_seconds: int
    enabled: bool
    port: int | None
    created_at: datetime
    updated_at: datetime


class ChannelView(ChannelSummary, frozen=True, kw_only=True, rename="camel"):
    """A channel with its routes."""

    routes: tuple[RouteView, ...] = ()


def route_view(channel_id: str, route: ChannelRoute) -> RouteView:
    """Return a route as the API shows it."""
    return RouteView(
        id=route.id,
        channel_id=channel_id,
        name=route.name,
        http_method=route.http_method or None,
        path=route.path or None,
        tool_name=route.tool_name or None,
        description=route.description,
        input_schema=route.input_schema,
        target_flow_ids=route.target_flow_ids,
        response_mode=route.response_mode,
        timeout_seconds=route.timeout_seconds,
        created_at=route.created_at,
        updated_at=route.updated_at,
    )


def channel_view(channel: Channel) -> ChannelView:
    """Return a channel as the API shows it."""
    shown = {field: getattr(channel, field) for field in ChannelSummary.__struct_fields__}
    return ChannelView(**shown, routes=tuple(route_view(channel.id, route) for route in channel.routes))


# ── commands (core requests on `cmd.channel`, decided by the store) ─────────────────────────────────


class ChannelFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a channel; what is unset stays as it is, `kind` for good."""

    name: str | UnsetType = UNSET
    kind: str | UnsetType = UNSET
    auth_mode: str | None | UnsetType = UNSET
    auth_token: str | None | UnsetType = UNSET
    hmac_style: str | None | UnsetType = UNSET
    hmac_secret: str | None | UnsetType = UNSET
    hmac_tolerance_seconds: int | None | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class RouteFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a route; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    http_method: str | None | UnsetType = UNSET
    path: str | None | UnsetType = UNSET
    tool_name: str | None | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    input_schema: dict[str, Any] | None | UnsetType = UNSET
    target_flow_ids: list[str] | UnsetType = UNSET
    response_mode: str | None | UnsetType = UNSET
    timeout_seconds: int | None | UnsetType = UNSET


class ChannelWish(Wish, frozen=True, kw_only=True):
    """A wish about a channel."""

    channel_id: str


class CreateChannel(ChannelWish, frozen=True, kw_only=True, tag="channel.create"):
    """Make a channel."""

    fields: ChannelFields


class UpdateChannel(ChannelWish, frozen=True, kw_only=True, tag="channel.update"):
    """Change fields of a channel."""

    fields: ChannelFields


class DeleteChannel(ChannelWish, frozen=True, kw_only=True, tag="channel.delete"):
    """Delete a channel with its routes; its port is free again."""


class AddRoute(ChannelWish, frozen=True, kw_only=True, tag="channel.route.add"):
    """Add a route to a channel."""

    route_id: str
    fields: RouteFields


class UpdateRoute(ChannelWish, frozen=True, kw_only=True, tag="channel.route.update"):
    """Change fields of a route."""

    route_id: str
    fields: RouteFields


class DeleteRoute(ChannelWish, frozen=True, kw_only=True, tag="channel.route.delete"):
    """Remove a route."""

    route_id: str


AnyChannelCommand = CreateChannel | UpdateChannel | DeleteChannel | AddRoute | UpdateRoute | DeleteRoute


# ── questions ───────────────────────────────────────────────────────────────────────────────────────


class ListChannels(Query, frozen=True, kw_only=True, tag="channel.list"):
    """Channels of a company, oldest first."""

    page: Page = Page()
    kind: str | None = None
    enabled: bool | None = None


class GetChannel(Query, frozen=True, kw_only=True, tag="channel.get"):
    """One channel with its routes."""

    channel_id: str


AnyChannelQuery = ListChannels | GetChannel


# ── events (on `evt.channel.<company>.<id>`) ────────────────────────────────────────────────────────


class ChannelEvent(Fact, frozen=True, kw_only=True):
    """A fact about a channel, with the whole of it."""

    channel: Channel


class ChannelCreated(ChannelEvent, frozen=True, kw_only=True):
    """A channel was made."""


class ChannelUpdated(ChannelEvent, frozen=True, kw_only=True):
    """A channel was changed."""


class ChannelDeleted(ChannelEvent, frozen=True, kw_only=True):
    """A channel was deleted."""


class RouteAdded(ChannelEvent, frozen=True, kw_only=True):
    """A route was added."""

    route_id: str


class RouteUpdated(ChannelEvent, frozen=True, kw_only=True):
    """A route was changed."""

    route_id: str


class RouteDeleted(ChannelEvent, frozen=True, kw_only=True):
    """A route was removed."""

    route_id: str
