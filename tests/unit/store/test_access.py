"""The rules for users, groups and API keys: what is refused by name, and what an admin cannot undo."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.access import User
from libs.common.messages.group import CreateGroup, DeleteGroup, Group, GroupFields, UpdateGroup
from libs.common.messages.key import IssueKey, RevokeKey
from libs.common.messages.origin import Origin
from libs.common.messages.user import CreateUser, ResetPassword, UpdateUser, UserFields
from services.store.domain import group as groups
from services.store.domain import key as keys
from services.store.domain import user as users

T0 = datetime(2026, 1, 2, tzinfo=UTC)
T1 = T0 + timedelta(minutes=1)
COMPANY, USER, OTHER, KEY, GROUP = "c" * 24, "d" * 24, "e" * 24, "a" * 24, "b" * 24
ASKED: dict[str, Any] = {
    "id": "x",
    "at": T1,
    "company_id": COMPANY,
    "by": USER,
    "origin": Origin(ip="192.0.2.1"),
}


def a_user(id: str = USER, **fields: Any) -> User:
    given: dict[str, Any] = {"email": f"{id}@x.test", "name": "Ada", "role": "admin"} | fields
    return User(id=id, company_id=COMPANY, created_at=T0, updated_at=T0, password="sealed", **given)


def update(user: User | None, everybody: tuple[User, ...] = (), **fields: Any) -> User:
    command = UpdateUser(**ASKED, user_id=USER, fields=UserFields(**fields))
    return users.updated(command, user, everybody).user


def test_a_user_is_made_with_what_was_given() -> None:
    command = CreateUser(**ASKED, email=" Ada@x.test ", name="", role="operator", password="unused here")
    event = users.created(command, None, user_id=USER, sealed="sealed")
    assert (event.by, event.at, event.origin) == (USER, T1, Origin(ip="192.0.2.1"))
    assert (event.user.email, event.user.name, event.user.role) == ("Ada@x.test", "Ada", "operator")
    with pytest.raises(Refused) as caught:
        users.created(command, event.user, user_id=USER, sealed="sealed")
    assert caught.value.code == "EMAIL_TAKEN"


@pytest.mark.parametrize("email", ["", "x", "@x", "x@", "a b@x", "a\n@x", "a\u200b@x", "x" * 250 + "@x.test"])
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(Invalid, match=r"^email"):
        users.email_of(email)


def test_a_change_leaves_what_it_does_not_name() -> None:
    changed = update(a_user(role="viewer"), name="Grace")
    assert changed == msgspec.structs.replace(a_user(role="viewer"), name="Grace", updated_at=T1)


@pytest.mark.parametrize("change", [{"role": "editor"}, {"disabled": True}])
def test_the_last_admin_stays_one(change: dict[str, Any]) -> None:
    others = (a_user(OTHER, disabled=True), a_user(KEY, role="editor"))
    for everybody in ((), (a_user(),), (a_user(), *others)):
        with pytest.raises(Refused) as caught:
            update(a_user(), everybody, **change)
        assert caught.value.code == "LAST_ADMIN"
    assert not users.is_admin(update(a_user(), (a_user(), a_user(OTHER)), **change))


def test_only_what_unmakes_an_admin_needs_to_know_the_others() -> None:
    def needs(user: User | None, **fields: Any) -> bool:
        return users.takes_admin(UpdateUser(**ASKED, user_id=USER, fields=UserFields(**fields)), user)

    assert needs(a_user(), role="viewer")
    assert needs(a_user(), disabled=True)
    assert not needs(a_user(), name="x", role="admin", disabled=False)
    assert not needs(a_user(role="editor"), role="viewer", disabled=True)
    assert not needs(a_user(disabled=True), role="viewer")
    assert not needs(None, role="viewer")


def test_a_new_password_ends_the_sessions_before_it() -> None:
    command = ResetPassword(**ASKED, user_id=USER, password="unused here")
    changed = users.password_changed(command, a_user(), USER, "sealed anew").user
    assert (changed.password, changed.sessions_after) == ("sealed anew", T1)
    with pytest.raises(NotFound):
        users.password_changed(command, None, USER, "sealed anew")


@pytest.mark.parametrize("length", [0, 7, 1_025])
def test_a_password_has_a_length(length: int) -> None:
    with pytest.raises(Invalid, match=r"^newPassword"):
        users.check_password("x" * length, "newPassword")


def a_key(**fields: Any) -> Any:
    command = IssueKey(**ASKED, key_id=KEY, **({"name": "ci", "scopes": ("standard",)} | fields))
    return keys.issued(command, None).key


def test_a_key_belongs_to_who_made_it_and_names_scopes_once() -> None:
    key = a_key(scopes=("mcp", "standard", "mcp"))
    assert (key.user_id, key.company_id, key.issued_at, key.revoked) == (USER, COMPANY, T1, False)
    assert key.scopes == ("standard", "mcp")


@pytest.mark.parametrize("fields", [{"name": " "}, {"scopes": ()}, {"scopes": ("standard", "root")}])
def test_what_is_no_key_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        a_key(**fields)


def test_a_key_is_revoked_by_its_user_or_an_admin_once() -> None:
    mine = RevokeKey(**ASKED, key_id=KEY)
    event = keys.revoked(mine, a_key())
    assert event is not None
    assert event.key.revoked
    assert keys.revoked(mine, event.key) is None
    theirs = msgspec.structs.replace(mine, by=OTHER)
    with pytest.raises(NotFound):
        keys.revoked(theirs, a_key())
    assert keys.revoked(msgspec.structs.replace(theirs, any_owner=True), a_key()) is not None


def a_group(index: int = 0, *, deleted: bool = False) -> Group:
    return Group(
        id=GROUP, company_id=COMPANY, name="G", index=index, created_at=T0, updated_at=T0, deleted=deleted
    )


def test_a_new_group_comes_behind_those_that_are_there() -> None:
    command = CreateGroup(**ASKED, group_id=GROUP, fields=GroupFields(name="New"))
    assert groups.created(command, None, ()).group.index == 0
    others = (a_group(4), a_group(9, deleted=True))
    assert groups.created(command, None, others).group.index == 5


def test_a_deleted_group_is_not_there() -> None:
    event = groups.deleted(DeleteGroup(**ASKED, group_id=GROUP), a_group())
    assert event.group.deleted
    for known in (event.group, None):
        with pytest.raises(NotFound):
            groups.updated(UpdateGroup(**ASKED, group_id=GROUP, fields=GroupFields(name="x")), known)
