"""`/api/flows/:id/layers`: the steps of a flow (spec flow8 section 5.2)."""

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import NotFound
from libs.common.messages import flow as m
from libs.common.messages.query import GetFlow
from services.gateway import bodies
from services.gateway.answers import Deleted, FlowDetail, FlowWritten, LayerWritten, reply
from services.gateway.operations import operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown
from services.gateway.store import Answer

_fields = msgspec.json.Decoder(m.LayerFields)


class LayerRoutes:
    """Steps: list, add, read, change, delete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/flows/{id}/layers", self._list, "read"),
            Route("POST", "/api/flows/{id}/layers", self._add, "edit"),
            Route("GET", "/api/flows/{id}/layers/{layerId}", self._get, "read"),
            Route("PUT", "/api/flows/{id}/layers/{layerId}", self._update, "edit"),
            Route("DELETE", "/api/flows/{id}/layers/{layerId}", self._delete, "edit"),
        ]

    @operation(list[m.Layer])
    async def _list(self, call: Call) -> web.Response:
        """List the layers of a flow."""
        answer = await self._flow(call)
        return reply(answer.decode(FlowDetail).layers, headers=answer.headers)

    @operation(m.Layer)
    async def _get(self, call: Call) -> web.Response:
        """Return one layer."""
        answer = await self._flow(call)
        return _one(answer, call.parameters[1])

    @operation(LayerWritten, status=201, body=_fields, refusals=(409,))
    async def _add(self, call: Call) -> web.Response:
        """Add a layer to a flow."""
        fields = await bodies.read(call.request, _fields)
        flow = await self._parts.definitions.named(call)
        command = m.AddLayer(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
            layer_id=ids.new_id(),
            fields=fields,
        )
        return _written(await self._parts.store.tell(command), command.layer_id, status=201)

    @operation(LayerWritten, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a layer.

        Fields that are not named stay as they are; one that is named replaces the whole field.
        """
        fields = await bodies.read(call.request, _fields)
        flow, layer_id = await self._parts.definitions.named(call), _layer_id(call)
        command = m.UpdateLayer(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
            layer_id=layer_id,
            fields=fields,
        )
        return _written(await self._parts.store.tell(command), layer_id)

    @operation(Deleted)
    async def _delete(self, call: Call) -> web.Response:
        """Remove a layer from its flow."""
        flow, layer_id = await self._parts.definitions.named(call), _layer_id(call)
        command = m.DeleteLayer(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
            layer_id=layer_id,
        )
        await self._parts.store.tell(command)
        return reply(Deleted(id=layer_id))

    async def _flow(self, call: Call) -> Answer:
        flow = await self._parts.definitions.named(call)
        wish = GetFlow(company_id=call.caller.company_id, flow_id=flow.id)
        return await self._parts.store.ask("flow", wish, call)


def _layer_id(call: Call) -> str:
    layer_id = call.parameters[1]
    if not ids.is_id(layer_id):
        raise _missing(layer_id)
    return layer_id


def _one(answer: Answer, layer_id: str) -> web.Response:
    return reply(_layer(answer.decode(FlowDetail), layer_id), headers=answer.headers)


def _written(answer: Answer, layer_id: str, *, status: int = 200) -> web.Response:
    flow = answer.decode(FlowWritten)
    layer = msgspec.structs.asdict(_layer(flow, layer_id))
    return reply(LayerWritten(**layer, warnings=flow.warnings), status=status, headers=answer.headers)


def _layer(flow: FlowDetail, layer_id: str) -> m.Layer:
    for layer in flow.layers:
        if layer.id == layer_id:
            return layer
    raise _missing(layer_id)


def _missing(layer_id: str) -> NotFound:
    return NotFound(f"no layer {shown(layer_id)}", code="LAYER_NOT_FOUND")
