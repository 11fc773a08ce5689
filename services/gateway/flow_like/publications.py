"""`/api/v1/admin/publication`: what waits to be listed, and the decision on it (spec flow-like, override 5)."""

from typing import Literal

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import Forbidden, NotFound
from libs.common.messages.app import DecidePublication
from libs.common.messages.app_query import ListPublications, PublicationView
from services.gateway import bodies, paging
from services.gateway.answers import reply
from services.gateway.flow_like import slices
from services.gateway.flow_like.app_access import asking, order, wishing
from services.gateway.flow_like.app_shapes import PublicationObject, publication_object, publication_row
from services.gateway.flow_like.people import is_platform_admin
from services.gateway.operations import choice, operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route

STATUSES = ("PENDING", "ON_HOLD", "ACCEPTED", "REJECTED")


class DecisionWish(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a publication, and a word on it."""

    status: Literal["ACCEPTED", "REJECTED", "ON_HOLD"]
    message: str = ""


class _Rows(msgspec.Struct, frozen=True):
    data: list[PublicationView]
    total: int


_decision = msgspec.json.Decoder(DecisionWish)


class PublicationRoutes:
    """Publications, for those who run the installation."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/admin/publication", self._list, "administer"),
            Route("PUT", "/api/v1/admin/publication/{id}", self._decide, "administer"),
        ]

    @operation(
        list[PublicationObject], query=(choice("status", "Only these", STATUSES), *slices.parameters())
    )
    async def _list(self, call: Call) -> web.Response:
        """List publications of all companies, those that wait longest first."""
        await self._must_run_the_installation(call)
        query = call.request.query
        wish = ListPublications(
            **asking(call), status=paging.choice(query, "status", STATUSES), span=slices.span_of(query)
        )
        answer = await self._parts.store.ask("app", wish, call)
        rows = answer.decode(_Rows)
        shown = [publication_row(row) for row in rows.data]
        return reply(shown, headers={**answer.headers, **slices.total(rows.total)})

    @operation(PublicationObject, body=_decision)
    async def _decide(self, call: Call) -> web.Response:
        """Accept a publication, reject it, or put it on hold.

        What is accepted is listed at once, as it was when it was asked for.
        """
        await self._must_run_the_installation(call)
        given = await bodies.read(call.request, _decision)
        publication_id = call.parameters[0]
        if not ids.is_id(publication_id):
            raise NotFound("there is no such publication")
        command = DecidePublication(
            # Whose it is, the store knows.
            **wishing(self._parts, call, publication_id),
            publication_id=publication_id,
            status=given.status,
            message=given.message,
        )
        app, answer = await order(self._parts, command)
        entry = next(entry for entry in app.publications if entry.id == publication_id)
        told = app.meta.get(app.language)
        shown = publication_object(entry, app.id, told.name if told else "")
        return reply(shown, headers=answer.headers)

    async def _must_run_the_installation(self, call: Call) -> None:
        call.caller.must_reach(0)
        user = await self._parts.auth.user(call.caller.company_id, call.caller.user_id)
        if user is None or not is_platform_admin(user):
            raise Forbidden("only those who run this installation may do that")
