"""`/api/modules`: what a step may name as its `appId`, with args and examples (spec flow8 section 17.9)."""

import msgspec
from aiohttp import web

from libs.common.messages.module import GetModule, ListModules, ModuleInfo
from services.gateway import paging
from services.gateway.answers import reply
from services.gateway.operations import operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class _Rows(msgspec.Struct, frozen=True):
    data: list[ModuleInfo]
    total: int


class ModuleRoutes:
    """Modules: list, read. They are the same for every company."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/modules", self._list, "read"),
            Route("GET", "/api/modules/{appId}", self._get, "read"),
        ]

    @operation(ModuleInfo, page=True)
    async def _list(self, call: Call) -> web.Response:
        """List the modules that executors know, by name."""
        page = paging.page_of(call.request.query)
        wish = ListModules(company_id=call.caller.company_id, page=page)
        answer = await self._parts.store.ask("module", wish, call)
        rows = answer.decode(_Rows)
        return reply(paging.envelope(rows.data, total=rows.total, page=page), headers=answer.headers)

    @operation(ModuleInfo)
    async def _get(self, call: Call) -> web.Response:
        """Return one module."""
        wish = GetModule(company_id=call.caller.company_id, app_id=call.parameters[0])
        answer = await self._parts.store.ask("module", wish, call)
        return reply(answer.decode(ModuleInfo), headers=answer.headers)
