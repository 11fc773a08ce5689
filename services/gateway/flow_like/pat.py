"""`/api/v1/user/pat`: tokens for a user's programs (spec flow-like section 4.1)."""

from datetime import datetime

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.messages.pat import ALL, IssuePat, ListPats, PatView, RevokePat
from services.gateway import bodies
from services.gateway.answers import reply, whole_seconds
from services.gateway.digests import digest_of
from services.gateway.flow_like import slices
from services.gateway.flow_like.moments import moment_of
from services.gateway.operations import operation
from services.gateway.origin import wishing
from services.gateway.parts import Parts
from services.gateway.pats import PREFIX
from services.gateway.routing import Call, Route


class NewPat(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a new token; `valid_until` is a timestamp, or seconds since 1970."""

    name: str
    valid_until: int | str | None = None
    permissions: int = ALL


class PatMade(msgspec.Struct, frozen=True, kw_only=True):
    """A new token, which is shown this once."""

    id: str
    pat: str
    permission: int


class ShownPat(msgspec.Struct, frozen=True, kw_only=True):
    """A token as lists show it."""

    id: str
    name: str
    created_at: datetime
    valid_until: datetime | None
    permissions: int


class _Rows(msgspec.Struct, frozen=True):
    data: list[PatView]
    total: int


_new = msgspec.json.Decoder(NewPat)


class PatRoutes:
    """Personal access tokens: make, list, revoke one's own."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/user/pat", self._list, "read"),
            Route("PUT", "/api/v1/user/pat", self._create, "read"),
            Route("DELETE", "/api/v1/user/pat/{id}", self._revoke, "read"),
        ]

    @operation(list[ShownPat], query=slices.parameters())
    async def _list(self, call: Call) -> web.Response:
        """List the caller's personal access tokens, oldest first."""
        call.caller.must_reach(0)
        wish = ListPats(
            company_id=call.caller.company_id,
            user_id=call.caller.user_id,
            span=slices.span_of(call.request.query),
        )
        answer = await self._parts.store.ask("pat", wish, call)
        rows = answer.decode(_Rows)
        shown = [
            whole_seconds(ShownPat(**{name: getattr(row, name) for name in ShownPat.__struct_fields__}))
            for row in rows.data
        ]
        return reply(shown, headers={**answer.headers, **slices.total(rows.total)})

    @operation(PatMade, body=_new)
    async def _create(self, call: Call) -> web.Response:
        """Make a personal access token.

        It is shown in this answer and never again. `permissions` is a sum of 1 (all), 2 (projects), 4 (teams), 8
        (notifications), 16 (store) and 32 (billing).
        """
        call.caller.must_reach(0)
        given = await bodies.read(call.request, _new)
        pat_id, secret = ids.new_id(), ids.new_secret()
        command = IssuePat(
            **wishing(call, self._parts.clock),
            pat_id=pat_id,
            name=given.name,
            digest=digest_of(secret),
            permissions=given.permissions,
            valid_until=moment_of(given.valid_until, "valid_until"),
        )
        answer = await self._parts.store.order("pat", command)
        made = PatMade(id=pat_id, pat=f"{PREFIX}{pat_id}.{secret}", permission=given.permissions)
        return reply(made, headers=answer.headers)

    @operation(None, status=204)
    async def _revoke(self, call: Call) -> web.Response:
        """Make a personal access token hold no longer, at every gateway at once."""
        call.caller.must_reach(0)
        pat_id = call.parameters[0]
        command = RevokePat(
            **wishing(call, self._parts.clock),
            pat_id=pat_id,
        )
        answer = await self._parts.store.order("pat", command)
        self._parts.auth.pats.changed(pat_id, max(answer.sequences.values(), default=0))
        return web.Response(status=204, headers=answer.headers)
