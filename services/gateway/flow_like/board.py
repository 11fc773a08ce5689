"""`/api/v1/apps/{app_id}/board/{board_id}/invoke`: a board run by its own address (spec flow-like section 8.2)."""

from typing import Any

import msgspec
from aiohttp import web

from services.gateway import bodies
from services.gateway.flow_like.app_rights import enter
from services.gateway.flow_like.jobs import REPEATABLE
from services.gateway.flow_like.launches import Wish
from services.gateway.flow_like.run_answers import RunAccepted
from services.gateway.flow_like.run_records import RunRecords
from services.gateway.flow_like.runner import SYNC_WAIT_S, Runner
from services.gateway.operations import operation
from services.gateway.parts import Parts
from services.gateway.routes.events import EVENT_STREAM
from services.gateway.routing import Call, Route


class InvokeFields(msgspec.Struct, frozen=True, kw_only=True):
    """With what to run the board."""

    node_id: str | None = None
    version: str | int | list[int] | None = None
    payload: Any = None
    runtime_variables: dict[str, Any] | None = None
    stream_state: bool | None = None


_fields = msgspec.json.Decoder(InvokeFields)


class BoardRoutes:
    """Boards of an app: invoke."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._runner = Runner(parts, RunRecords(parts))

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/api/v1/apps/{id}/board/{board_id}/invoke", self._stream, None),
            Route("POST", "/api/v1/apps/{id}/board/{board_id}/invoke/async", self._run, None),
        ]

    @operation(
        str,
        media_type=EVENT_STREAM,
        body=_fields,
        body_optional=True,
        query=REPEATABLE,
        refusals=(409, 429),
        permission="run",
    )
    async def _stream(self, call: Call) -> web.StreamResponse:
        """Run a board, and stream what happens."""
        await enter(self._parts, call, "run")
        fields = await bodies.read(call.request, _fields, optional=True)
        wish = _wish(call, fields)
        return await self._runner.stream(call, wish, with_state=fields.stream_state is not False)

    @operation(
        RunAccepted, body=_fields, body_optional=True, query=REPEATABLE, refusals=(409, 429), permission="run"
    )
    async def _run(self, call: Call) -> web.Response:
        """Run a board; the answer comes at once."""
        await enter(self._parts, call, "run")
        fields = await bodies.read(call.request, _fields, optional=True)
        return await self._runner.run(call, _wish(call, fields), wait_s=SYNC_WAIT_S)


def _wish(call: Call, fields: InvokeFields) -> Wish:
    return Wish(
        app_id=call.parameters[0],
        board_id=call.parameters[1],
        payload=fields.payload,
        version=fields.version,
        node_id=fields.node_id,
        runtime_variables=fields.runtime_variables,
    )
