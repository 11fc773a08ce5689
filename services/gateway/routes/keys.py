"""`/api/auth/api-keys`: tokens for programs (spec flow8 section 4)."""

from datetime import datetime

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import Invalid
from libs.common.messages.key import SCOPES, IssueKey, KeyView, ListKeys, RevokeKey
from services.gateway import bodies, paging
from services.gateway.answers import reply, whole_seconds
from services.gateway.operations import operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class KeyFields(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a new key."""

    name: str
    scopes: tuple[str, ...] = ("standard",)


class KeyMade(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A new key with its token, which is shown this once."""

    id: str
    name: str
    token: str
    scopes: tuple[str, ...]
    issued_at: datetime


class KeyRevoked(msgspec.Struct, frozen=True, kw_only=True):
    """A key that holds no longer."""

    id: str
    revoked: bool = True


class _Rows(msgspec.Struct, frozen=True):
    data: list[KeyView]
    total: int


_fields = msgspec.json.Decoder(KeyFields)


class KeyRoutes:
    """API keys: make, list, revoke. Everybody has keys of their own; admins see and revoke all of the company."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/auth/api-keys", self._list, "read"),
            Route("POST", "/api/auth/api-keys", self._create, "read"),
            Route("DELETE", "/api/auth/api-keys/{id}", self._revoke, "read"),
        ]

    @operation(KeyView, page=True)
    async def _list(self, call: Call) -> web.Response:
        """List API keys.

        Everybody sees their own, admins those of the company.
        """
        page = paging.page_of(call.request.query)
        wish = ListKeys(
            company_id=call.caller.company_id,
            page=page,
            user_id=None if "administer" in call.caller.permissions else call.caller.user_id,
        )
        answer = await self._parts.store.ask("key", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(key) for key in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(KeyMade, status=201, body=_fields, refusals=(409,))
    async def _create(self, call: Call) -> web.Response:
        """Make an API key.

        Its token is shown in this answer and never again.
        """
        fields = await bodies.read(call.request, _fields)
        unknown = [scope for scope in fields.scopes if scope not in SCOPES]
        if unknown or not fields.scopes:
            raise Invalid(f"scopes: expected at least one of {', '.join(SCOPES)}")
        keys = self._parts.auth.keys
        keys.check_enabled(fields.scopes)
        command = IssueKey(
            **wishing(call, self._parts.clock),
            key_id=ids.new_id(),
            name=fields.name,
            scopes=fields.scopes,
        )
        answer = await self._parts.store.order("key", command)
        key = answer.decode(KeyView)
        made = KeyMade(
            id=key.id,
            name=key.name,
            token=keys.sign(key, call.caller.company_id),
            scopes=key.scopes,
            issued_at=key.issued_at,
        )
        return reply(whole_seconds(made), status=201, headers=answer.headers)

    @operation(KeyRevoked)
    async def _revoke(self, call: Call) -> web.Response:
        """Revoke an API key, at every gateway at once."""
        command = RevokeKey(
            **wishing(call, self._parts.clock),
            key_id=call.parameters[0],
            any_owner="administer" in call.caller.permissions,
        )
        answer = await self._parts.store.order("key", command)
        key = answer.decode(KeyView)
        self._parts.auth.keys.changed(command.company_id, key.id, max(answer.sequences.values(), default=0))
        return reply(KeyRevoked(id=key.id), headers=answer.headers)
