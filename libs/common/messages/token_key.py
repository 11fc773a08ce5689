"""The keys that access tokens are signed with (ES256, RFC 7518 section 3.4): public halves, and private ones sealed."""

from datetime import datetime

import msgspec

from libs.common.messages.origin import Fact

RING = "ring"
# Of what the store signs and gateways check (spec flow-like sections 2.4 and 11.3; RFC 9068).
ALGORITHM = "ES256"
ISSUER = "flow-like"
AUDIENCE = "flow-like-api"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - the name of a media type


class TokenKey(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A P-256 key; `x` and `y` are as in a JWK, `sealed` is the private half as PEM, encrypted (D14).

    It is published at once, signs from `signs_from` on, and is dropped when `verifies_until` has passed.
    """

    id: str
    x: str
    y: str
    sealed: str
    made_at: datetime
    signs_from: datetime
    verifies_until: datetime | None = None


class TokenKeysChanged(Fact, frozen=True, kw_only=True):
    """The keys that hold now, the oldest first (on `evt.tokenkey.system.ring`)."""

    keys: tuple[TokenKey, ...]
