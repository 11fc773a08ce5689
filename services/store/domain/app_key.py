"""The rules for keys of apps (spec flow-like section 4.3)."""

import msgspec

from libs.common.errors import Forbidden, Invalid, NotFound, Refused
from libs.common.messages.app import App, Bit
from libs.common.messages.app_key import AppKey, AppKeyIssued, AppKeyRevoked, IssueAppKey, RevokeAppKey
from services.store.domain import fields as check
from services.store.domain.access import check_digest
from services.store.domain.app import allowed, role_of

DESCRIPTION_CHARS_MAX = 1_000


def issued(command: IssueAppKey, app: App, known: AppKey | None) -> AppKeyIssued:
    """Return the event that makes a key.

    Raises NotFound, Forbidden to all but admins of the app and for the owner's role, Invalid, Refused.
    """
    allowed(app, command.by, Bit.ADMIN)
    if known is not None:
        raise Refused(f"there is a key {command.key_id} already")
    check_digest(command.digest)
    role = role_of(app, command.role_id or app.default_role_id)
    if role.permissions & Bit.OWNER:
        raise Forbidden("a key does not hold the owner's role")
    if command.valid_until is not None and command.valid_until <= command.at:
        raise Invalid("valid_until must be in the future")
    if command.description is not None:
        check.text(command.description, "description", chars_max=DESCRIPTION_CHARS_MAX)
    made = AppKey(
        id=command.key_id,
        app_id=app.id,
        company_id=app.company_id,
        role_id=role.id,
        name=check.name(command.name),
        digest=command.digest,
        created_by=command.by,
        created_at=command.at,
        description=command.description,
        valid_until=command.valid_until,
    )
    return AppKeyIssued(at=command.at, by=command.by, origin=command.origin, key=made)


def revoked(command: RevokeAppKey, app: App, known: AppKey | None) -> AppKeyRevoked | None:
    """Return the event after which a key holds no longer, None when it does not already.

    Raises NotFound, Forbidden to all but admins of the app.
    """
    allowed(app, command.by, Bit.ADMIN)
    if known is None or known.app_id != app.id:
        raise NotFound(f"there is no key {command.key_id[:80]}")
    if known.revoked:
        return None
    ended = msgspec.structs.replace(known, revoked=True)
    return AppKeyRevoked(at=command.at, by=command.by, origin=command.origin, key=ended)
