"""A sign-in through a provider, between its halves: a cookie in the browser that began it, and a mark that it ended.

The cookie holds one secret. State, nonce and PKCE verifier follow from it, each by a hash of its own, so none tells of
another, and nothing has to be kept here until the browser is back (RFC 9700 sections 2.1 and 4.7).
"""

import base64
import hashlib
import hmac
from datetime import datetime

import msgspec

from libs.common import codec, ids, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected
from libs.common.errors import Conflict, Unauthorized
from libs.common.messages.grant import EVERYBODY, AttemptUsed
from libs.common.messages.module import SYSTEM
from services.gateway.digests import digest_of

COOKIE = "signin"
PATH = "/api/v1/oauth"
ATTEMPT_S_MAX = 600
COOKIE_CHARS_MAX = 4_096
REFUSED = "this sign-in was not begun in this browser, or is over; begin again"


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """What the browser keeps; whoever changes it only misleads themself."""

    secret: str
    provider: str
    begun_at: datetime
    redirect_uri: str = ""
    state: str = ""

    def derived(self, use: str) -> str:
        """Return 256 bits that only this secret gives for this use, URL-safe."""
        digest = hmac.digest(self.secret.encode(), use.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def cookie_of(attempt: Attempt, *, secure: bool) -> str:
    """Return the cookie that carries an attempt; it comes back from the provider's page, so it cannot be strict."""
    value = base64.urlsafe_b64encode(msgspec.json.encode(attempt)).decode()
    return _cookie(value, ATTEMPT_S_MAX, secure=secure)


def no_cookie(*, secure: bool) -> str:
    """Return the cookie that takes an attempt from the browser."""
    return _cookie("", 0, secure=secure)


def attempt_of(cookie: str, provider: str, state: str, *, now: datetime) -> Attempt:
    """Return the attempt that the browser began. Raises Unauthorized when it is not this one, or over."""
    try:
        data = base64.urlsafe_b64decode(cookie[:COOKIE_CHARS_MAX].encode())
        attempt = msgspec.json.decode(data, type=Attempt)
    except (ValueError, msgspec.DecodeError) as error:
        raise Unauthorized(REFUSED) from error
    same = hmac.compare_digest(attempt.derived("state").encode(), state.encode("utf-8", "replace"))
    if not same or attempt.provider != provider or attempt.begun_at.tzinfo is None:
        raise Unauthorized(REFUSED)
    if not 0 <= (now - attempt.begun_at).total_seconds() <= ATTEMPT_S_MAX:
        raise Unauthorized(REFUSED)
    return attempt


async def use_up(bus: Bus, attempt: Attempt, *, now: datetime) -> None:
    """Let an attempt end once and never again, at whatever gateway. Raises Unauthorized the second time."""
    digest = digest_of(attempt.derived("state"))
    subject = subjects.definition("attempt", EVERYBODY, digest)
    id = ids.commit_id()
    context = codec.Context(source=codec.source_of(SYSTEM), subject=digest)
    body = codec.encode_message(AttemptUsed(at=now, provider=attempt.provider), id=id, context=context)
    headers = {"Nats-TTL": f"{ATTEMPT_S_MAX + 60}s"}
    try:
        await bus.append(
            subject, body, id=id, expected=Expected(subject, 0), headers=headers, deadline_s=APPEND_DEADLINE_S
        )
    except Conflict as error:
        raise Unauthorized(REFUSED) from error


def _cookie(value: str, max_age_s: int, *, secure: bool) -> str:
    parts = [f"{COOKIE}={value}", f"Path={PATH}", "HttpOnly", "SameSite=Lax", f"Max-Age={max_age_s}"]
    return "; ".join([*parts, "Secure"] if secure else parts)
