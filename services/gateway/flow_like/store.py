"""`/api/v1/store`: what is listed, installing it and reviewing it (spec flow-like sections 5.3 and 11.3)."""

from typing import Any

import msgspec
from aiohttp import web

from libs.common import ids
from libs.common.errors import Invalid, NotFound
from libs.common.messages.app import CATEGORIES, InstallApp
from libs.common.messages.app_query import (
    SORTS,
    AppView,
    GetItem,
    ListReviews,
    ReviewView,
    SearchStore,
)
from libs.common.messages.pat import STORE
from libs.common.messages.query import Span
from libs.common.messages.review import DeleteReview, WriteReview
from services.gateway import bodies, paging
from services.gateway.answers import reply, whole_seconds
from services.gateway.flow_like import slices
from services.gateway.flow_like.app_access import (
    IN_LANGUAGE,
    asking,
    hidden_max,
    language_of,
    order,
    view_of,
    wishing,
)
from services.gateway.flow_like.app_shapes import AppObject, ItemObject, Pair, app_object, item_object, pair
from services.gateway.flow_like.hub import Hub
from services.gateway.operations import choice, number, operation, text
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route

REVIEWS_SHOWN = 10
QUERY_CHARS_MAX = 200
_SORTS = {word.lower(): word for word in SORTS}
SEARCH = (
    text("query", "Words of the name or the description; `q` is the same"),
    text("id", "One app"),
    choice("category", "The primary or the secondary one", CATEGORIES),
    text("tag", "A tag"),
    text("author", "The owner's id"),
    number("min_price", "In cents"),
    number("max_price", "In cents"),
    choice("sort", "In which order; in any case of letters", SORTS),
    *IN_LANGUAGE,
    *slices.parameters(),
)


