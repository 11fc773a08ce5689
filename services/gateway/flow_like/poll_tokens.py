"""What lets whoever started a run follow it for an hour, without any other credential. Pure.

The token is signed with the play's seed, which only the log holds: whoever may read the start command may know it.
"""

import hashlib
import hmac
from typing import NamedTuple

from libs.common import ids
from libs.common.errors import Unauthorized

LIFE_S = 3_600
PREFIX = "plt"
TOKEN_CHARS_MAX = 200
REFUSED = "this poll token does not hold"


class Claim(NamedTuple):
    """What a token says of itself; nothing of it has been checked."""

    company_id: str
    play_id: str
    expires_at: int
    signature: str


def issue(company_id: str, play_id: str, *, seed: str, now_s: int) -> str:
    """Return a token for this play that holds for LIFE_S seconds."""
    expires_at = now_s + LIFE_S
    return f"{PREFIX}.{company_id}.{play_id}.{expires_at}.{_signature(company_id, play_id, expires_at, seed)}"


def claim_of(token: str) -> Claim:
    """Return what a token claims. Raises Unauthorized when it is none."""
    parts = token.split(".") if len(token) <= TOKEN_CHARS_MAX and token.isascii() else []
    if len(parts) != 5 or parts[0] != PREFIX or not (ids.is_id(parts[1]) and ids.is_id(parts[2])):
        raise Unauthorized(REFUSED)
    if not (parts[3].isdigit() and len(parts[3]) <= 12):
        raise Unauthorized(REFUSED)
    return Claim(parts[1], parts[2], int(parts[3]), parts[4])


def check(claim: Claim, *, seed: str, now_s: int) -> None:
    """Raise Unauthorized unless the claim was signed with this seed and still holds."""
    expected = _signature(claim.company_id, claim.play_id, claim.expires_at, seed)
    if not seed or not hmac.compare_digest(claim.signature, expected) or claim.expires_at <= now_s:
        raise Unauthorized(REFUSED)


def _signature(company_id: str, play_id: str, expires_at: int, seed: str) -> str:
    said = f"poll {company_id} {play_id} {expires_at}".encode()
    return hmac.new(seed.encode(), said, hashlib.sha256).hexdigest()
