"""Signed requests: is a body from whom it says, and new (authMode `hmac`).

- github: `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 of the body. The scheme knows no time, so none is checked.
- stripe: `Stripe-Signature: t=<unix>,v1=<hex>[,v1=…]`, HMAC-SHA256 of `<t>.<body>`.
- standard-webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<base64>[ v1,…]`, HMAC-SHA256 of
  `<id>.<timestamp>.<body>` under the base64 secret after `whsec_` (https://www.standardwebhooks.com).

Signatures are compared in constant time. What makes a request one that was seen before is returned, so that a replay
within the time that signatures hold starts nothing.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from libs.common.errors import Unauthorized
from libs.common.messages.channel import HmacStyle

SECRET_PREFIX = "whsec_"  # noqa: S105 - how such secrets begin, not one of them
SIGNATURES_MAX = 16
HEADER_CHARS_MAX = 4_096
TIMESTAMP_DIGITS_MAX = 12
REFUSED = "the signature does not hold"
STALE = "the signature's time is not now"


def verify(
    style: HmacStyle, headers: Mapping[str, str], body: bytes, *, secret: str, now_s: float, tolerance_s: int
) -> str:
    """Return what names this delivery, the same when it is replayed; empty where the scheme has no such thing.

    Raises Unauthorized when the signature is missing, wrong, or of another time than now.
    """
    match style:
        case "github":
            return _github(headers, body, secret)
        case "stripe":
            return _stripe(headers, body, secret, now_s=now_s, tolerance_s=tolerance_s)
        case "standard-webhooks":
            return _standard(headers, body, secret, now_s=now_s, tolerance_s=tolerance_s)


def _github(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    given = _header(headers, "X-Hub-Signature-256")
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    _must_match([given], expected)
    return ""


def _stripe(headers: Mapping[str, str], body: bytes, secret: str, *, now_s: float, tolerance_s: int) -> str:
    parts = [part.strip().partition("=") for part in _header(headers, "Stripe-Signature").split(",")]
    stamp = next((value for name, _, value in parts if name == "t"), "")
    _must_be_digits(stamp)
    signed = stamp.encode() + b"." + body
    expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
    _must_match([value for name, _, value in parts if name == "v1"], expected)
    _must_be_now(stamp, now_s=now_s, tolerance_s=tolerance_s)
    return f"{stamp}.{expected}"


def _standard(headers: Mapping[str, str], body: bytes, secret: str, *, now_s: float, tolerance_s: int) -> str:
    delivery, stamp = _header(headers, "webhook-id"), _header(headers, "webhook-timestamp")
    _must_be_digits(stamp)
    signed = f"{delivery}.{stamp}.".encode("utf-8", "surrogateescape") + body
    digest = hmac.new(_decoded(secret), signed, hashlib.sha256).digest()
    expected = base64.b64encode(digest).decode()
    versions = [part.partition(",") for part in _header(headers, "webhook-signature").split()]
    _must_match([value for version, _, value in versions if version == "v1"], expected)
    _must_be_now(stamp, now_s=now_s, tolerance_s=tolerance_s)
    return delivery


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if not value:
        raise Unauthorized(f"the header {name} is missing")
    if len(value) > HEADER_CHARS_MAX:
        raise Unauthorized(REFUSED)
    return value


def _decoded(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unauthorized(REFUSED) from error


def _must_be_digits(stamp: str) -> None:
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= TIMESTAMP_DIGITS_MAX):
        raise Unauthorized(REFUSED)


def _must_match(given: list[str], expected: str) -> None:
    # All are compared, whichever fits: how long this takes tells nothing.
    wanted = expected.encode()
    found = [
        hmac.compare_digest(one.encode("utf-8", "surrogateescape"), wanted) for one in given[:SIGNATURES_MAX]
    ]
    if not any(found):
        raise Unauthorized(REFUSED)


def _must_be_now(stamp: str, *, now_s: float, tolerance_s: int) -> None:
    if abs(now_s - int(stamp)) > tolerance_s:
        raise Unauthorized(STALE)
