"""From a method and a path to a route: a tree of path segments, one dictionary look-up each."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from aiohttp import web

from libs.common.errors import HeadraceError, NotFound
from libs.common.messages.access import Permission
from services.gateway.principal import NOBODY, Principal

PARAMETER = "{}"
SHOWN_CHARS_MAX = 100


class MethodNotAllowed(HeadraceError):
    """The path exists, the method does not; `allow` lists those that do."""

    status = 405
    default_code = "METHOD_NOT_ALLOWED"

    def __init__(self, message: str, *, allow: Iterable[str]) -> None:
        super().__init__(message)
        self.allow = ", ".join(sorted(allow))


def as_utf8(text: str) -> str:
    """Return a caller's text as JSON can hold it: aiohttp gives bytes that are no UTF-8 as lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(text: str) -> str:
    """Return a caller's text as a message may repeat it: ASCII, and not endless."""
    return text[:SHOWN_CHARS_MAX].encode("ascii", "backslashreplace").decode()


class Call:
    """One request on its way through a handler: its path parameters, and who asks."""

    __slots__ = ("caller", "parameters", "request")

    def __init__(self, request: web.BaseRequest, parameters: tuple[str, ...]) -> None:
        self.request = request
        self.parameters = parameters
        self.caller: Principal = NOBODY


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


class Route(NamedTuple):
    """One endpoint. `permission` is what the caller's role must hold; None: anybody may, unknown or not."""

    method: str
    path: str
    handler: Handler
    permission: Permission | None


class Match(NamedTuple):
    """The route for a request and the values of its path's parameters, in order."""

    route: Route
    parameters: tuple[str, ...]


class _Node:
    __slots__ = ("children", "routes")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.routes: dict[str, Route] = {}


class Router:
    """Knows all routes. A literal segment wins over a parameter; parameters are never empty."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            node = self._root
            for segment in route.path.split("/"):
                key = PARAMETER if segment.startswith("{") else segment
                node = node.children.setdefault(key, _Node())
            assert route.method not in node.routes, f"two routes for {route.method} {route.path}"
            node.routes[route.method] = route

    def match(self, method: str, path: str) -> Match:
        """Return the route of a raw path, HEAD being answered by GET.

        Raises NotFound for a path nobody serves, MethodNotAllowed for a method that its path does not have.
        """
        node = self._root
        parameters: tuple[str, ...] = ()
        for segment in path.split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.children.get(PARAMETER) if segment else None
                if child is None:
                    raise NotFound(f"no such path: {shown(path)}")
                parameters += (segment,)
            node = child
        route = node.routes.get("GET" if method == "HEAD" else method)
        if route is not None:
            return Match(route, parameters)
        if not node.routes:
            raise NotFound(f"no such path: {shown(path)}")
        raise MethodNotAllowed(f"{shown(path)} does not take {shown(method)}", allow=node.routes)
