"""`/api/groups`: how people sort their flows (spec flow8 section 5.3)."""

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import NotFound
from libs.common.messages.group import (
    CreateGroup,
    DeleteGroup,
    GetGroup,
    GroupFields,
    GroupView,
    ListGroups,
    UpdateGroup,
)
from services.gateway import bodies, paging
from services.gateway.answers import Deleted, reply, whole_seconds
from services.gateway.operations import operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown


class _Rows(msgspec.Struct, frozen=True):
    data: list[GroupView]
    total: int


_fields = msgspec.json.Decoder(GroupFields)


class GroupRoutes:
    """Groups: list, make, read, change, delete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/groups", self._list, "read"),
            Route("POST", "/api/groups", self._create, "edit"),
            Route("GET", "/api/groups/{id}", self._get, "read"),
            Route("PUT", "/api/groups/{id}", self._update, "edit"),
            Route("DELETE", "/api/groups/{id}", self._delete, "edit"),
        ]

    @operation(GroupView, page=True)
    async def _list(self, call: Call) -> web.Response:
        """List groups."""
        page = paging.page_of(call.request.query)
        wish = ListGroups(company_id=call.caller.company_id, page=page)
        answer = await self._parts.store.ask("group", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(group) for group in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(GroupView, status=201, body=_fields, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Make a group."""
        fields = await bodies.read(call.request, _fields)
        command = CreateGroup(
            **wishing(call, self._parts.clock),
            group_id=ids.new_id(),
            fields=fields,
        )
        answer = await self._parts.store.order("group", command)
        return reply(whole_seconds(answer.decode(GroupView)), status=201, headers=answer.headers)

    @operation(GroupView)
    async def _get(self, call: Call) -> web.Response:
        """Return one group."""
        wish = GetGroup(company_id=call.caller.company_id, group_id=_group_id(call))
        answer = await self._parts.store.ask("group", wish, call)
        return reply(whole_seconds(answer.decode(GroupView)), headers=answer.headers)

    @operation(GroupView, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a group.

        Fields that are not named stay as they are.
        """
        fields = await bodies.read(call.request, _fields)
        command = UpdateGroup(
            **wishing(call, self._parts.clock),
            group_id=_group_id(call),
            fields=fields,
        )
        answer = await self._parts.store.order("group", command)
        return reply(whole_seconds(answer.decode(GroupView)), headers=answer.headers)

    @operation(Deleted, refusals=(409,))
    async def _delete(self, call: Call) -> web.Response:
        """Delete a group."""
        command = DeleteGroup(
            **wishing(call, self._parts.clock),
            group_id=_group_id(call),
        )
        answer = await self._parts.store.order("group", command)
        return reply(Deleted(id=command.group_id), headers=answer.headers)


def _group_id(call: Call) -> str:
    group_id = call.parameters[0]
    if not ids.is_id(group_id):
        raise NotFound(f"no group {shown(group_id)}", code="GROUP_NOT_FOUND")
    return group_id
