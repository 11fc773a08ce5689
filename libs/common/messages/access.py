"""Who may do what: companies, users, sessions (spec flow8 sections 4, 19 and 20)."""

from datetime import datetime
from typing import Literal

import msgspec

from libs.common.messages.origin import Fact, Origin

Role = Literal["admin", "editor", "operator", "viewer"]
Permission = Literal["read", "run", "edit", "administer"]

PERMISSIONS: dict[str, tuple[Permission, ...]] = {
    "admin": ("read", "run", "edit", "administer"),
    "editor": ("read", "run", "edit"),
    "operator": ("read", "run"),
    "viewer": ("read",),
}


class Company(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A tenant: everything people define and run belongs to exactly one."""

    id: str
    name: str
    created_at: datetime


class User(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A person; `password` is the argon2id hash, encrypted (D14), never shown by any API."""

    id: str
    company_id: str
    email: str
    name: str
    role: Role
    created_at: datetime
    updated_at: datetime
    disabled: bool = False
    password: str = ""
    # Sessions opened before are over: the password was changed since.
    sessions_after: datetime | None = None
    # What the user says of themself (spec flow-like section 4.1).
    username: str = ""
    preferred_username: str = ""
    description: str = ""
    additional_information: str = ""
    accepted_terms_version: str = ""
    tutorial_completed: bool = False
    # Somebody whom we trust has seen that the mailbox is theirs.
    email_verified: bool = False


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An open login; stored under the SHA-256 of its id, gone when it expires."""

    user_id: str
    company_id: str
    email: str
    name: str
    role: Role
    opened_at: datetime
    expires_at: datetime


# ── events ──────────────────────────────────────────────────────────────────────────────────────────


class AccessEvent(Fact, frozen=True, kw_only=True):
    """A fact about access."""


class CompanyCreated(AccessEvent, frozen=True, kw_only=True):
    """A company was created."""

    company: Company


class UserCreated(AccessEvent, frozen=True, kw_only=True):
    """A user was created."""

    user: User


class UserUpdated(AccessEvent, frozen=True, kw_only=True):
    """A user was changed."""

    user: User


class SessionOpened(AccessEvent, frozen=True, kw_only=True):
    """Somebody logged in."""

    session: Session


class SessionClosed(AccessEvent, frozen=True, kw_only=True):
    """Somebody logged out."""


class SessionRefused(AccessEvent, frozen=True, kw_only=True):
    """Somebody tried to log in as the user `by`, and failed."""


class NameClaimed(AccessEvent, frozen=True, kw_only=True):
    """A unique name now belongs to an aggregate; the first append on its subject wins."""

    owner_id: str


# ── requests to the store ───────────────────────────────────────────────────────────────────────────


class LogIn(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="session.open"):
    """Check a password and open a session under this digest (core request on `cmd.session`)."""

    at: datetime
    email: str
    password: str
    digest: str
    ttl_s: float
    origin: Origin = Origin()


class LogOut(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type", tag="session.close"
):
    """Close the session under this digest."""

    at: datetime
    digest: str
    origin: Origin = Origin()


AnySessionCommand = LogIn | LogOut
