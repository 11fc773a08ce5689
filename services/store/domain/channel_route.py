"""The rules for a channel's routes: methods and paths, tools, the flows behind them (spec flow8 section 14)."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from msgspec import UNSET

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.channel import (
    RESPONSE_MODES,
    TIMEOUT_S_DEFAULT,
    AddRoute,
    Channel,
    ChannelRoute,
    DeleteRoute,
    RouteAdded,
    RouteDeleted,
    RouteFields,
    RouteUpdated,
    UpdateRoute,
)
from services.store.domain import fields as check

ROUTES_PER_CHANNEL_MAX = 100
TARGET_FLOWS_MAX = 10
PATH_CHARS_MAX = 512
PATH_SEGMENTS_MAX = 32
TIMEOUT_S_MAX = 300
DESCRIPTION_CHARS_MAX = 4_096
INPUT_SCHEMA_BYTES_MAX = 65_536
HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What may stand in a path unencoded (RFC 3986 section 3.3), or percent-encoded; a parameter is `:name`.
_SEGMENT = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})+")
_PARAMETER = re.compile(r":[A-Za-z_][A-Za-z0-9_]{0,63}")

# The ids of the flows that a caller named, by the name.
FlowIds = Mapping[str, str]


def added(command: AddRoute, channel: Channel, flow_ids: FlowIds) -> RouteAdded:
    """Return the event that adds a route. Raises Invalid naming the field, Refused for one that is taken."""
    if any(route.id == command.route_id for route in channel.routes):
        raise Refused(f"there is a route {command.route_id} already")
    if len(channel.routes) >= ROUTES_PER_CHANNEL_MAX:
        raise Refused(f"a channel has at most {ROUTES_PER_CHANNEL_MAX} routes", code="TOO_MANY_ROUTES")
    given = command.fields
    _require(given, channel.kind)
    blank = ChannelRoute(
        id=command.route_id,
        name="",
        http_method="POST" if channel.kind == "http" else "",
        created_at=command.at,
        updated_at=command.at,
    )
    made = _changed(blank, given, channel, flow_ids)
    changed = msgspec.structs.replace(channel, routes=(*channel.routes, made), updated_at=command.at)
    return RouteAdded(at=command.at, by=command.by, origin=command.origin, channel=changed, route_id=made.id)


def updated(command: UpdateRoute, channel: Channel, flow_ids: FlowIds) -> RouteUpdated:
    """Return the event that changes a route. Raises NotFound (ROUTE_NOT_FOUND), Invalid, Refused."""
    old = found(channel, command.route_id)
    made = msgspec.structs.replace(_changed(old, command.fields, channel, flow_ids), updated_at=command.at)
    routes = tuple(made if route.id == made.id else route for route in channel.routes)
    changed = msgspec.structs.replace(channel, routes=routes, updated_at=command.at)
    return RouteUpdated(
        at=command.at, by=command.by, origin=command.origin, channel=changed, route_id=made.id
    )


def deleted(command: DeleteRoute, channel: Channel) -> RouteDeleted:
    """Return the event that removes a route. Raises NotFound (ROUTE_NOT_FOUND)."""
    gone = found(channel, command.route_id)
    routes = tuple(route for route in channel.routes if route.id != gone.id)
    changed = msgspec.structs.replace(channel, routes=routes, updated_at=command.at)
    return RouteDeleted(
        at=command.at, by=command.by, origin=command.origin, channel=changed, route_id=gone.id
    )


def found(channel: Channel, route_id: str) -> ChannelRoute:
    """Return a channel's route. Raises NotFound (ROUTE_NOT_FOUND) when it has none of this id."""
    route = next((route for route in channel.routes if route.id == route_id), None)
    if route is None:
        raise NotFound(f"channel {channel.id} has no route {route_id[:80]}", code="ROUTE_NOT_FOUND")
    return route


def _require(given: RouteFields, kind: str) -> None:
    if given.name is UNSET:
        raise Invalid("name is required")
    if kind == "mcp" and not isinstance(given.tool_name, str):
        raise Invalid("toolName is required for a route of an MCP channel")
    if kind != "mcp" and not isinstance(given.path, str):
        raise Invalid("path is required")
    if given.target_flow_ids is UNSET:
        raise Invalid("targetFlowIds is required")


def _changed(route: ChannelRoute, given: RouteFields, channel: Channel, flow_ids: FlowIds) -> ChannelRoute:
    _refuse_foreign(given, channel.kind)
    new: dict[str, Any] = {}
    if given.name is not UNSET:
        new["name"] = check.name(given.name)
    if given.target_flow_ids is not UNSET:
        new["target_flow_ids"] = _targets(given.target_flow_ids, flow_ids)
    if given.response_mode is not UNSET:
        new["response_mode"] = check.one_of(given.response_mode or "sync", "responseMode", RESPONSE_MODES)
    if given.timeout_seconds is not UNSET:
        seconds = TIMEOUT_S_DEFAULT if given.timeout_seconds is None else given.timeout_seconds
        new["timeout_seconds"] = check.whole(seconds, "timeoutSeconds", low=1, high=TIMEOUT_S_MAX)
    if given.description is not UNSET:
        text = given.description or ""
        new["description"] = check.text(text, "description", chars_max=DESCRIPTION_CHARS_MAX)
    new |= _tool(given) if channel.kind == "mcp" else _place(given)
    made = msgspec.structs.replace(route, **new)
    _check_free(made, [other for other in channel.routes if other.id != made.id])
    return made