class ReviewWish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody thinks of an app; `rating` from 1 to 5."""

    rating: int
    text: str = ""


class _Rows(msgspec.Struct, frozen=True):
    data: list[AppView]
    total: int


class _Reviews(msgspec.Struct, frozen=True):
    data: list[ReviewView]
    total: int


_review = msgspec.json.Decoder(ReviewWish)


class StoreRoutes:
    """The store: browse, look at, install, review."""

    def __init__(self, parts: Parts, hub: Hub) -> None:
        self._parts = parts
        self._hub = hub

    def routes(self) -> list[Route]:
        """Return the endpoints. Strangers may look when the hub lets them; then a credential is not asked for."""
        return [
            Route("GET", "/api/v1/store", self._search, None),
            Route("GET", "/api/v1/apps/search", self._search, None),
            Route("GET", "/api/v1/store/{id}", self._item, None),
            Route("POST", "/api/v1/store/{id}/install", self._install, "edit"),
            Route("GET", "/api/v1/store/{id}/reviews", self._reviews, None),
            Route("PUT", "/api/v1/store/{id}/reviews", self._write, "read"),
            Route("DELETE", "/api/v1/store/{id}/reviews", self._delete, "read"),
        ]

    @operation(list[Pair], query=SEARCH)
    async def _search(self, call: Call) -> web.Response:
        """Browse what is listed, by all companies, the most relevant first.

        Relevance is `(2·downloads + interactions + 1) · (1 + average/5) · (1 + ln(1 + ratings))`; interactions are
        members and reviews.
        """
        await self._admitted(call)
        query = call.request.query
        wish = SearchStore(
            **asking(call),
            query=_words(call),
            id=paging.text(query, "id"),
            language=language_of(call),
            category=paging.choice(query, "category", CATEGORIES),
            author=paging.text(query, "author"),
            tag_name=paging.text(query, "tag"),
            price_min=_price(call, "min_price"),
            price_max=_price(call, "max_price"),
            sort=_sort(call),
            span=slices.span_of(query),
        )
        answer = await self._parts.store.ask("app", wish, call)
        rows = answer.decode(_Rows)
        shown = [pair(view, language_of(call)) for view in rows.data]
        return reply(shown, headers={**answer.headers, **slices.total(rows.total)})

    @operation(ItemObject, query=IN_LANGUAGE)
    async def _item(self, call: Call) -> web.Response:
        """Return a listed app, with its newest reviews."""
        await self._admitted(call)
        item_id = _id(call)
        answer = await self._parts.store.ask("app", GetItem(**asking(call), app_id=item_id), call)
        reviews, _ = await self._reviewed(call, item_id, Span(limit=REVIEWS_SHOWN))
        return reply(item_object(answer.decode(AppView), language_of(call), reviews), headers=answer.headers)

    @operation(AppObject, status=201, query=IN_LANGUAGE)
    async def _install(self, call: Call) -> web.Response:
        """Copy what is published of an app into a new app of the caller's company.

        Its boards come along, without credentials and rules of approval, for those name things of another company.
        """
        call.caller.must_reach(STORE)
        app_id = ids.new_id()
        command = InstallApp(
            **wishing(self._parts, call, app_id), item_id=_id(call), hidden_max=hidden_max(self._hub)
        )
        _, answer = await order(self._parts, command)
        view = await view_of(self._parts, call, app_id)
        headers = {**answer.headers, "Location": f"/api/v1/apps/{app_id}"}
        return reply(app_object(view, language_of(call)), status=201, headers=headers)

    @operation(list[ReviewView], query=slices.parameters())
    async def _reviews(self, call: Call) -> web.Response:
        """List the reviews of a listed app, newest first."""
        await self._admitted(call)
        rows, total = await self._reviewed(call, _id(call), slices.span_of(call.request.query))
        return reply([whole_seconds(row) for row in rows], headers=slices.total(total))

    @operation(ReviewView, body=_review)
    async def _write(self, call: Call) -> web.Response:
        """Say what the caller thinks of an app, in the place of what they said before.

        Members of an app do not review it.
        """
        call.caller.must_reach(STORE)
        given = await bodies.read(call.request, _review)
        command = WriteReview(
            **wishing(self._parts, call, _id(call)),
            rating=given.rating,
            user_name=call.caller.name,
            text=given.text,
        )
        answer = await self._parts.store.order("review", command)
        return reply(whole_seconds(answer.decode(ReviewView)), headers=answer.headers)

    @operation(None, status=204)
    async def _delete(self, call: Call) -> web.Response:
        """Take the caller's review back."""
        call.caller.must_reach(STORE)
        command = DeleteReview(**wishing(self._parts, call, _id(call)))
        answer = await self._parts.store.order("review", command)
        return web.Response(status=204, headers=answer.headers)

    async def _admitted(self, call: Call) -> None:
        sent = "Authorization" in call.request.headers or "X-API-Key" in call.request.headers
        # What is sent is checked, whether it would be needed or not.
        if sent or not self._hub.file.unauthorized_read:
            call.caller = await self._parts.auth.identify(call.request)
            call.caller.must_reach(STORE)

    async def _reviewed(self, call: Call, item_id: str, span: Span) -> tuple[list[ReviewView], int]:
        wish = ListReviews(**asking(call), app_id=item_id, span=span)
        answer = await self._parts.store.ask("app", wish, call)
        rows = answer.decode(_Reviews)
        return rows.data, rows.total


def _id(call: Call) -> str:
    item_id = call.parameters[0]
    if not ids.is_id(item_id):
        raise NotFound("there is no such app in the store")
    return item_id


def _words(call: Call) -> str | None:
    words = paging.text(call.request.query, "query") or paging.text(call.request.query, "q")
    if words is not None and len(words) > QUERY_CHARS_MAX:
        raise Invalid(f"query holds at most {QUERY_CHARS_MAX} characters")
    return words


def _price(call: Call, name: str) -> int | None:
    if name not in call.request.query:
        return None
    return min(paging.count(call.request.query, name, default=0, minimum=0), 2**31 - 1)


def _sort(call: Call) -> Any:
    given = paging.text(call.request.query, "sort") or SORTS[0]
    found = _SORTS.get(given.lower())
    if found is None:
        raise Invalid(f"sort: expected one of {', '.join(SORTS)}")
    return found
