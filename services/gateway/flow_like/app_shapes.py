"""Apps and what belongs to them, as the second surface shows them (spec flow-like sections 4.3 and 5.1)."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages.app import App, Bit, Meta, Publication, holds
from libs.common.messages.app_query import AppView, PublicationView, ReviewView
from services.gateway.answers import whole_seconds


class AppObject(msgspec.Struct, frozen=True, kw_only=True):
    """An app; ratings, downloads and relevance are what others made of it, `price` is in cents."""

    id: str
    name: str
    description: str
    status: str
    visibility: str
    authors: tuple[str, ...]
    bits: tuple[str, ...]
    boards: tuple[str, ...]
    events: tuple[str, ...]
    templates: tuple[str, ...]
    widget_ids: tuple[str, ...]
    page_ids: tuple[str, ...]
    changelog: str | None
    version: str | None
    primary_category: str | None
    secondary_category: str | None
    rating_sum: int
    rating_count: int
    download_count: int
    interactions_count: int
    avg_rating: float | None
    relevance_score: float
    execution_mode: str
    price: int
    created_at: datetime
    updated_at: datetime


class MetaObject(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of an app in one language."""

    name: str
    description: str
    long_description: str | None
    release_notes: str | None
    tags: tuple[str, ...]
    use_case: str | None
    icon: str | None
    thumbnail: str | None
    preview_media: tuple[str, ...]
    age_rating: int | None
    website: str | None
    support_url: str | None
    docs_url: str | None
    created_at: datetime
    updated_at: datetime


class ItemObject(AppObject, frozen=True, kw_only=True):
    """A listed app, with its newest reviews; `access` is `open`, `request` or `purchase`."""

    meta: MetaObject | None
    reviews: tuple[ReviewView, ...]
    member: bool
    access: str


class RoleObject(msgspec.Struct, frozen=True, kw_only=True):
    """A role of an app; `permissions` is a sum of bits."""

    id: str
    name: str
    description: str | None
    attributes: tuple[str, ...]
    permissions: int
    app_id: str


class MemberObject(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an app."""

    user_id: str
    role_id: str
    joined_at: datetime


class JoinObject(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who wants to take part."""

    id: str
    user_id: str
    message: str
    created_at: datetime


class PublicationObject(msgspec.Struct, frozen=True, kw_only=True):
    """A wish to be listed, and what became of it."""

    id: str
    app_id: str
    name: str
    visibility: str
    status: str
    message: str | None
    requested_by: str
    created_at: datetime
    decided_by: str | None
    decided_at: datetime | None


Pair = tuple[AppObject, MetaObject | None]


def app_object(view: AppView, language: str) -> AppObject:
    """Return an app; its boards are shown to members who may read or run them."""
    return AppObject(**_fields(view, language))


def pair(view: AppView, language: str) -> Pair:
    """Return an app and what is told of it."""
    return app_object(view, language), meta_object(view.app, language)


def meta_object(app: App, language: str) -> MetaObject | None:
    """Return what is told of an app in a language, or else in its own."""
    told = _told(app, language)
    if told is None:
        return None
    made = MetaObject(**{name: getattr(told, name) for name in MetaObject.__struct_fields__})
    return whole_seconds(made)


def item_object(view: AppView, language: str, reviews: list[ReviewView]) -> ItemObject:
    """Return a listed app for whoever looks at it."""
    app = view.app
    access = "purchase" if app.price else "open" if app.visibility == "Public" else "request"
    return ItemObject(
        **_fields(view, language),
        meta=meta_object(app, language),
        reviews=tuple(whole_seconds(review) for review in reviews),
        member=view.bits != 0,
        access=access,
    )


def publication_object(entry: Publication, app_id: str, name: str) -> PublicationObject:
    """Return a publication."""
    return whole_seconds(
        PublicationObject(
            id=entry.id,
            app_id=app_id,
            name=name,
            visibility=entry.visibility,
            status=entry.status,
            message=entry.message or None,
            requested_by=entry.by,
            created_at=entry.at,
            decided_by=entry.decided_by or None,
            decided_at=entry.decided_at,
        )
    )


def publication_row(view: PublicationView) -> PublicationObject:
    """Return a publication of a list."""
    return publication_object(view.publication, view.app_id, view.name)


def _told(app: App, language: str) -> Meta | None:
    return app.meta.get(language) or app.meta.get(app.language)


def _fields(view: AppView, language: str) -> dict[str, Any]:
    app, told = view.app, _told(view.app, language)
    boards = view.boards if holds(view.bits, Bit.READ_BOARDS | Bit.EXECUTE_BOARDS) and view.bits else ()
    owners = {role.id for role in app.roles if role.permissions & Bit.OWNER}
    same = (
        "id", "status", "visibility", "bits", "changelog", "version", "primary_category", "secondary_category",
        "execution_mode", "price",
    )  # fmt: skip
    return {
        **{name: getattr(app, name) for name in same},
        "name": told.name if told else "",
        "description": told.description if told else "",
        "authors": tuple(member.user_id for member in app.members if member.role_id in owners),
        "boards": boards,
        "events": (),
        "templates": (),
        "widget_ids": (),
        "page_ids": (),
        "rating_sum": view.rating_sum,
        "rating_count": view.rating_count,
        "download_count": view.downloads,
        "interactions_count": view.interactions,
        "avg_rating": view.rating_sum / view.rating_count if view.rating_count else None,
        "relevance_score": view.relevance,
        "created_at": app.created_at.replace(microsecond=0),
        "updated_at": app.updated_at.replace(microsecond=0),
    }
