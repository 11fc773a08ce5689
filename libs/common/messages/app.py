"""Apps: groups of flows as the second surface sees them, with members, roles and what is published of them.

An app has the id of its group, and the group's name; a flow of the group is a board of the app (spec flow-like
sections 2.2, 5 and 11.3).
"""

from datetime import datetime
from enum import IntFlag
from typing import Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.flow import Flow
from libs.common.messages.origin import Fact, Wish

Visibility = Literal["Public", "PublicRequestAccess", "Private", "Prototype", "Offline"]
Status = Literal["Active", "Inactive", "Archived"]
ExecutionMode = Literal["Any", "Local", "Remote"]
PublicationStatus = Literal["PENDING", "ON_HOLD", "ACCEPTED", "REJECTED"]
Category = Literal[
    "Other", "Productivity", "Social", "Entertainment", "Education", "Health", "Finance", "Lifestyle", "Travel", "News",
    "Sports", "Shopping", "FoodAndDrink", "Music", "Photography", "Utilities", "Weather", "Games", "Business",
    "Communication", "Anime",
]  # fmt: skip
CATEGORIES: tuple[str, ...] = get_args(Category)
LISTED = frozenset({"Public", "PublicRequestAccess"})
LANGUAGE = "en"


class Bit(IntFlag):
    """What a role may (section 2.2)."""

    OWNER = 1
    ADMIN = 2
    READ_TEAM = 4
    READ_ROLES = 8
    READ_FILES = 16
    WRITE_FILES = 32
    INVOKE_API = 64
    WRITE_META = 128
    READ_BOARDS = 256
    EXECUTE_BOARDS = 512
    WRITE_BOARDS = 1024
    LIST_EVENTS = 2048
    READ_EVENTS = 4096
    EXECUTE_EVENTS = 8192
    WRITE_EVENTS = 16384
    READ_LOGS = 32768
    READ_ANALYTICS = 65536
    READ_CONFIG = 131072
    WRITE_CONFIG = 262144
    READ_TEMPLATES = 524288
    WRITE_TEMPLATES = 1048576
    READ_COURSES = 2097152
    WRITE_COURSES = 4194304
    READ_WIDGETS = 8388608
    WRITE_WIDGETS = 16777216
    WRITE_ROUTES = 33554432


EVERYTHING = sum(Bit)
USER_BITS = Bit.READ_TEMPLATES | Bit.EXECUTE_EVENTS | Bit.LIST_EVENTS


def holds(bits: int, wanted: int) -> bool:
    """Tell whether a role of these bits may what any of the wanted bits allows; owners and admins may everything."""
    return bool(bits & (Bit.OWNER | Bit.ADMIN | wanted))