def _refuse_foreign(given: RouteFields, kind: str) -> None:
    """Refuse what this kind does not have: a setting that does nothing is a mistake somebody should see."""
    foreign = {
        "toolName": (given.tool_name, kind == "mcp"),
        "inputSchema": (given.input_schema, kind == "mcp"),
        "httpMethod": (given.http_method, kind == "http"),
        "path": (given.path, kind != "mcp"),
    }
    for field, (value, fits) in foreign.items():
        if value is not UNSET and value is not None and not fits:
            raise Invalid(f"{field} does not belong to a route of a channel of kind {kind}")


def _targets(given: list[str], flow_ids: FlowIds) -> tuple[str, ...]:
    if not given:
        raise Invalid("targetFlowIds must name at least one flow")
    if len(given) > TARGET_FLOWS_MAX:
        raise Invalid(f"targetFlowIds names at most {TARGET_FLOWS_MAX} flows, not {len(given)}")
    missing = next((name for name in given if name not in flow_ids), None)
    if missing is not None:
        raise Invalid(f"targetFlowIds: there is no flow {missing[:80]}")
    ids = tuple(flow_ids[name] for name in given)
    if len(set(ids)) < len(ids):
        raise Invalid("targetFlowIds names a flow twice")
    return ids


def _tool(given: RouteFields) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if given.tool_name is not UNSET:
        if given.tool_name is None or not TOOL_NAME.fullmatch(given.tool_name):
            raise Invalid(f"toolName must match ^{TOOL_NAME.pattern}$")
        new["tool_name"] = given.tool_name
    if given.input_schema is not UNSET:
        new["input_schema"] = None if given.input_schema is None else _schema(given.input_schema)
    return new


def _schema(schema: dict[str, Any]) -> dict[str, Any]:
    size = len(msgspec.json.encode(schema))
    if size > INPUT_SCHEMA_BYTES_MAX:
        raise Invalid(f"inputSchema: at most {INPUT_SCHEMA_BYTES_MAX} bytes of JSON are kept, not {size}")
    if schema.get("type") != "object":
        raise Invalid('inputSchema must have "type": "object", for arguments are named')
    try:
        Draft202012Validator.check_schema(schema)
    except (SchemaError, RecursionError) as error:
        reason = error.message if isinstance(error, SchemaError) else "it is nested too deep"
        raise Invalid(f"inputSchema is no JSON Schema: {reason[:200]}") from error
    _check_references(schema)
    return schema


def _check_references(node: Any) -> None:
    # Whoever validates must never be made to fetch what a schema names.
    if isinstance(node, dict):
        for word in ("$ref", "$dynamicRef"):
            target = node.get(word)
            if isinstance(target, str) and not target.startswith("#"):
                raise Invalid(f"inputSchema: {word} may only lead to places within the schema itself")
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _check_references(part)


def _place(given: RouteFields) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if given.http_method is not UNSET:
        method = "POST" if given.http_method is None else given.http_method.upper()
        new["http_method"] = check.one_of(method, "httpMethod", HTTP_METHODS)
    if given.path is not UNSET:
        if given.path is None:
            raise Invalid("path is required")
        new["path"] = _path(given.path)
    return new


def _path(given: str) -> str:
    text = check.text(given, "path", chars_max=PATH_CHARS_MAX)
    if not text.startswith("/"):
        raise Invalid("path must begin with /")
    path = "/" + text.strip("/")
    segments = path.split("/")[1:] if path != "/" else []
    if len(segments) > PATH_SEGMENTS_MAX:
        raise Invalid(f"path has at most {PATH_SEGMENTS_MAX} segments, not {len(segments)}")
    parameters = [segment for segment in segments if segment.startswith(":")]
    for segment in segments:
        fits = _PARAMETER if segment.startswith(":") else _SEGMENT
        if segment in (".", "..") or not fits.fullmatch(segment):
            raise Invalid(f"path: {segment[:80]!r} is no segment of a path, nor a parameter such as :id")
    if len(set(parameters)) < len(parameters):
        raise Invalid("path names a parameter twice")
    return path


def _check_free(made: ChannelRoute, others: list[ChannelRoute]) -> None:
    for other in others:
        if made.tool_name and other.tool_name == made.tool_name:
            raise Refused(f"toolName {made.tool_name} is taken by another route", code="TOOL_NAME_TAKEN")
        if made.path and (other.http_method, shape(other.path)) == (made.http_method, shape(made.path)):
            place = f"{made.http_method} {made.path}".strip()
            raise Refused(f"{place} is taken by another route", code="ROUTE_TAKEN")


def shape(path: str) -> str:
    """Return a path with its parameters nameless: paths of one shape match the same requests."""
    return "/".join(":" if segment.startswith(":") else segment for segment in path.split("/"))
