"""The rules for groups of flows (spec flow8 section 5.3)."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.group import (
    CreateGroup,
    DeleteGroup,
    Group,
    GroupCreated,
    GroupDeleted,
    GroupFields,
    GroupUpdated,
    UpdateGroup,
)
from services.store.domain import fields as check

INDEX_MAX = 1_000_000


def created(command: CreateGroup, known: Group | None, others: Iterable[Group]) -> GroupCreated:
    """Return the event that makes a group, the last one unless an index is given. Raises Invalid, Refused."""
    if known is not None:
        raise Refused(f"there is a group {command.group_id} already")
    new = _checked(command.fields)
    if "name" not in new:
        raise Invalid("name is required")
    highest = max((group.index for group in others if not group.deleted), default=-1)
    made = Group(
        id=command.group_id,
        company_id=command.company_id,
        name=new["name"],
        index=new.get("index", min(highest + 1, INDEX_MAX)),
        created_at=command.at,
        updated_at=command.at,
    )
    return GroupCreated(at=command.at, by=command.by, origin=command.origin, group=made)


def updated(command: UpdateGroup, known: Group | None) -> GroupUpdated:
    """Return the event that changes a group. Raises NotFound (GROUP_NOT_FOUND), Invalid naming the field."""
    group = found(known, command.group_id)
    made = msgspec.structs.replace(group, **_checked(command.fields), updated_at=command.at)
    return GroupUpdated(at=command.at, by=command.by, origin=command.origin, group=made)


def deleted(command: DeleteGroup, known: Group | None) -> GroupDeleted:
    """Return the event that deletes a group. Raises NotFound (GROUP_NOT_FOUND)."""
    group = found(known, command.group_id)
    made = msgspec.structs.replace(group, deleted=True, updated_at=command.at)
    return GroupDeleted(at=command.at, by=command.by, origin=command.origin, group=made)


def found(known: Group | None, group_id: str) -> Group:
    """Return the group. Raises NotFound (GROUP_NOT_FOUND) when there is none (any more)."""
    if known is None or known.deleted:
        raise NotFound(f"there is no group {group_id[:80]}", code="GROUP_NOT_FOUND")
    return known


def _checked(given: GroupFields) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if given.name is not UNSET:
        new["name"] = check.name(given.name)
    if given.index is not UNSET:
        new["index"] = check.whole(given.index, "index", high=INDEX_MAX)
    return new
