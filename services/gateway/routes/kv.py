"""`/api/kv`: what flows remember (spec flow8 section 13)."""

import math
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from libs.common import ids
from libs.common.errors import Forbidden, Invalid, NotFound
from libs.common.messages.kv import (
    KV_SCOPES,
    AppendKv,
    DeleteKv,
    GetKv,
    IncrementKv,
    KvScope,
    KvView,
    ListKv,
    SetKv,
)
from services.gateway import bodies, paging
from services.gateway.answers import Deleted, reply, whole_seconds
from services.gateway.operations import Answer, choice, operation, text
from services.gateway.origin import Wished, wishing
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown


class KvFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What names an entry in a body; `companyId` may repeat the caller's company."""

    key: str
    scope: str = "global"
    scope_key: str | None = None
    company_id: str | None = None


class SetFields(KvFields, frozen=True, kw_only=True, rename="camel"):
    """The body that sets an entry."""

    value: Any
    secret: bool | UnsetType = UNSET


class AppendFields(KvFields, frozen=True, kw_only=True, rename="camel"):
    """The body that appends to an entry."""

    value: Any


class IncrementFields(KvFields, frozen=True, kw_only=True, rename="camel"):
    """The body that adds to an entry."""

    by: int | float = 1


class _Named(Wished):
    key: str
    scope: KvScope
    scope_key: str


class _Rows(msgspec.Struct, frozen=True):
    data: list[KvView]
    total: int


class _Written(msgspec.Struct, frozen=True):
    entry: KvView
    created: bool


_set_fields = msgspec.json.Decoder(SetFields)
_append_fields = msgspec.json.Decoder(AppendFields)
_increment_fields = msgspec.json.Decoder(IncrementFields)


class KvRoutes:
    """KV entries: list, read, set, append, increment, delete."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/kv", self._list, "read"),
            Route("POST", "/api/kv", self._set, "edit"),
            Route("POST", "/api/kv/append", self._append, "edit"),
            Route("POST", "/api/kv/increment", self._increment, "edit"),
            Route("GET", "/api/kv/{id}", self._get, "read"),
            Route("DELETE", "/api/kv/{id}", self._delete, "edit"),
        ]

    @operation(
        KvView,
        page=True,
        query=(
            text("companyId", "The caller's company, if anything"),
            choice("scope", "Only entries of this scope", KV_SCOPES),
            text("scopeKey", "Only entries of this flow or group"),
            text("prefix", "Only entries whose key begins so"),
        ),
    )
    async def _list(self, call: Call) -> web.Response:
        """List KV entries."""
        query = call.request.query
        page = paging.page_of(query)
        _check_company(call, paging.text(query, "companyId"))
        wish = ListKv(
            company_id=call.caller.company_id,
            page=page,
            scope=paging.choice(query, "scope", KV_SCOPES),
            scope_key=paging.text(query, "scopeKey"),
            prefix=paging.text(query, "prefix"),
        )
        answer = await self._parts.store.ask("kv", wish, call)
        rows = answer.decode(_Rows)
        envelope = paging.envelope([whole_seconds(entry) for entry in rows.data], total=rows.total, page=page)
        return reply(envelope, headers=answer.headers)

    @operation(KvView)
    async def _get(self, call: Call) -> web.Response:
        """Return one KV entry."""
        wish = GetKv(company_id=call.caller.company_id, entry_id=_entry_id(call))
        answer = await self._parts.store.ask("kv", wish, call)
        return reply(whole_seconds(answer.decode(KvView)), headers=answer.headers)

    @operation(KvView, also=(Answer(201, KvView, "A new entry"),), body=_set_fields, refusals=(409,))
    async def _set(self, call: Call) -> web.Response:
        """Set a KV entry."""
        given = await bodies.read(call.request, _set_fields)
        named = self._named(call, given)
        return await self._write(SetKv(**named, value=given.value, secret=given.secret))

    @operation(KvView, also=(Answer(201, KvView, "A new entry"),), body=_append_fields, refusals=(409,))
    async def _append(self, call: Call) -> web.Response:
        """Append to the list that a KV entry holds.

        Concurrent appends all count.
        """
        given = await bodies.read(call.request, _append_fields)
        return await self._write(AppendKv(**self._named(call, given), value=given.value))

    @operation(KvView, also=(Answer(201, KvView, "A new entry"),), body=_increment_fields, refusals=(409,))
    async def _increment(self, call: Call) -> web.Response:
        """Add to the number that a KV entry holds.

        Concurrent increments all count.
        """
        given = await bodies.read(call.request, _increment_fields)
        if not math.isfinite(given.by):
            raise Invalid("by: expected a finite number")
        return await self._write(IncrementKv(**self._named(call, given), amount=given.by))

    async def _write(self, command: SetKv | AppendKv | IncrementKv) -> web.Response:
        answer = await self._parts.store.order("kv", command)
        written = answer.decode(_Written)
        status = 201 if written.created else 200
        return reply(whole_seconds(written.entry), status=status, headers=answer.headers)

    @operation(Deleted)
    async def _delete(self, call: Call) -> web.Response:
        """Delete a KV entry."""
        command = DeleteKv(
            **wishing(call, self._parts.clock),
            entry_id=_entry_id(call),
        )
        answer = await self._parts.store.order("kv", command)
        return reply(Deleted(id=command.entry_id), headers=answer.headers)

    def _named(self, call: Call, given: KvFields) -> _Named:
        _check_company(call, given.company_id)
        scope = next((known for known in KV_SCOPES if known == given.scope), None)
        if scope is None:
            raise Invalid(f"scope: expected one of {', '.join(KV_SCOPES)}")
        return {
            **wishing(call, self._parts.clock),
            "key": given.key,
            "scope": scope,
            "scope_key": given.scope_key or "",
        }


def _check_company(call: Call, company_id: str | None) -> None:
    if company_id is not None and company_id != call.caller.company_id:
        raise Forbidden("companyId names another company than yours")


def _entry_id(call: Call) -> str:
    entry_id = call.parameters[0]
    if not ids.is_id(entry_id):
        raise NotFound(f"no KV entry {shown(entry_id)}", code="KV_NOT_FOUND")
    return entry_id
