"""`/api/users`: who may log in, as what; and everybody's own password (spec flow8 section 20)."""

from datetime import datetime

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import Invalid, NotFound
from libs.common.messages.access import PERMISSIONS
from libs.common.messages.user import (
    AnyUserCommand,
    ChangePassword,
    CreateUser,
    GetUser,
    ListUsers,
    ResetPassword,
    UpdateUser,
    UserFields,
    UserView,
)
from services.gateway import bodies, paging
from services.gateway.answers import reply, whole_seconds
from services.gateway.operations import choice, operation, switch
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown
from services.gateway.store import Answer
from services.gateway.throttle import LoginThrottle

ROLES = tuple(PERMISSIONS)


class NewUser(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a new user; without a password one is made up and shown once."""

    email: str
    name: str = ""
    role: str = "viewer"
    password: str | None = None


class NewPassword(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a reset; without a password one is made up and shown once."""

    password: str | None = None


class OwnPassword(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a change of one's own password."""

    old_password: str
    new_password: str


class UserMade(UserView, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A user with a password that was made up here, shown this once."""

    password: str | None = None


class PasswordSet(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A user's password was set; shown when it was made up here."""

    id: str
    updated_at: datetime
    password: str | None = None


class _Rows(msgspec.Struct, frozen=True):
    data: list[UserView]
    total: int


_new_user = msgspec.json.Decoder(NewUser)
_fields = msgspec.json.Decoder(UserFields)
_new_password = msgspec.json.Decoder(NewPassword)
_own_password = msgspec.json.Decoder(OwnPassword)


class UserRoutes:
    """Users: list, make, read, change, reset passwords; change one's own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._throttle = LoginThrottle(parts.clock)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/users", self._list, "administer"),
            Route("POST", "/api/users", self._create, "administer"),
            Route("GET", "/api/users/{id}", self._get, "administer"),
            Route("PUT", "/api/users/{id}", self._update, "administer"),
            Route("POST", "/api/users/{id}/reset-password", self._reset, "administer"),
            Route("POST", "/api/auth/password", self._change, "read"),
        ]

    @operation(
        UserView,
        page=True,
        query=(
            choice("role", "Only users of this role", ROLES),
            switch("disabled", "Only users that are, or are not, disabled"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List users."""
        query = call.request.query
        page = paging.page_of(query)
        wish = ListUsers(
            company_id=call.caller.company_id,
            page=page,
            role=paging.choice(query, "role", ROLES),
            disabled=paging.switch(query, "disabled"),
        )
        answer = await self._parts.store.ask("user", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(user) for user in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(UserMade, status=201, body=_new_user, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Make a user.

        Without a password one is made up and shown in this answer alone.
        """
        given = await bodies.read(call.request, _new_user)
        made_up = ids.new_secret() if given.password is None else None
        command = CreateUser(
            **wishing(call, self._parts.clock),
            email=given.email,
            name=given.name,
            role=given.role,
            password=given.password or made_up or "",
        )
        answer = await self._order(command)
        user = msgspec.structs.replace(answer.decode(UserMade), password=made_up)
        return reply(whole_seconds(user), status=201, headers=answer.headers)

    @operation(UserView)
    async def _get(self, call: Call) -> web.Response:
        """Return one user."""
        wish = GetUser(company_id=call.caller.company_id, user_id=_user_id(call))
        answer = await self._parts.store.ask("user", wish, call)
        return reply(whole_seconds(answer.decode(UserView)), headers=answer.headers)

    @operation(UserView, body=_fields, refusals=(409,))
    async def _update(self, call: Call) -> web.Response:
        """Change a user: name, role, disabled.

        Fields that are not named stay as they are.
        """
        fields = await bodies.read(call.request, _fields)
        command = UpdateUser(
            **wishing(call, self._parts.clock),
            user_id=_user_id(call),
            fields=fields,
        )
        answer = await self._order(command)
        return reply(whole_seconds(answer.decode(UserView)), headers=answer.headers)

    @operation(PasswordSet, body=_new_password, body_optional=True)
    async def _reset(self, call: Call) -> web.Response:
        """Set a user's password and end their sessions.

        Without a password one is made up and shown in this answer alone.
        """
        given = await bodies.read(call.request, _new_password, optional=True)
        made_up = ids.new_secret() if given.password is None else None
        command = ResetPassword(
            **wishing(call, self._parts.clock),
            user_id=_user_id(call),
            password=given.password or made_up or "",
        )
        return _password_set(await self._order(command), made_up)

    @operation(PasswordSet, body=_own_password, refusals=(429,))
    async def _change(self, call: Call) -> web.Response:
        """Change one's own password."""
        given = await bodies.read(call.request, _own_password)
        if not given.old_password:
            raise Invalid("oldPassword: expected at least 1 character")
        command = ChangePassword(
            **wishing(call, self._parts.clock),
            old=given.old_password,
            new=given.new_password,
        )
        # Whoever holds a session must not find out its user's password by trying.
        user_id, address = call.caller.user_id, call.request.remote or ""
        self._throttle.check(user_id, address)
        self._throttle.failed(user_id, address)
        answer = await self._order(command)
        self._throttle.succeeded(user_id, address)
        return _password_set(answer, None)

    async def _order(self, command: AnyUserCommand) -> Answer:
        answer = await self._parts.store.order("user", command)
        user = answer.decode(UserView)
        sequence = max(answer.sequences.values(), default=0)
        self._parts.auth.user_changed(command.company_id, user.id, sequence)
        return answer


def _password_set(answer: Answer, made_up: str | None) -> web.Response:
    user = answer.decode(UserView)
    told = PasswordSet(id=user.id, updated_at=user.updated_at, password=made_up)
    return reply(whole_seconds(told), headers=answer.headers)


def _user_id(call: Call) -> str:
    user_id = call.parameters[0]
    if not ids.is_id(user_id):
        raise NotFound(f"no user {shown(user_id)}", code="USER_NOT_FOUND")
    return user_id
