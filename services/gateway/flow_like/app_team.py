"""Roles and members of apps, and who wants to be one (spec flow-like section 4.3)."""

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import Invalid
from libs.common.messages.app import (
    AnswerJoin,
    App,
    AppCommand,
    AssignRole,
    Bit,
    DeleteRole,
    InviteMember,
    JoinApp,
    JoinRequest,
    Member,
    PutRole,
    RemoveMember,
    Role,
    SetDefaultRole,
)
from libs.common.messages.pat import TEAMS
from services.gateway import bodies
from services.gateway.answers import reply, whole_seconds
from services.gateway.flow_like import slices
from services.gateway.flow_like.app_access import WishedOfApp, member_view, order, view_of, wishing
from services.gateway.flow_like.app_shapes import JoinObject, MemberObject, RoleObject
from services.gateway.operations import operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route

# In the place of an id: a role that is yet to be made.
NEW = "new"


class RoleWish(msgspec.Struct, frozen=True, kw_only=True):
    """A role; `permissions` is a sum of bits."""

    name: str
    permissions: int
    description: str | None = None
    attributes: tuple[str, ...] = ()


class InviteWish(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to let take part: the id of a user of the company."""

    sub: str
    message: str | None = None


class JoinWish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says who wants to take part."""

    message: str = ""


_role = msgspec.json.Decoder(RoleWish)
_invite = msgspec.json.Decoder(InviteWish)
_join = msgspec.json.Decoder(JoinWish)


class AppTeamRoutes:
    """Roles, members and the queue of an app."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/apps/{id}/roles", self._roles, "read"),
            Route("PUT", "/api/v1/apps/{id}/roles/{role_id}", self._put_role, "edit"),
            Route("DELETE", "/api/v1/apps/{id}/roles/{role_id}", self._delete_role, "edit"),
            Route("PUT", "/api/v1/apps/{id}/roles/{role_id}/default", self._default_role, "edit"),
            Route("POST", "/api/v1/apps/{id}/roles/{role_id}/assign/{sub}", self._assign_role, "edit"),
            Route("GET", "/api/v1/apps/{id}/team", self._members, "read"),
            Route("PUT", "/api/v1/apps/{id}/team/invite", self._invite, "edit"),
            Route("DELETE", "/api/v1/apps/{id}/team/{sub}", self._remove, "read"),
            Route("GET", "/api/v1/apps/{id}/team/queue", self._queue, "read"),
            Route("PUT", "/api/v1/apps/{id}/team/queue", self._join, "read"),
            Route("POST", "/api/v1/apps/{id}/team/queue/{request_id}", self._accept, "edit"),
            Route("DELETE", "/api/v1/apps/{id}/team/queue/{request_id}", self._refuse, "edit"),
        ]

    @operation(tuple[str, list[RoleObject]])
    async def _roles(self, call: Call) -> web.Response:
        """List an app's roles, after the id of the one that joiners get."""
        call.caller.must_reach(TEAMS)
        app = (await member_view(self._parts, call, call.parameters[0], Bit.READ_ROLES)).app
        return reply((app.default_role_id, [_role_object(app, role) for role in app.roles]))

    @operation(RoleObject, body=_role)
    async def _put_role(self, call: Call) -> web.Response:
        """Make or change a role; an id that is not there makes one.

        `permissions` is a sum of the bits of the page on this surface, without the owner's.
        """
        given = await bodies.read(call.request, _role)
        role_id = call.parameters[1]
        if not ids.is_id(role_id):
            if role_id != NEW:
                raise Invalid("role_id must be an id, or new")
            role_id = ids.new_id()
        app = await self._ordered(
            call,
            PutRole(
                **self._wishing(call),
                role_id=role_id,
                name=given.name,
                permissions=given.permissions,
                description=given.description,
                attributes=given.attributes,
            ),
        )
        return reply(next(_role_object(app, role) for role in app.roles if role.id == role_id))

    @operation(None, status=204)
    async def _delete_role(self, call: Call) -> web.Response:
        """Delete a role; its members have the default role then."""
        await self._ordered(call, DeleteRole(**self._wishing(call), role_id=call.parameters[1]))
        return web.Response(status=204)

    @operation(None, status=204)
    async def _default_role(self, call: Call) -> web.Response:
        """Let joiners have this role."""
        await self._ordered(call, SetDefaultRole(**self._wishing(call), role_id=call.parameters[1]))
        return web.Response(status=204)

    @operation(None, status=204)
    async def _assign_role(self, call: Call) -> web.Response:
        """Give a member a role.

        The owner's is handed over: who had it is an admin then. Nobody gives themself a role.
        """
        role_id, user_id = call.parameters[1:]
        await self._ordered(call, AssignRole(**self._wishing(call), role_id=role_id, user_id=user_id))
        return web.Response(status=204)

    @operation(list[MemberObject], query=slices.parameters())
    async def _members(self, call: Call) -> web.Response:
        """List an app's members, in the order in which they came."""
        call.caller.must_reach(TEAMS)
        app = (await member_view(self._parts, call, call.parameters[0], Bit.READ_TEAM)).app
        span = slices.span_of(call.request.query)
        shown = [_member_object(member) for member in app.members]
        return reply(shown[span.offset : span.offset + span.limit], headers=slices.total(len(shown)))

    @operation(None, status=204, body=_invite)
    async def _invite(self, call: Call) -> web.Response:
        """Let a user of the company take part, at once, with the default role."""
        given = await bodies.read(call.request, _invite)
        await self._ordered(call, InviteMember(**self._wishing(call), user_id=given.sub))
        return web.Response(status=204)

    @operation(None, status=204)
    async def _remove(self, call: Call) -> web.Response:
        """Let a member take part no longer; everybody but the owner may leave."""
        await self._ordered(call, RemoveMember(**self._wishing(call), user_id=call.parameters[1]))
        return web.Response(status=204)

    @operation(list[JoinObject], query=slices.parameters())
    async def _queue(self, call: Call) -> web.Response:
        """List who wants to take part."""
        call.caller.must_reach(TEAMS)
        app = (await member_view(self._parts, call, call.parameters[0], Bit.ADMIN)).app
        span = slices.span_of(call.request.query)
        shown = [_join_object(entry) for entry in app.queue]
        return reply(shown[span.offset : span.offset + span.limit], headers=slices.total(len(shown)))

    @operation(None, status=204, body=_join, body_optional=True)
    async def _join(self, call: Call) -> web.Response:
        """Take part in a listed app of the company, or ask to when its owner wants to be asked."""
        given = await bodies.read(call.request, _join, optional=True)
        await self._ordered(
            call, JoinApp(**self._wishing(call), request_id=ids.new_id(), message=given.message)
        )
        return web.Response(status=204)

    @operation(None, status=204)
    async def _accept(self, call: Call) -> web.Response:
        """Let somebody who asked take part."""
        await self._answered(call, accept=True)
        return web.Response(status=204)

    @operation(None, status=204)
    async def _refuse(self, call: Call) -> web.Response:
        """Do not let somebody who asked take part."""
        await self._answered(call, accept=False)
        return web.Response(status=204)

    async def _answered(self, call: Call, *, accept: bool) -> None:
        command = AnswerJoin(**self._wishing(call), request_id=call.parameters[1], accept=accept)
        await self._ordered(call, command)

    async def _ordered(self, call: Call, command: AppCommand) -> App:
        call.caller.must_reach(TEAMS)
        await view_of(self._parts, call, call.parameters[0])
        app, _ = await order(self._parts, command)
        return app

    def _wishing(self, call: Call) -> WishedOfApp:
        return wishing(self._parts, call, call.parameters[0])


def _role_object(app: App, role: Role) -> RoleObject:
    return RoleObject(
        id=role.id,
        name=role.name,
        description=role.description,
        attributes=role.attributes,
        permissions=role.permissions,
        app_id=app.id,
    )


def _member_object(member: Member) -> MemberObject:
    return whole_seconds(
        MemberObject(user_id=member.user_id, role_id=member.role_id, joined_at=member.joined_at)
    )


def _join_object(entry: JoinRequest) -> JoinObject:
    return whole_seconds(
        JoinObject(id=entry.id, user_id=entry.user_id, message=entry.message, created_at=entry.at)
    )
