"""The rules for the keys that access tokens are signed with: which one signs, which still verify, when one is due."""

from datetime import datetime, timedelta

import msgspec

from libs.common.messages.token_key import TokenKey, TokenKeysChanged

# A key signs for so long, and a new one is published so long before it does: readers of the JWKS keep it for a while.
SIGNS_S = 90 * 86_400.0
AHEAD_S = 86_400.0
# The longest access token that a key has signed must outlive its replacement.
OVERLAP_S = 2 * 86_400.0
KEYS_MAX = 8


def signer(keys: tuple[TokenKey, ...], *, at: datetime) -> TokenKey | None:
    """Return the newest key that may sign now, None when there is none."""
    able = [
        key
        for key in keys
        if key.signs_from <= at and (key.verifies_until is None or at < key.verifies_until)
    ]
    return max(able, key=lambda key: key.signs_from, default=None)


def is_due(keys: tuple[TokenKey, ...], *, at: datetime) -> bool:
    """Tell whether another key is to be made: none can sign, or the newest will have signed for long enough."""
    if signer(keys, at=at) is None:
        return True
    newest = max(key.signs_from for key in keys)
    return at >= newest + timedelta(seconds=SIGNS_S - AHEAD_S)


def added(keys: tuple[TokenKey, ...], made: TokenKey, *, at: datetime, at_once: bool) -> TokenKeysChanged:
    """Return the event that publishes a key and lets those before it go in time.

    It signs from tomorrow on, or `at_once` when no other can.
    """
    at_once = at_once or signer(keys, at=at) is None
    begins = at if at_once else at + timedelta(seconds=AHEAD_S)
    until = begins + timedelta(seconds=OVERLAP_S)
    kept = [
        msgspec.structs.replace(key, verifies_until=min(key.verifies_until or until, until))
        for key in keys
        if key.verifies_until is None or key.verifies_until > at
    ]
    return TokenKeysChanged(
        at=at, keys=(*kept[-(KEYS_MAX - 1) :], msgspec.structs.replace(made, signs_from=begins))
    )
