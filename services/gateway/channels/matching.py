"""From a method and a path to a channel's route (spec flow8 section 14.1)."""

from typing import NamedTuple
from urllib.parse import unquote

from libs.common.errors import Invalid, NotFound
from libs.common.messages.channel import Channel, ChannelRoute
from services.gateway.routing import MethodNotAllowed, shown

SEGMENTS_MAX = 64


class Found(NamedTuple):
    """The route of a request, and the values of its path's parameters."""

    route: ChannelRoute
    params: dict[str, str]


def find(channel: Channel, method: str, raw_path: str) -> Found:
    """Return the route of a request; a trailing slash does not count, literal segments win over parameters.

    Raises NotFound (ROUTE_NOT_FOUND) for a path that no route has, MethodNotAllowed for another method, Invalid for a
    path that cannot be read.
    """
    segments = _segments(raw_path)
    fitting = [
        Found(route, params)
        for route in channel.routes
        if (params := _params(route.path, segments)) is not None
    ]
    if not fitting:
        raise NotFound(f"no route has the path {shown(raw_path)}", code="ROUTE_NOT_FOUND")
    # Of paths of one length, the one whose first difference is literal.
    fitting.sort(key=lambda found: [part.startswith(":") for part in found.route.path.split("/")])
    for found in fitting:
        if found.route.http_method == method:
            return found
    allowed = {found.route.http_method for found in fitting}
    raise MethodNotAllowed(f"{shown(raw_path)} does not take {shown(method)}", allow=allowed)


def _segments(raw_path: str) -> list[str]:
    raw = raw_path.strip("/").split("/") if raw_path.strip("/") else []
    # One leading slash is the root, more of them is another path.
    if raw_path.startswith("//") or "" in raw or len(raw) > SEGMENTS_MAX:
        raise NotFound(f"no route has the path {shown(raw_path)}", code="ROUTE_NOT_FOUND")
    try:
        segments = [unquote(segment, errors="strict") for segment in raw]
    except UnicodeDecodeError as error:
        raise Invalid("the path is not UTF-8") from error
    if any("\0" in segment for segment in segments):
        raise Invalid("the path holds the character U+0000, which cannot be stored")
    return segments


def _params(path: str, segments: list[str]) -> dict[str, str] | None:
    wanted = path.strip("/").split("/") if path != "/" else []
    if len(wanted) != len(segments):
        return None
    params: dict[str, str] = {}
    for part, segment in zip(wanted, segments, strict=True):
        if part.startswith(":"):
            params[part[1:]] = segment
        elif unquote(part) != segment:
            return None
    return params
