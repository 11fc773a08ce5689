"""Users and their profiles, as the second surface shows them (spec flow-like sections 4.1 and 4.2)."""

from datetime import datetime
from typing import Any

import msgspec

from libs.common.ids import derived_id
from libs.common.messages.access import User
from services.gateway.flow_like.hub import Hub, ProfileSettings

# Section 2.2: the bit of those who run the installation.
PLATFORM_ADMIN = 1
# The company of the environment's admin: who administers it, runs the installation.
FIRST_COMPANY_ID = derived_id("company", "first")


class UserObject(msgspec.Struct, frozen=True, kw_only=True):
    """A user, to themself. Nothing is sold here, so prices and sizes are 0 and there are no ids of payment."""

    id: str
    stripe_id: str | None
    tracking_id: str | None
    email: str
    username: str | None
    preferred_username: str | None
    name: str
    description: str | None
    avatar: str | None
    additional_information: str | None
    permission: int
    accepted_terms_version: str | None
    tutorial_completed: bool
    status: str
    tier: str
    total_size: int
    total_llm_price: int
    total_embedding_price: int
    llm_price_tracking_month: str | None
    created_at: datetime
    updated_at: datetime


class UserChanged(UserObject, frozen=True, kw_only=True):
    """A user after a change; pictures are not kept, so there is no address to send one to."""

    signed_url: str | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How a user likes their workspace."""

    id: str
    user_id: str
    name: str
    description: str | None
    icon: str | None
    thumbnail: str | None
    interests: tuple[str, ...]
    tags: tuple[str, ...]
    theme: dict[str, Any] | None
    bit_ids: tuple[str, ...]
    apps: tuple[Any, ...]
    shortcuts: tuple[Any, ...]
    settings: ProfileSettings
    hub: str
    hubs: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


class UserShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A user, to others: what the hub's `lookup` lets them see."""

    id: str
    email: str | None = None
    username: str | None = None
    preferred_username: str | None = None
    name: str | None = None
    avatar_url: str | None = None
    additional_information: str | None = None
    description: str | None = None
    created_at: datetime | None = None


def is_platform_admin(user: User) -> bool:
    """Tell whether a user runs the installation: an admin of the company that the environment made."""
    return user.company_id == FIRST_COMPANY_ID and user.role == "admin"


def fields_of(user: User) -> dict[str, Any]:
    """Return the fields of a user object."""
    return {
        "id": user.id,
        "stripe_id": None,
        "tracking_id": None,
        "email": user.email,
        "username": user.username or None,
        "preferred_username": user.preferred_username or None,
        "name": user.name,
        "description": user.description or None,
        "avatar": None,
        "additional_information": user.additional_information or None,
        "permission": PLATFORM_ADMIN if is_platform_admin(user) else 0,
        "accepted_terms_version": user.accepted_terms_version or None,
        "tutorial_completed": user.tutorial_completed,
        "status": "Inactive" if user.disabled else "Active",
        "tier": "Free",
        "total_size": 0,
        "total_llm_price": 0,
        "total_embedding_price": 0,
        "llm_price_tracking_month": None,
        "created_at": user.created_at.replace(microsecond=0),
        "updated_at": user.updated_at.replace(microsecond=0),
    }


def profile_id_of(user_id: str) -> str:
    """Return the id of the profile that every user has."""
    return derived_id("profile", user_id)


def default_profile(user: User, hub: Hub) -> Profile:
    """Return the profile that every user has: the hub's first template, from when they came."""
    template = hub.profiles[0]
    return Profile(
        id=profile_id_of(user.id),
        user_id=user.id,
        name=template.name,
        description=template.description,
        icon=template.icon,
        thumbnail=template.thumbnail,
        interests=template.interests,
        tags=template.tags,
        theme=template.theme,
        bit_ids=template.bits,
        apps=template.apps or (),
        shortcuts=template.shortcuts or (),
        settings=template.settings,
        hub=template.hub,
        hubs=template.hubs,
        created_at=user.created_at.replace(microsecond=0),
        updated_at=user.created_at.replace(microsecond=0),
    )


def shown(user: User, hub: Hub) -> UserShown:
    """Return what others see of a user."""
    allowed, fields = hub.file.lookup, fields_of(user)
    seen = {
        name: fields[name]
        for name in (
            "email", "username", "preferred_username", "name", "additional_information", "description", "created_at",
        )
        if getattr(allowed, name)
    }  # fmt: skip
    return UserShown(id=user.id, **seen)
