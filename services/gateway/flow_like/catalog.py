"""`/api/v1/catalog`: the modules as nodes, for editors (spec flow-like sections 9.1 and 11.3, override 4)."""

import hashlib

import msgspec
from aiohttp import web

from libs.common.errors import NotFound
from libs.common.messages.module import SYSTEM, GetModule, ListModules, ModuleInfo
from libs.common.messages.query import Page
from services.gateway import paging
from services.gateway.answers import reply
from services.gateway.flow_like.hub import Hub
from services.gateway.flow_like.nodes import Node, node_of
from services.gateway.flow_like.slices import total
from services.gateway.operations import Answer, header, number, operation, text
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown

MODULES_MAX = 10_000
ETAG_HEX_DIGITS = 32
FILTERS = (
    text("category", "Only nodes of this category, without regard to case"),
    text("search", "Only nodes with this in their name or description"),
    number("limit", "How many; all of them when it is left out", at_least=1),
    number("offset", "From which on", default=0),
    header("If-None-Match", "The ETag of an earlier answer", {"type": "string"}),
)
SAME = (Answer(304, None, "It is what you have"),)


class _Rows(msgspec.Struct, frozen=True):
    data: list[ModuleInfo]


class CatalogRoutes:
    """Nodes: list, read. They are the same for every company."""

    def __init__(self, parts: Parts, hub: Hub) -> None:
        self._parts = parts
        self._open = hub.features.unauthorized_read

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/catalog", self._list, None),
            Route("GET", "/api/v1/catalog/{name}", self._get, None),
            Route("GET", "/api/v1/apps/nodes", self._list, None),
        ]

    @operation(list[Node], also=SAME, query=FILTERS, refusals=(401, 503))
    async def _list(self, call: Call) -> web.Response:
        """Return the modules as nodes with pins.

        To anybody, unless the hub setting `unauthorized_read` is off.
        """
        await self._check(call)
        query = call.request.query
        category, search = query.get("category", "").lower(), query.get("search", "").lower()
        offset = paging.count(query, "offset", default=0, minimum=0)
        limit = paging.count(query, "limit", default=MODULES_MAX, minimum=1)
        wish = ListModules(company_id=SYSTEM, page=Page(size=MODULES_MAX))
        modules = (await self._parts.store.ask("module", wish)).decode(_Rows).data
        nodes = [node for node in map(node_of, modules) if _fits(node, category, search)]
        return _tagged(call, nodes[offset : offset + limit], {**total(len(nodes))})

    @operation(Node, also=SAME, refusals=(401, 503))
    async def _get(self, call: Call) -> web.Response:
        """Return one node by its name."""
        await self._check(call)
        name = call.parameters[0]
        try:
            answer = await self._parts.store.ask("module", GetModule(company_id=SYSTEM, app_id=name))
        except NotFound as error:
            raise NotFound(f"there is no node {shown(name)}") from error
        return _tagged(call, node_of(answer.decode(ModuleInfo)), {})

    async def _check(self, call: Call) -> None:
        if not self._open:
            await self._parts.auth.identify(call.request)


def _fits(node: Node, category: str, search: str) -> bool:
    if category and node.category.lower() != category:
        return False
    return any(search in words.lower() for words in (node.name, node.friendly_name, node.description))


def _tagged(call: Call, answer: Node | list[Node], headers: dict[str, str]) -> web.Response:
    digest = hashlib.sha256(msgspec.json.encode(answer)).hexdigest()[:ETAG_HEX_DIGITS]
    # Weak: the same nodes, whether or not they were compressed on the way.
    tag = f'W/"{digest}"'
    told = {**headers, "ETag": tag, "Cache-Control": "no-cache"}
    known = [each.strip() for each in call.request.headers.get("If-None-Match", "").split(",")]
    if tag in known or "*" in known or tag.removeprefix("W/") in known:
        return web.Response(status=304, headers=told)
    return reply(answer, headers=told)
