"""The rules for API keys (spec flow8 section 4)."""

import msgspec

from libs.common.errors import Invalid, NotFound, Refused
from libs.common.messages.key import SCOPES, ApiKey, IssueKey, KeyIssued, KeyRevoked, RevokeKey, Scope
from services.store.domain import fields as check


def issued(command: IssueKey, key: ApiKey | None) -> KeyIssued:
    """Return the event that makes a key. Raises Invalid naming the field, Refused when the id is taken."""
    if key is not None:
        raise Refused(f"there is a key {command.key_id} already")
    made = ApiKey(
        id=command.key_id,
        company_id=command.company_id,
        user_id=command.by,
        name=check.name(command.name),
        scopes=_scopes(command.scopes),
        issued_at=command.at,
    )
    return KeyIssued(at=command.at, by=command.by, origin=command.origin, key=made)


def revoked(command: RevokeKey, key: ApiKey | None) -> KeyRevoked | None:
    """Return the event after which a key holds no longer, None when it does not already.

    Raises NotFound when there is none, or it belongs to somebody else whose keys are not the caller's to end.
    """
    if key is None or not (command.any_owner or key.user_id == command.by):
        raise NotFound(f"there is no API key {command.key_id}", code="API_KEY_NOT_FOUND")
    if key.revoked:
        return None
    ended = msgspec.structs.replace(key, revoked=True)
    return KeyRevoked(at=command.at, by=command.by, origin=command.origin, key=ended)


def _scopes(given: tuple[str, ...]) -> tuple[Scope, ...]:
    if not given:
        raise Invalid(f"scopes must name at least one of {', '.join(SCOPES)}")
    for scope in given:
        check.one_of(scope, "scopes", SCOPES)
    return tuple(scope for scope in SCOPES if scope in given)
