"""`/api/flows/:id/versions`: what a flow was, what changed, and back to it (spec flow8 section 5.1)."""

import msgspec
from aiohttp import web

from libs.common.errors import Invalid, NotFound
from libs.common.messages.flow import RestoreFlow
from libs.common.messages.version import (
    DiffFlowVersions,
    FlowChange,
    FlowVersion,
    GetFlowVersion,
    ListFlowVersions,
)
from services.gateway import paging
from services.gateway.answers import FlowDetail, FlowWritten, reply, whole_seconds
from services.gateway.operations import number, operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown

VERSION_MAX = 2**31 - 1


class Diff(msgspec.Struct, frozen=True, kw_only=True):
    """Where two versions differ."""

    from_: int = msgspec.field(name="from")
    to: int
    changes: list[FlowChange]


class _Rows(msgspec.Struct, frozen=True):
    data: list[FlowVersion]
    total: int


class VersionRoutes:
    """Versions of a flow: list, read, compare, restore."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/flows/{id}/versions", self._list, "read"),
            Route("GET", "/api/flows/{id}/versions/diff", self._diff, "read"),
            Route("GET", "/api/flows/{id}/versions/{version}", self._get, "read"),
            Route("POST", "/api/flows/{id}/versions/{version}/restore", self._restore, "edit"),
        ]

    @operation(FlowVersion, page=True)
    async def _list(self, call: Call) -> web.Response:
        """List the versions of a flow."""
        page = paging.page_of(call.request.query)
        flow = await self._parts.definitions.named(call)
        wish = ListFlowVersions(company_id=call.caller.company_id, flow_id=flow.id, page=page)
        answer = await self._parts.store.ask("flow", wish, call)
        rows = answer.decode(_Rows)
        data = [whole_seconds(version) for version in rows.data]
        return reply(paging.envelope(data, total=rows.total, page=page), headers=answer.headers)

    @operation(FlowDetail)
    async def _get(self, call: Call) -> web.Response:
        """Return a flow as it was in one version."""
        flow = await self._parts.definitions.named(call)
        wish = GetFlowVersion(company_id=call.caller.company_id, flow_id=flow.id, version=_version(call))
        answer = await self._parts.store.ask("flow", wish, call)
        return reply(whole_seconds(answer.decode(FlowDetail)), headers=answer.headers)

    @operation(
        Diff,
        query=(
            number("from", "The older version", at_least=0, required=True),
            number("to", "The newer version", at_least=0, required=True),
        ),
    )
    async def _diff(self, call: Call) -> web.Response:
        """Compare two versions of a flow."""
        query = call.request.query
        wish = DiffFlowVersions(
            company_id=call.caller.company_id,
            flow_id=(await self._parts.definitions.named(call)).id,
            from_version=_number("from", paging.text(query, "from")),
            to_version=_number("to", paging.text(query, "to")),
        )
        answer = await self._parts.store.ask("flow", wish, call)
        return reply(answer.decode(Diff), headers=answer.headers)

    @operation(FlowWritten, refusals=(409,))
    async def _restore(self, call: Call) -> web.Response:
        """Make a flow what it was in one version.

        That is a new version; nothing of the history is lost.
        """
        flow = await self._parts.definitions.named(call)
        command = RestoreFlow(
            **wishing(call, self._parts.clock),
            flow_id=flow.id,
            version=_version(call),
        )
        answer = await self._parts.store.tell(command)
        return reply(whole_seconds(answer.decode(FlowWritten)), headers=answer.headers)


def _version(call: Call) -> int:
    given = call.parameters[1]
    if not (given.isascii() and given.isdigit()) or len(given) > 10 or int(given) > VERSION_MAX:
        raise NotFound(f"no version {shown(given)}", code="FLOW_VERSION_NOT_FOUND")
    return int(given)


def _number(name: str, given: str | None) -> int:
    if given is None:
        raise Invalid(f"{name} is required")
    if not (given.isascii() and given.isdigit()) or len(given) > 10 or int(given) > VERSION_MAX:
        raise Invalid(f"{name}: expected the number of a version")
    return int(given)
