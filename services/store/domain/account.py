"""The rules for what users say of themselves (spec flow-like sections 4.1 and 11.3)."""

import re
from typing import Any

import msgspec
from msgspec import UNSET

from libs.common.errors import Invalid, Refused
from libs.common.ids import derived_id
from libs.common.messages.access import Company, CompanyCreated, User, UserUpdated
from libs.common.messages.grant import Register, SignInWith
from libs.common.messages.user import AccountFields, UpdateAccount
from services.store.domain import fields as check
from services.store.domain import user as users
from services.store.domain.access import FIRST_COMPANY_ID

USERNAME_CHARS_MIN = 3
USERNAME_CHARS_MAX = 40
DESCRIPTION_CHARS_MAX = 4_000
VERSION_CHARS_MAX = 40
_USERNAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{{USERNAME_CHARS_MIN - 1},{USERNAME_CHARS_MAX - 1}}}")
_LENGTHS = {
    "preferred_username": USERNAME_CHARS_MAX,
    "description": DESCRIPTION_CHARS_MAX,
    "additional_information": DESCRIPTION_CHARS_MAX,
    "accepted_terms_version": VERSION_CHARS_MAX,
}


def company_id_of(email: str) -> str:
    """Return the id of the company of somebody who registers: always the same for an email."""
    return derived_id("company", "of", email.strip().lower())


def company_of(command: Register, email: str) -> CompanyCreated:
    """Return the event that makes the company of somebody who registers."""
    name = command.name.strip() or email.partition("@")[0]
    company = Company(id=company_id_of(email), name=check.name(name), created_at=command.at)
    return CompanyCreated(at=command.at, origin=command.origin, company=company)


def username_of(text: str) -> str:
    """Return a username, which is unique whatever its case. Raises Invalid when it is none."""
    if not _USERNAME.fullmatch(check.text(text, "username")):
        raise Invalid(
            f"username must be {USERNAME_CHARS_MIN} to {USERNAME_CHARS_MAX} letters, digits, dots, hyphens and "
            "underscores, beginning with a letter or digit"
        )
    return text


def username_taken(username: str) -> Refused:
    """Return the refusal of a username that another user has."""
    return Refused(f"username {username} belongs to another user", code="USERNAME_TAKEN")


def may_be_linked(user: User, command: SignInWith) -> bool:
    """Tell whether a provider may vouch for a user by their email alone.

    Only when it has seen that the mailbox is theirs, and so has somebody here: the provider that the account was made
    by, or whoever runs the installation, who makes the users of the first company. Anybody may register an address that
    is not theirs, and wait for its owner.
    """
    return command.email_verified and (user.email_verified or user.company_id == FIRST_COMPANY_ID)


def changed(command: UpdateAccount, known: User | None) -> UserUpdated:
    """Return the event after which the user says this of themself. Raises NotFound, Invalid naming the field."""
    user = users.found(known, command.by)
    made = msgspec.structs.replace(user, **_checked(command.fields), updated_at=command.at)
    return UserUpdated(at=command.at, by=command.by, origin=command.origin, user=made)


def _checked(given: AccountFields) -> dict[str, Any]:
    new: dict[str, Any] = {}
    if given.name is not UNSET:
        new["name"] = check.name(given.name)
    if given.username is not UNSET:
        new["username"] = username_of(given.username)
    for field, chars_max in _LENGTHS.items():
        value = getattr(given, field)
        if value is not UNSET:
            new[field] = check.text(value, field, chars_max=chars_max)
    if given.tutorial_completed is not UNSET:
        new["tutorial_completed"] = check.boolean(given.tutorial_completed, "tutorial_completed")
    return new
