"""`/api/flows`: what people define (spec flow8 section 5)."""

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.messages import flow as m
from libs.common.messages.query import GetFlow, ListFlows
from services.gateway import bodies, paging
from services.gateway.answers import Deleted, FlowDetail, FlowSummary, FlowWritten, reply, whole_seconds
from services.gateway.operations import operation, switch, text
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route
from services.gateway.store import Answer

_fields = msgspec.json.Decoder(m.FlowFields)


class _FlowRows(msgspec.Struct, frozen=True):
    data: list[FlowSummary]
    total: int


class FlowRoutes:
    """Flows: list, define, read, change, delete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/flows", self._list, "read"),
            Route("POST", "/api/flows", self._create, "edit"),
            Route("GET", "/api/flows/{id}", self._get, "read"),
            Route("PUT", "/api/flows/{id}", self._update, "edit"),
            Route("DELETE", "/api/flows/{id}", self._delete, "edit"),
        ]

    @operation(
        FlowSummary,
        page=True,
        query=(
            text("category", "Only flows of this category"),
            switch("enabled", "Only flows that are, or are not, enabled"),
            text("groupId", "Only flows of this group"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List flows."""
        query = call.request.query
        page = paging.page_of(query)
        wish = ListFlows(
            company_id=call.caller.company_id,
            page=page,
            category=paging.text(query, "category"),
            enabled=paging.switch(query, "enabled"),
            group_id=paging.text(query, "groupId"),
        )
        answer = await self._parts.store.ask("flow", wish, call)
        rows = answer.decode(_FlowRows)
        envelope = paging.envelope([whole_seconds(flow) for flow in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(FlowWritten, status=201, body=_fields, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Define a flow.

        Its `permanentId` is made from its name and stays, whatever the name becomes.
        """
        fields = await bodies.read(call.request, _fields)
        command = m.CreateFlow(
            **wishing(call, self._parts.clock),
            flow_id=ids.new_id(),
            fields=fields,
        )
        return self._written(await self._parts.store.tell(command), status=201)

    @operation(FlowDetail)
    async def _get(self, call: Call) -> web.Response:
        """Return one flow with its layers."""
        flow = await self._parts.definitions.named(call)
        wish = GetFlow(company_id=call.caller.company_id, flow_id=flow.id)
        return self._detail(await self._parts.store.ask("flow", wish, call))

    @operation(FlowWritten, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a flow.

        Fields that are not named stay as they are; one that is named replaces the whole field.
        """
        fields = await bodies.read(call.request, _fields)
        flow = await self._parts.definitions.named(call)
        command = m.UpdateFlow(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
            fields=fields,
        )
        return self._written(await self._parts.store.tell(command))

    @operation(Deleted)
    async def _delete(self, call: Call) -> web.Response:
        """Delete a flow.

        Its plays stay readable.
        """
        flow = await self._parts.definitions.named(call)
        command = m.DeleteFlow(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
        )
        await self._parts.store.tell(command)
        return reply(Deleted(id=flow.id))

    def _detail(self, answer: Answer) -> web.Response:
        return reply(whole_seconds(answer.decode(FlowDetail)), headers=answer.headers)

    def _written(self, answer: Answer, *, status: int = 200) -> web.Response:
        flow = whole_seconds(answer.decode(FlowWritten))
        return reply(flow, status=status, headers=answer.headers)
