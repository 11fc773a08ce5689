"""`/api/v1/user` and `/api/v1/profile`: who one is, and how others see one (spec flow-like section 11.3, FQ3)."""

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from libs.common import ids
from libs.common.errors import Invalid, NotFound, Refused, Unauthorized
from libs.common.messages.access import User
from libs.common.messages.user import AccountFields, UpdateAccount, UserView
from services.gateway import bodies
from services.gateway.answers import reply
from services.gateway.flow_like.hub import Hub
from services.gateway.flow_like.people import (
    Profile,
    UserChanged,
    UserObject,
    UserShown,
    default_profile,
    fields_of,
    profile_id_of,
    shown,
)
from services.gateway.operations import operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route

ME = "me"


class UserPatch(msgspec.Struct, frozen=True, kw_only=True):
    """What users may change on themselves; what is not named stays."""

    name: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    preferred_username: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    additional_information: str | UnsetType = UNSET
    accepted_terms_version: str | UnsetType = UNSET
    tutorial_completed: bool | UnsetType = UNSET
    avatar_extension: str | UnsetType = UNSET


_patch = msgspec.json.Decoder(UserPatch)


class UserRoutes:
    """The caller, and their profile."""

    def __init__(self, parts: Parts, hub: Hub) -> None:
        self._parts = parts
        self._hub = hub

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/user", self._get, "read"),
            Route("PUT", "/api/v1/user", self._update, "read"),
            Route("GET", "/api/v1/user/info", self._get, "read"),
            Route("PUT", "/api/v1/user/info", self._update, "read"),
            Route("GET", "/api/v1/profile", self._profiles, "read"),
            Route("GET", "/api/v1/profile/{id}", self._profile, "read"),
        ]

    @operation(UserObject)
    async def _get(self, call: Call) -> web.Response:
        """Return the caller."""
        return reply(UserObject(**fields_of(await self._caller(call))))

    @operation(UserChanged, body=_patch)
    async def _update(self, call: Call) -> web.Response:
        """Change what the caller says of themself.

        Id, email, status, tier and permission are not theirs to change, and are passed over.
        """
        call.caller.must_reach(0)
        given = await bodies.read(call.request, _patch)
        fields = AccountFields(**{name: getattr(given, name) for name in AccountFields.__struct_fields__})
        command = UpdateAccount(
            **wishing(call, self._parts.clock),
            fields=fields,
        )
        try:
            answer = await self._parts.store.order("user", command)
        except Refused as error:
            # As with emails (FQ7): inside the statuses of the index.
            raise Invalid(error.message) from error
        changed = answer.decode(UserView)
        sequence = max(answer.sequences.values(), default=0)
        self._parts.auth.user_changed(changed.company_id, changed.id, sequence)
        user = await self._caller(call)
        return reply(UserChanged(**fields_of(user)), headers=answer.headers)

    @operation(list[Profile])
    async def _profiles(self, call: Call) -> web.Response:
        """Return the caller's profiles."""
        return reply([default_profile(await self._caller(call), self._hub)])

    @operation((Profile, UserShown))
    async def _profile(self, call: Call) -> web.Response:
        """Return a profile of the caller, or what others may see of a user.

        `me` is the caller's own; the id of a user of the same company leads to what the hub's `lookup` allows.
        """
        asked = call.parameters[0]
        if asked in (ME, profile_id_of(call.caller.user_id)):
            return reply(default_profile(await self._caller(call), self._hub))
        user = await self._parts.auth.user(call.caller.company_id, asked) if ids.is_id(asked) else None
        if user is None:
            raise NotFound("there is no such profile")
        return reply(shown(user, self._hub))

    async def _caller(self, call: Call) -> User:
        user = await self._parts.auth.user(call.caller.company_id, call.caller.user_id)
        if user is None:
            raise Unauthorized("there is no such user any more")
        return user
