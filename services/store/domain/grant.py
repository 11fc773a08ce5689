"""The rules for grants: refresh tokens that hold once, and what follows when one comes twice (RFC 9700, 4.14)."""

from datetime import datetime, timedelta

import msgspec

from libs.common.errors import Invalid, NotFound
from libs.common.messages.access import User
from libs.common.messages.grant import (
    EndGrant,
    Grant,
    GrantEnded,
    GrantOpened,
    GrantRefreshed,
    Opening,
    Refresh,
)

REFRESH_TTL_S_MAX = 366 * 86_400.0
ACCESS_TTL_S_MAX = 86_400.0


def check_lengths(command: Opening) -> None:
    """Raise Invalid when a token would hold for no time, or for too long."""
    if not 1 <= command.refresh_ttl_s <= REFRESH_TTL_S_MAX:
        raise Invalid(f"refreshTtlS must be from 1 to {REFRESH_TTL_S_MAX:g} seconds")
    if not 1 <= command.access_ttl_s <= ACCESS_TTL_S_MAX:
        raise Invalid(f"accessTtlS must be from 1 to {ACCESS_TTL_S_MAX:g} seconds")


def opened(command: Opening, grant_id: str, user: User) -> GrantOpened:
    """Return the event that opens a grant for a user."""
    grant = Grant(
        id=grant_id,
        company_id=user.company_id,
        user_id=user.id,
        digest=command.digest,
        generation=0,
        opened_at=command.at,
        refreshed_at=command.at,
        expires_at=command.at + timedelta(seconds=command.refresh_ttl_s),
    )
    return GrantOpened(at=command.at, by=user.id, origin=command.origin, grant=grant)


def refreshed(command: Refresh, grant: Grant) -> GrantRefreshed | GrantEnded:
    """Return what the use of a refresh token of this grant leads to.

    Another one; or the end when it is not the one that holds, for then somebody else has used it.
    """
    if grant.digest != command.used:
        ended = msgspec.structs.replace(grant, ended=True)
        return GrantEnded(at=command.at, by=grant.user_id, origin=command.origin, grant=ended, reason="reuse")
    made = msgspec.structs.replace(
        grant,
        digest=command.digest,
        generation=grant.generation + 1,
        refreshed_at=command.at,
        expires_at=command.at + timedelta(seconds=command.refresh_ttl_s),
    )
    return GrantRefreshed(at=command.at, by=grant.user_id, origin=command.origin, grant=made)


def ended(command: EndGrant, grant: Grant | None) -> GrantEnded | None:
    """Return the event after which no token holds, None when that is so already. Raises NotFound for another's."""
    if grant is None or grant.user_id != command.by:
        raise NotFound("there is no such sign-in")
    if grant.ended:
        return None
    made = msgspec.structs.replace(grant, ended=True)
    return GrantEnded(at=command.at, by=command.by, origin=command.origin, grant=made)


def holds(grant: Grant, user: User, *, at: datetime) -> bool:
    """Tell whether a grant may still be refreshed: not ended, not over, and its user's password is the same."""
    after = user.sessions_after
    return not grant.ended and at < grant.expires_at and (after is None or grant.opened_at >= after)
