"""`/api/v1/apps/{id}/api`: keys of an app's programs (spec flow-like section 4.3)."""

from datetime import datetime

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.messages.app import Bit
from libs.common.messages.app_key import IssueAppKey, RevokeAppKey
from libs.common.messages.app_query import AppKeyView, ListAppKeys
from libs.common.messages.pat import PROJECTS
from services.gateway import bodies
from services.gateway.answers import reply, whole_seconds
from services.gateway.app_keys import PREFIX
from services.gateway.digests import digest_of
from services.gateway.flow_like import slices
from services.gateway.flow_like.app_access import asking, member_view, wishing
from services.gateway.flow_like.moments import moment_of
from services.gateway.operations import operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class NewAppKey(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a new key; `valid_until` is a timestamp, or seconds since 1970."""

    name: str
    description: str | None = None
    role_id: str | None = None
    valid_until: int | str | None = None


class AppKeyMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new key, which is shown this once."""

    id: str
    api_key: str
    name: str
    role_name: str


class ShownAppKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as lists show it."""

    id: str
    name: str
    description: str | None
    role_id: str
    created_at: datetime
    valid_until: datetime | None


class _Rows(msgspec.Struct, frozen=True):
    data: list[AppKeyView]
    total: int


_new = msgspec.json.Decoder(NewAppKey)


class AppKeyRoutes:
    """Keys of an app: make, list, revoke. All takes an admin of it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/apps/{id}/api", self._list, "read"),
            Route("PUT", "/api/v1/apps/{id}/api", self._create, "edit"),
            Route("DELETE", "/api/v1/apps/{id}/api/{key_id}", self._revoke, "edit"),
        ]

    @operation(list[ShownAppKey], query=slices.parameters())
    async def _list(self, call: Call) -> web.Response:
        """List an app's keys, oldest first."""
        app_id = await self._administered(call)
        wish = ListAppKeys(**asking(call), app_id=app_id, span=slices.span_of(call.request.query))
        answer = await self._parts.store.ask("app", wish, call)
        rows = answer.decode(_Rows)
        shown = [
            whole_seconds(ShownAppKey(**{name: getattr(row, name) for name in ShownAppKey.__struct_fields__}))
            for row in rows.data
        ]
        return reply(shown, headers={**answer.headers, **slices.total(rows.total)})

    @operation(AppKeyMade, body=_new)
    async def _create(self, call: Call) -> web.Response:
        """Make a key of an app.

        It is shown in this answer and never again. Without a role it has the default one; the owner's it never has.
        """
        app_id = await self._administered(call)
        given = await bodies.read(call.request, _new)
        key_id, secret = ids.new_id(), ids.new_secret()
        command = IssueAppKey(
            **wishing(self._parts, call, app_id),
            key_id=key_id,
            name=given.name,
            digest=digest_of(secret),
            role_id=given.role_id or "",
            description=given.description,
            valid_until=moment_of(given.valid_until, "valid_until"),
        )
        answer = await self._parts.store.order("appkey", command)
        key = answer.decode(AppKeyView)
        app = (await member_view(self._parts, call, app_id, Bit.ADMIN)).app
        role = next((role.name for role in app.roles if role.id == key.role_id), "")
        made = AppKeyMade(
            id=key_id, api_key=f"{PREFIX}{app_id}.{key_id}.{secret}", name=key.name, role_name=role
        )
        return reply(made, headers=answer.headers)

    @operation(None, status=204)
    async def _revoke(self, call: Call) -> web.Response:
        """Make a key hold no longer, at every gateway at once."""
        app_id, key_id = await self._administered(call), call.parameters[1]
        command = RevokeAppKey(**wishing(self._parts, call, app_id), key_id=key_id)
        answer = await self._parts.store.order("appkey", command)
        self._parts.auth.app_keys.changed(key_id, max(answer.sequences.values(), default=0))
        return web.Response(status=204, headers=answer.headers)

    async def _administered(self, call: Call) -> str:
        call.caller.must_reach(PROJECTS)
        app_id = call.parameters[0]
        await member_view(self._parts, call, app_id, Bit.ADMIN)
        return app_id
