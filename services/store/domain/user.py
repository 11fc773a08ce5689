"""The rules for users that admins make and change (spec flow8 section 20)."""

from collections.abc import Iterable
from typing import Any, cast

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.access import PERMISSIONS, Role, User, UserCreated, UserUpdated
from libs.common.messages.origin import Wish
from libs.common.messages.user import CreateUser, UpdateUser
from services.store.domain import fields as check
from services.store.domain.access import EMAIL_CHARS_MAX, PASSWORD_CHARS_MIN

PASSWORD_CHARS_MAX = 1_024


def email_of(text: str) -> str:
    """Return an email address without space around it. Raises Invalid when it is none."""
    email = check.text(text, "email", chars_max=EMAIL_CHARS_MAX).strip()
    name, at, host = email.rpartition("@")
    if not (name and at and host) or any(c.isspace() or not c.isprintable() for c in email):
        raise Invalid("email must be an email address")
    return email


def check_password(text: str, field: str = "password") -> None:
    """Raise Invalid when this is too short or too long for a password."""
    if not PASSWORD_CHARS_MIN <= len(text) <= PASSWORD_CHARS_MAX:
        raise Invalid(f"{field} must hold {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")


def role_of(text: str) -> Role:
    """Return a role. Raises Invalid when there is no such role."""
    return cast("Role", check.one_of(text, "role", tuple(PERMISSIONS)))


def created(command: CreateUser, known: User | None, *, user_id: str, sealed: str) -> UserCreated:
    """Return the event that makes a user. Raises Invalid naming the field, Refused (EMAIL_TAKEN)."""
    email = email_of(command.email)
    if known is not None:
        raise taken(email)
    user = User(
        id=user_id,
        company_id=command.company_id,
        email=email,
        name=check.name(command.name) if command.name else email.partition("@")[0],
        role=role_of(command.role),
        created_at=command.at,
        updated_at=command.at,
        password=sealed,
        username=command.username,
        email_verified=command.email_verified,
    )
    return UserCreated(at=command.at, by=command.by, origin=command.origin, user=user)


def taken(email: str) -> Refused:
    """Return the refusal of an email that another user has."""
    return Refused(f"email {email} belongs to another user", code="EMAIL_TAKEN")


def updated(command: UpdateUser, known: User | None, everybody: Iterable[User]) -> UserUpdated:
    """Return the event that changes a user; `everybody` are the users of the company.

    Raises NotFound (USER_NOT_FOUND), Invalid naming the field, Refused (LAST_ADMIN).
    """
    user = found(known, command.user_id)
    given = command.fields
    new: dict[str, Any] = {}
    if given.name is not UNSET:
        new["name"] = check.name(given.name)
    if given.role is not UNSET:
        new["role"] = role_of(given.role)
    if given.disabled is not UNSET:
        new["disabled"] = check.boolean(given.disabled, "disabled")
    made = msgspec.structs.replace(user, **new, updated_at=command.at)
    others = (other for other in everybody if other.id != user.id)
    if is_admin(user) and not is_admin(made) and not any(map(is_admin, others)):
        raise Refused(f"{user.email} is the last admin: make another one first", code="LAST_ADMIN")
    return UserUpdated(at=command.at, by=command.by, origin=command.origin, user=made)


def takes_admin(command: UpdateUser, known: User | None) -> bool:
    """Tell whether a command may leave its company without an admin."""
    given = command.fields
    lowered = given.role is not UNSET and given.role != "admin"
    return known is not None and is_admin(known) and (lowered or given.disabled is True)


def password_changed(command: Wish, known: User | None, user_id: str, sealed: str) -> UserUpdated:
    """Return the event that gives a user another password and ends the sessions opened before.

    Raises NotFound (USER_NOT_FOUND).
    """
    user = found(known, user_id)
    made = msgspec.structs.replace(user, password=sealed, updated_at=command.at, sessions_after=command.at)
    return UserUpdated(at=command.at, by=command.by, origin=command.origin, user=made)


def found(known: User | None, user_id: str) -> User:
    """Return the user. Raises NotFound (USER_NOT_FOUND) when there is none."""
    if known is None:
        raise NotFound(f"there is no user {user_id[:80]}", code="USER_NOT_FOUND")
    return known


def is_admin(user: User) -> bool:
    """Tell whether a user may administer the company now."""
    return user.role == "admin" and not user.disabled
