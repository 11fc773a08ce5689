"""Groups: how people sort their flows, and a scope of KV entries (spec flow8 section 5.3)."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from libs.common.messages.origin import Fact, Wish
from libs.common.messages.query import Page, Query


class Group(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A group of flows; `index` is its place where groups are shown."""

    id: str
    company_id: str
    name: str
    index: int
    created_at: datetime
    updated_at: datetime
    deleted: bool = False


class GroupView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A group as the API shows it."""

    id: str
    company_id: str
    name: str
    index: int
    created_at: datetime
    updated_at: datetime


class GroupFields(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What a caller may set on a group; what is unset stays as it is."""

    name: str | UnsetType = UNSET
    index: int | UnsetType = UNSET


class CreateGroup(Wish, frozen=True, kw_only=True, tag="group.create"):
    """Make a group."""

    group_id: str
    fields: GroupFields


class UpdateGroup(Wish, frozen=True, kw_only=True, tag="group.update"):
    """Change fields of a group."""

    group_id: str
    fields: GroupFields


class DeleteGroup(Wish, frozen=True, kw_only=True, tag="group.delete"):
    """Delete a group: its flows stay, without a group, and its KV entries go."""

    group_id: str


AnyGroupCommand = CreateGroup | UpdateGroup | DeleteGroup


class ListGroups(Query, frozen=True, kw_only=True, tag="group.list"):
    """Groups of a company, by index."""

    page: Page = Page()


class GetGroup(Query, frozen=True, kw_only=True, tag="group.get"):
    """One group."""

    group_id: str


AnyGroupQuery = ListGroups | GetGroup


class GroupEvent(Fact, frozen=True, kw_only=True):
    """A fact about a group, with the whole of it (on `evt.group.<company>.<id>`)."""

    group: Group


class GroupCreated(GroupEvent, frozen=True, kw_only=True):
    """A group was made."""


class GroupUpdated(GroupEvent, frozen=True, kw_only=True):
    """A group was changed."""


class GroupDeleted(GroupEvent, frozen=True, kw_only=True):
    """A group was deleted."""
