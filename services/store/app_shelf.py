"""Apps and the store, read: who sees which app, and what is listed in which order (spec flow-like 5.3, 11.3)."""

from typing import Any

import msgspec

from libs.common.errors import Forbidden
from libs.common.messages.app import App, Bit, Publication, holds
from libs.common.messages.app_query import (
    AppKeyView,
    AppQuery,
    AppView,
    GetApp,
    GetItem,
    ListAppKeys,
    ListApps,
    ListPublications,
    ListReviews,
    PublicationView,
    ReviewView,
    SearchStore,
)
from libs.common.messages.group import Group
from libs.common.messages.query import Rows
from services.store.database import Row
from services.store.domain import app as rules
from services.store.domain.review import relevance
from services.store.listing import Listing, Where

# What others made of an app; people who take part count as much as reviews do.
_COUNTED = """
    (select count(*) from reviews r where r.app_id = g.id and not r.deleted) as rating_count,
    (select coalesce(sum(r.rating), 0) from reviews r where r.app_id = g.id and not r.deleted) as rating_sum,
    (select count(*) from apps i where i.installed_from = g.id) as downloads,
    coalesce(cardinality(a.member_ids), 1) - 1
        + (select count(*) from reviews r where r.app_id = g.id and not r.deleted) as interactions,
    array(select f.id from flows f where f.company_id = g.company_id and f.group_id = g.id and not f.deleted
        order by f.created_at, f.id) as boards
"""
_APP = f"""
    select g.id, g.company_id, g.name as group_name, g.index as group_index, g.created_at as group_created_at,
        g.updated_at as group_updated_at, a.definition, a.listed, a.deleted as app_deleted, a.member_ids, a.price,
        a.visibility, a.owner_id, greatest(g.updated_at, a.updated_at) as changed_at,
        coalesce(a.created_at, g.created_at) as made_at, {_COUNTED}
    from groups g left join apps a on a.id = g.id
    where not g.deleted and not coalesce(a.deleted, false)
"""  # noqa: S608 - texts of ours
_SOURCE = f"({_APP}) as app"
# As `services.store.domain.review.relevance` computes it.
_AVERAGE = "coalesce(rating_sum::float8 / nullif(rating_count, 0), 0)"
_RELEVANCE = f"(2 * downloads + interactions + 1) * (1 + {_AVERAGE} / 5) * (1 + ln(1 + rating_count::float8))"
ORDERS = {
    "MostRelevant": f"{_RELEVANCE} desc, made_at desc, id",
    "LeastRelevant": f"{_RELEVANCE}, made_at, id",
    "BestRated": f"{_AVERAGE} desc, rating_count desc, id",
    "WorstRated": f"{_AVERAGE}, rating_count, id",
    "MostPopular": "rating_sum desc, downloads desc, id",
    "LeastPopular": "rating_sum, downloads, id",
    "NewestCreated": "made_at desc, id",
    "OldestCreated": "made_at, id",
    "NewestUpdated": "changed_at desc, id",
    "OldestUpdated": "changed_at, id",
}
_REVIEW = "id, app_id, user_id, user_name, rating, text, created_at, updated_at"
_KEY = "id, name, description, role_id, created_at, valid_until"


