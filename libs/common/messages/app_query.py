"""What the second surface asks about apps and the store, and the answers (spec flow-like section 11.3)."""

from datetime import datetime
from typing import Literal, get_args

import msgspec

from libs.common.messages.app import LANGUAGE, App, Publication
from libs.common.messages.query import Query, Span

Sort = Literal[
    "MostRelevant", "LeastRelevant", "BestRated", "WorstRated", "MostPopular", "LeastPopular", "NewestCreated",
    "OldestCreated", "NewestUpdated", "OldestUpdated",
]  # fmt: skip
SORTS: tuple[str, ...] = get_args(Sort)


class AppQuery(Query, frozen=True, kw_only=True):
    """A question of a user; `administers` says that they administer their company."""

    user_id: str = ""
    administers: bool = False


class ListApps(AppQuery, frozen=True, kw_only=True, tag="app.list"):
    """Apps that the user is a member of, newest change first."""

    span: Span = Span()


class GetApp(AppQuery, frozen=True, kw_only=True, tag="app.get"):
    """One app; a key asks with the role it holds."""

    app_id: str
    role_id: str = ""


class SearchStore(AppQuery, frozen=True, kw_only=True, tag="app.search"):
    """Listed apps of all companies. Prices in cents; both bounds count as inside."""

    query: str | None = None
    id: str | None = None
    language: str = LANGUAGE
    category: str | None = None
    author: str | None = None
    tag_name: str | None = None
    price_min: int | None = None
    price_max: int | None = None
    sort: Sort = "MostRelevant"
    span: Span = Span()


class GetItem(AppQuery, frozen=True, kw_only=True, tag="app.item"):
    """One listed app."""

    app_id: str


class ListReviews(AppQuery, frozen=True, kw_only=True, tag="app.reviews"):
    """The reviews of a listed app, newest first."""

    app_id: str
    span: Span = Span()


class ListPublications(AppQuery, frozen=True, kw_only=True, tag="app.publications"):
    """Publications of all companies, those that wait longest first."""

    status: str | None = None
    span: Span = Span()


class ListAppKeys(AppQuery, frozen=True, kw_only=True, tag="app.keys"):
    """The keys of an app that were not revoked, oldest first."""

    app_id: str
    span: Span = Span()


AnyAppQuery = ListApps | GetApp | SearchStore | GetItem | ListReviews | ListPublications | ListAppKeys


class AppView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An app with what others made of it; `bits` is what the asker's role may, 0 for who is no member."""

    app: App
    boards: tuple[str, ...] = ()
    rating_sum: int = 0
    rating_count: int = 0
    downloads: int = 0
    interactions: int = 0
    relevance: float = 0.0
    bits: int = 0


class PublicationView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A publication and the app it is of."""

    publication: Publication
    app_id: str
    company_id: str
    name: str


class ReviewView(msgspec.Struct, frozen=True, kw_only=True):
    """A review as everybody sees it; `rating` from 1 to 5."""

    id: str
    app_id: str
    user_id: str
    user_name: str
    rating: int
    text: str
    created_at: datetime
    updated_at: datetime


class AppKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key of an app as lists show it."""

    id: str
    name: str
    description: str | None
    role_id: str
    created_at: datetime
    valid_until: datetime | None
