"""Access tokens of the second surface: checked with the published keys, without asking anybody.

A token says who somebody is (ES256, RFC 9068). Whether that still counts is looked up in the log, cached and kept
current as sessions are: a grant that was ended, a disabled user and a changed password count within milliseconds.
"""

from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import jwt

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import Unauthorized
from libs.common.messages.access import User
from libs.common.messages.grant import EVERYBODY, Grant, GrantEvent
from libs.common.messages.module import SYSTEM
from libs.common.messages.token_key import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    RING,
    TOKEN_TYPE,
    TokenKey,
    TokenKeysChanged,
)
from services.gateway.latest import Latest
from services.gateway.principal import Principal, of_user

TOKEN_CHARS_MAX = 4_096
TOKENS_MAX = 50_000
GRANTS_MAX = 50_000
LEEWAY_S = 5
REFUSED = "this access token does not hold"
_RING = subjects.definition("tokenkey", SYSTEM, RING)
_REQUIRED = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "sid", "company"]


class _Known(NamedTuple):
    """A caller as of so many changes; a shortcut for the next request."""

    changes: int
    expires_at: datetime
    principal: Principal


class AccessTokens:
    """Tells who is behind an access token."""

    def __init__(self, config: Config, bus: Bus, clock: Clock, users: Latest[User]) -> None:
        replicated = config.replicas > 1
        self._clock = clock
        self._users = users
        self._ring = Latest(bus, "tokenkey", _keys, entries_max=1, replicated=replicated)
        self._grants = Latest(bus, "grant", _grant, entries_max=GRANTS_MAX, replicated=replicated)
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def start(self) -> None:
        """Follow new keys and ended grants."""
        await self._ring.start()
        await self._grants.start()

    async def keys(self) -> tuple[TokenKey, ...]:
        """Return the keys that verify now."""
        now = self._clock.now()
        known = await self._ring.get(_RING) or ()
        return tuple(key for key in known if key.verifies_until is None or now < key.verifies_until)

    async def holder(self, token: str) -> Principal:
        """Return the user that a token stands for, with the user's role of now.

        Raises Unauthorized when it is not ours, over, its grant was ended, or its user is disabled.
        """
        changes = self._ring.changes + self._grants.changes + self._users.changes
        known = self._known.get(token)
        if known is not None and known.changes == changes and self._clock.now() < known.expires_at:
            return known.principal
        claims = await self._claims(token)
        principal = await self._principal(claims)
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        changes = self._ring.changes + self._grants.changes + self._users.changes
        self._known[token] = _Known(changes, expires_at, principal)
        if len(self._known) > TOKENS_MAX:
            self._known.popitem(last=False)
        return principal

    def grant_changed(self, grant_id: str) -> None:
        """Take note that a grant was changed."""
        self._grants.forget(subjects.definition("grant", EVERYBODY, grant_id))

    async def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise Unauthorized(REFUSED)
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") != ALGORITHM or header.get("typ") != TOKEN_TYPE:
                raise Unauthorized(REFUSED)
            key = await self._key(header.get("kid"))
            # The algorithm is ours to choose, not the token's; keys inside a token are never looked at.
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(REFUSED) from error
        return claims

    async def _key(self, kid: Any) -> Any:
        for key in await self.keys():
            if key.id == kid:
                return jwt.PyJWK(jwk_of(key), algorithm=ALGORITHM).key
        raise Unauthorized(REFUSED)

    async def _principal(self, claims: dict[str, Any]) -> Principal:
        user_id, company_id, grant_id = claims["sub"], claims["company"], claims["sid"]
        if not all(isinstance(id, str) and ids.is_id(id) for id in (user_id, company_id, grant_id)):
            raise Unauthorized(REFUSED)
        grant = await self._grants.get(subjects.definition("grant", EVERYBODY, grant_id))
        if grant is None or grant.ended or (grant.user_id, grant.company_id) != (user_id, company_id):
            raise Unauthorized(REFUSED)
        user = await self._users.get(subjects.definition("user", company_id, user_id))
        if user is None or user.disabled:
            raise Unauthorized(REFUSED)
        if user.sessions_after is not None and grant.opened_at < user.sessions_after:
            raise Unauthorized("the password was changed; sign in again")
        return of_user(user, grant_id=grant_id)


def jwk_of(key: TokenKey) -> dict[str, str]:
    """Return the public half of a key as a JWK (RFC 7517)."""
    return {
        "kty": "EC", "crv": "P-256", "x": key.x, "y": key.y, "alg": ALGORITHM, "kid": key.id, "use": "sig",
    }  # fmt: skip


def _keys(envelope: codec.Envelope, _sequence: int) -> tuple[TokenKey, ...]:
    event = envelope.data
    assert isinstance(event, TokenKeysChanged), f"{envelope.type} among keys of tokens"
    return event.keys


def _grant(envelope: codec.Envelope, _sequence: int) -> Grant:
    event = envelope.data
    assert isinstance(event, GrantEvent), f"{envelope.type} among grants"
    return event.grant