class Meta(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is told of an app in one language."""

    name: str
    description: str = ""
    long_description: str | None = None
    release_notes: str | None = None
    tags: tuple[str, ...] = ()
    use_case: str | None = None
    icon: str | None = None
    thumbnail: str | None = None
    preview_media: tuple[str, ...] = ()
    age_rating: int | None = None
    website: str | None = None
    support_url: str | None = None
    docs_url: str | None = None
    created_at: datetime
    updated_at: datetime


class Role(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What its members may; `permissions` is a sum of bits."""

    id: str
    name: str
    permissions: int
    description: str | None = None
    attributes: tuple[str, ...] = ()


class Member(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A user of the app's company who takes part, and as what."""

    user_id: str
    role_id: str
    joined_at: datetime


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Somebody who wants to take part."""

    id: str
    user_id: str
    at: datetime
    message: str = ""


class Publication(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A wish to be listed, and what became of it; its snapshot has its id."""

    id: str
    visibility: Visibility
    status: PublicationStatus
    at: datetime
    by: str
    message: str = ""
    decided_by: str = ""
    decided_at: datetime | None = None


class App(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole of an app, as each of its events carries it; `language` is the one that the group's name is in."""

    id: str
    company_id: str
    created_at: datetime
    updated_at: datetime
    status: Status = "Active"
    visibility: Visibility = "Private"
    language: str = LANGUAGE
    meta: dict[str, Meta] = {}
    roles: tuple[Role, ...] = ()
    default_role_id: str = ""
    members: tuple[Member, ...] = ()
    queue: tuple[JoinRequest, ...] = ()
    publications: tuple[Publication, ...] = ()
    # The publication whose snapshot the store hands out.
    published_id: str = ""
    primary_category: Category | None = None
    secondary_category: Category | None = None
    execution_mode: ExecutionMode = "Any"
    version: str | None = None
    changelog: str | None = None
    price: int = 0
    bits: tuple[str, ...] = ()
    installed_from: str = ""
    deleted: bool = False


class AppFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What owners and admins set on an app; what is unset stays as it is. `price` in cents."""

    status: Status | UnsetType = UNSET
    version: str | None | UnsetType = UNSET
    changelog: str | None | UnsetType = UNSET
    price: int | None | UnsetType = UNSET
    primary_category: Category | None | UnsetType = UNSET
    secondary_category: Category | None | UnsetType = UNSET
    execution_mode: ExecutionMode | UnsetType = UNSET


class MetaFields(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is told of an app in one language; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    description: str | None | UnsetType = UNSET
    long_description: str | None | UnsetType = UNSET
    release_notes: str | None | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    use_case: str | None | UnsetType = UNSET
    icon: str | None | UnsetType = UNSET
    thumbnail: str | None | UnsetType = UNSET
    preview_media: tuple[str, ...] | UnsetType = UNSET
    age_rating: int | None | UnsetType = UNSET
    website: str | None | UnsetType = UNSET
    support_url: str | None | UnsetType = UNSET
    docs_url: str | None | UnsetType = UNSET


# ── commands (core requests on `cmd.app`) ───────────────────────────────────────────────────────────


class AppCommand(Wish, frozen=True, kw_only=True):
    """A wish about an app; `administers` says that `by` administers the company."""

    app_id: str
    administers: bool = False


class CreateApp(AppCommand, frozen=True, kw_only=True, tag="app.create"):
    """Make an app and its group; at most `hidden_max` of a user's apps are not listed, -1 is any number."""

    fields: AppFields
    meta: MetaFields
    language: str = LANGUAGE
    bits: tuple[str, ...] = ()
    hidden_max: int = -1
    installed_from: str = ""


class UpdateApp(AppCommand, frozen=True, kw_only=True, tag="app.update"):
    """Change fields of an app, and what is told of it in one language."""

    fields: AppFields
    meta: MetaFields
    language: str = LANGUAGE


class DeleteApp(AppCommand, frozen=True, kw_only=True, tag="app.delete"):
    """Delete an app, its boards and its group."""


class SetVisibility(AppCommand, frozen=True, kw_only=True, tag="app.visibility"):
    """Let others see an app, or not; with `review` an admin of the installation decides on what is published."""

    visibility: Visibility
    publication_id: str
    review: bool = False


class PutRole(AppCommand, frozen=True, kw_only=True, tag="app.role.put"):
    """Make or change a role."""

    role_id: str
    name: str
    permissions: int
    description: str | None = None
    attributes: tuple[str, ...] = ()


class DeleteRole(AppCommand, frozen=True, kw_only=True, tag="app.role.delete"):
    """Delete a role; who had it has the default role."""

    role_id: str


class SetDefaultRole(AppCommand, frozen=True, kw_only=True, tag="app.role.default"):
    """Let those who join have this role."""

    role_id: str


class AssignRole(AppCommand, frozen=True, kw_only=True, tag="app.role.assign"):
    """Give a member a role; the owner's is handed over."""

    role_id: str
    user_id: str


class InviteMember(AppCommand, frozen=True, kw_only=True, tag="app.member.invite"):
    """Let a user of the company take part."""

    user_id: str


class RemoveMember(AppCommand, frozen=True, kw_only=True, tag="app.member.remove"):
    """Let a member take part no longer."""

    user_id: str


class JoinApp(AppCommand, frozen=True, kw_only=True, tag="app.join"):
    """Take part in a listed app, or ask to."""

    request_id: str
    message: str = ""


class AnswerJoin(AppCommand, frozen=True, kw_only=True, tag="app.join.answer"):
    """Let somebody who asked take part, or not."""

    request_id: str
    accept: bool


class DecidePublication(AppCommand, frozen=True, kw_only=True, tag="app.publication.decide"):
    """Decide on a publication; `company_id` is that of whoever decides."""

    publication_id: str
    status: PublicationStatus
    message: str = ""


class InstallApp(AppCommand, frozen=True, kw_only=True, tag="app.install"):
    """Copy what is published of the app `item_id` into a new app `app_id` of the caller's company."""

    item_id: str
    hidden_max: int = -1


AnyAppCommand = (
    CreateApp | UpdateApp | DeleteApp | SetVisibility | PutRole | DeleteRole | SetDefaultRole | AssignRole
    | InviteMember | RemoveMember | JoinApp | AnswerJoin | DecidePublication | InstallApp
)  # fmt: skip


# ── events (on `evt.app.<company>.<id>` and `evt.snapshot.<company>.<publication>`) ─────────────────


class AppEvent(Fact, frozen=True, kw_only=True):
    """A fact about an app, with the whole of it."""

    app: App


class AppCreated(AppEvent, frozen=True, kw_only=True):
    """An app was made."""


class AppUpdated(AppEvent, frozen=True, kw_only=True):
    """An app was changed; `change` is the kind of command that did it."""

    change: str = ""


class AppDeleted(AppEvent, frozen=True, kw_only=True):
    """An app was deleted."""


class SnapshotTaken(Fact, frozen=True, kw_only=True):
    """What an app was when its publication was asked for: its boards, without what belongs to its company alone."""

    app_id: str
    flows: tuple[Flow, ...] = ()
