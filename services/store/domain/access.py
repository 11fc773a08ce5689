"""The rules for companies, users and sessions (spec flow8 sections 4, 19 and 20; Q28)."""

from datetime import datetime, timedelta

import msgspec

from libs.common.errors import Invalid
from libs.common.ids import derived_id
from libs.common.messages.access import (
    Company,
    CompanyCreated,
    LogIn,
    Session,
    SessionOpened,
    User,
    UserCreated,
    UserUpdated,
)

# The environment's company and admin have the same ids in every store, so that seeding twice is harmless.
FIRST_COMPANY_ID = derived_id("company", "first")
DIGEST_HEX_CHARS = 64
SESSION_S_MAX = 31 * 86_400.0
EMAIL_CHARS_MAX = 254
PASSWORD_CHARS_MIN = 8


def admin_id(email: str) -> str:
    """Return the id of the admin that the environment names."""
    return user_id_of(FIRST_COMPANY_ID, email)


def user_id_of(company_id: str, email: str) -> str:
    """Return the id of a company's user: always the same for an email, so that two cannot be made of one."""
    return derived_id("user", company_id, email.strip().lower())


def check_admin(email: str, password: str) -> None:
    """Raise Invalid when the environment's admin could not log in with this."""
    if "@" not in email or len(email) > EMAIL_CHARS_MAX:
        raise Invalid("HEADRACE_ADMIN_EMAIL must be an email address")
    if len(password) < PASSWORD_CHARS_MIN:
        raise Invalid(f"HEADRACE_ADMIN_PASSWORD must hold at least {PASSWORD_CHARS_MIN} characters")


def first_company(name: str, *, at: datetime) -> CompanyCreated:
    """Return the event that creates the environment's company."""
    return CompanyCreated(at=at, company=Company(id=FIRST_COMPANY_ID, name=name, created_at=at))


def first_admin(email: str, sealed_password: str, *, at: datetime) -> UserCreated:
    """Return the event that creates the environment's admin."""
    email = email.strip()
    user = User(
        id=admin_id(email),
        company_id=FIRST_COMPANY_ID,
        email=email,
        name=email.partition("@")[0],
        role="admin",
        created_at=at,
        updated_at=at,
        password=sealed_password,
    )
    return UserCreated(at=at, user=user)


def admin_restored(user: User, sealed_password: str, *, at: datetime) -> UserUpdated:
    """Return the event after which the environment's admin can log in with the environment's password."""
    changed = msgspec.structs.replace(
        user, password=sealed_password, role="admin", disabled=False, updated_at=at
    )
    return UserUpdated(at=at, user=changed)


def check_digest(digest: str) -> None:
    """Raise Invalid when this is not the SHA-256 of a session id in hex."""
    if len(digest) != DIGEST_HEX_CHARS or any(c not in "0123456789abcdef" for c in digest):
        raise Invalid("digest must be a SHA-256 in hexadecimal")


def session_opened(command: LogIn, user: User) -> SessionOpened:
    """Return the event that opens a session. Raises Invalid when its length is out of bounds."""
    if not 1 <= command.ttl_s <= SESSION_S_MAX:
        raise Invalid(f"ttlS must be from 1 to {SESSION_S_MAX:g} seconds")
    session = Session(
        user_id=user.id,
        company_id=user.company_id,
        email=user.email,
        name=user.name,
        role=user.role,
        opened_at=command.at,
        expires_at=command.at + timedelta(seconds=command.ttl_s),
    )
    return SessionOpened(at=command.at, by=user.id, origin=command.origin, session=session)