class AppShelf:
    """Answers `qry.app`."""

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    async def page(self, query: ListApps) -> Rows:
        """Return the apps that the user is a member of, newest change first."""
        await self._listing.caught_up(query)
        where = Where(query.company_id).add("member_ids @> ", [query.user_id])
        if query.administers:
            where.text = f"company_id = $1 and (definition is null or ({where.text}))"
        rows, total = await self._listing.page("*", _SOURCE, where, "changed_at desc, id", query.span)
        return Rows([_view(row, query) for row in rows], total)

    async def get(self, query: GetApp) -> AppView:
        """Return one app, with bits of 0 to who may know of it and is no member. Raises NotFound."""
        await self._listing.caught_up(query)
        where = Where(query.app_id, column="id")
        row = await self._listing.row("*", _SOURCE, where)
        if row is None:
            raise rules.no_such(query.app_id)
        view = _view(row, query)
        if query.role_id and row["company_id"] == query.company_id:
            view = msgspec.structs.replace(view, bits=rules.role_of(view.app, query.role_id).permissions)
        if view.bits == 0 and not row["listed"]:
            raise rules.no_such(query.app_id)
        return view

    async def search(self, query: SearchStore) -> Rows:
        """Return listed apps of all companies."""
        await self._listing.caught_up(query)
        found = _wanted(query)
        rows, total = await self._listing.page("*", _SOURCE, found, ORDERS[query.sort], query.span)
        return Rows([_view(row, query) for row in rows], total)

    async def item(self, query: GetItem) -> AppView:
        """Return one listed app. Raises NotFound."""
        await self._listing.caught_up(query)
        return _view(await self._listed(query.app_id), query)

    async def reviews(self, query: ListReviews) -> Rows:
        """Return the reviews of a listed app, newest first. Raises NotFound."""
        await self._listing.caught_up(query)
        await self._listed(query.app_id)
        where = Where(query.app_id, column="app_id").add("deleted = ", value=False)
        rows, total = await self._listing.page(_REVIEW, "reviews", where, "updated_at desc, id", query.span)
        return Rows([ReviewView(**row) for row in rows], total)

    async def publications(self, query: ListPublications) -> Rows:
        """Return publications of all companies, those that wait longest first."""
        await self._listing.caught_up(query)
        source = """
            (select a.id as app_id, a.company_id, g.name, p as publication, p ->> 'status' as status,
                (p ->> 'at')::timestamptz as at
            from apps a join groups g on g.id = a.id cross join jsonb_array_elements(a.definition -> 'publications') p
            where not a.deleted) as publication
        """
        where = Where(query.status or "%", column="status")
        where.text = "status like $1"
        rows, total = await self._listing.page(
            "app_id, company_id, name, publication", source, where, "at, app_id", query.span
        )
        return Rows(
            [
                PublicationView(
                    publication=msgspec.json.decode(row["publication"], type=Publication),
                    app_id=row["app_id"],
                    company_id=row["company_id"],
                    name=row["name"],
                )
                for row in rows
            ],
            total,
        )

    async def keys(self, query: ListAppKeys) -> Rows:
        """Return the keys of an app, oldest first. Raises NotFound, Forbidden to all but its admins."""
        asked = GetApp(
            company_id=query.company_id,
            after=query.after,
            user_id=query.user_id,
            administers=query.administers,
            app_id=query.app_id,
        )
        if not holds((await self.get(asked)).bits, Bit.ADMIN):
            raise Forbidden("your role in this app does not allow that")
        where = Where(query.company_id).add("app_id = ", query.app_id).add("revoked = ", value=False)
        rows, total = await self._listing.page(_KEY, "app_keys", where, "created_at, id", query.span)
        return Rows([AppKeyView(**row) for row in rows], total)

    async def _listed(self, app_id: str) -> Row:
        row = await self._listing.row("*", _SOURCE, Where(app_id, column="id"))
        if row is None or not row["listed"]:
            raise rules.no_such(app_id)
        return row


def _wanted(query: SearchStore) -> Where:
    where = Where(query.language)
    # The words of the language asked for, or else of the app's own.
    told = "coalesce(definition -> 'meta' -> $1, definition -> 'meta' -> (definition ->> 'language'))"
    where.text = "listed and $1::text is not null"
    if query.query is not None:
        pattern = query.query.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        where.add(
            f"concat_ws(' ', {told} ->> 'name', {told} ->> 'description', group_name) ilike ", f"%{pattern}%"
        )
    where.add("id = ", query.id)
    where.add("owner_id = ", query.author)
    where.add("price >= ", query.price_min)
    where.add("price <= ", query.price_max)
    if query.category is not None:
        both = "concat_ws(',', '', definition ->> 'primaryCategory', definition ->> 'secondaryCategory', '')"
        where.add(f"{both} like ", f"%,{query.category},%")
    if query.tag_name is not None:
        where.add(f"{told} -> 'tags' ? ", query.tag_name)
    return where


def _view(row: Row, query: AppQuery) -> AppView:
    name: str = row["group_name"]
    own = row["company_id"] == query.company_id
    if row["definition"] is None:
        owner = query.user_id if own and query.administers else ""
        app = rules.of_group(_group(row), owner)
    else:
        app = msgspec.json.decode(row["definition"], type=App)
    counted: dict[str, Any] = {
        name: int(row[name]) for name in ("rating_sum", "rating_count", "downloads", "interactions")
    }
    app = msgspec.structs.replace(rules.named(app, name), updated_at=row["changed_at"])
    return AppView(
        app=app,
        boards=tuple(row["boards"]),
        relevance=relevance(**counted),
        bits=rules.bits_of(app, query.user_id) if own and query.user_id else 0,
        **counted,
    )


def _group(row: Row) -> Group:
    return Group(
        id=row["id"],
        company_id=row["company_id"],
        name=row["group_name"],
        index=row["group_index"],
        created_at=row["group_created_at"],
        updated_at=row["group_updated_at"],
    )
