"""The rules for personal access tokens (spec flow-like section 4.1)."""

import msgspec

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.pat import PERMISSION_BITS, IssuePat, Pat, PatIssued, PatRevoked, RevokePat
from services.store.domain import fields as check
from services.store.domain.access import check_digest


def issued(command: IssuePat, pat: Pat | None) -> PatIssued:
    """Return the event that makes a token. Raises Invalid naming the field, Refused when the id is taken."""
    if pat is not None:
        raise Refused(f"there is a token {command.pat_id} already")
    check_digest(command.digest)
    if command.permissions < 1 or command.permissions & ~PERMISSION_BITS:
        raise Invalid(f"permissions must be made of the bits of {PERMISSION_BITS}")
    if command.valid_until is not None and command.valid_until <= command.at:
        raise Invalid("valid_until must be in the future")
    made = Pat(
        id=command.pat_id,
        company_id=command.company_id,
        user_id=command.by,
        name=check.name(command.name),
        digest=command.digest,
        permissions=command.permissions,
        created_at=command.at,
        valid_until=command.valid_until,
    )
    return PatIssued(at=command.at, by=command.by, origin=command.origin, pat=made)


def revoked(command: RevokePat, pat: Pat | None) -> PatRevoked | None:
    """Return the event after which a token holds no longer, None when it does not already.

    Raises NotFound when there is none, or it belongs to somebody else.
    """
    if pat is None or pat.user_id != command.by or pat.company_id != command.company_id:
        raise NotFound(f"there is no token {command.pat_id[:80]}")
    if pat.revoked:
        return None
    ended = msgspec.structs.replace(pat, revoked=True)
    return PatRevoked(at=command.at, by=command.by, origin=command.origin, pat=ended)
