"""Which credential a request brings along, and of which kind (spec flow-like sections 2.1 and 11.2)."""

from typing import Literal, NamedTuple

import jwt
from aiohttp import web

from libs.common.errors import Unauthorized
from libs.common.messages.token_key import ALGORITHM
from services.gateway import app_keys, pats

Kind = Literal["access", "pat", "app", "key"]
APP_KEY_HEADER = "X-API-Key"
TOKEN_CHARS_MAX = 4_096
# What may stand before a token; a token may also stand alone.
_SCHEMES = frozenset({"bearer", "pat"})


class Credential(NamedTuple):
    """A token and what kind it claims to be; nothing of it has been checked."""

    kind: Kind
    token: str


def credential_of(request: web.BaseRequest) -> Credential | None:
    """Return the credential in a request's headers, None when there is none.

    Raises Unauthorized for a scheme that nobody knows.
    """
    authorization = request.headers.get("Authorization")
    if authorization is None:
        key = request.headers.get(APP_KEY_HEADER)
        return None if key is None else classified(key.strip())
    first, _, rest = authorization.strip().partition(" ")
    if not rest:
        return classified(first)
    if first.lower() not in _SCHEMES:
        raise Unauthorized("this credential does not hold")
    return classified(rest.strip())


def classified(token: str) -> Credential:
    """Return a token with the kind that its looks say."""
    if token.startswith(pats.PREFIX):
        return Credential("pat", token)
    if token.startswith(app_keys.PREFIX):
        return Credential("app", token)
    # Each kind is then checked with its own keys and its own algorithm, whatever the token says.
    return Credential("access" if _algorithm(token) == ALGORITHM else "key", token)


def _algorithm(token: str) -> str:
    if len(token) > TOKEN_CHARS_MAX or not token.isascii():
        return ""
    try:
        return str(jwt.get_unverified_header(token).get("alg", ""))
    except jwt.PyJWTError:
        return ""
