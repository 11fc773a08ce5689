"""Access tokens that somebody has made up (spec flow-like sections 2.4 and 11.2; RFC 8725)."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from libs.common import subjects
from libs.common.config import Config
from libs.common.messages import grant as g
from libs.common.messages.module import SYSTEM
from libs.common.messages.token_key import RING, TokenKey, TokenKeysChanged
from services.gateway.app import App
from tests.e2e.door import Door, refusal
from tests.integration.gateway.conftest import COMPANY, USER, Log
from tests.waiting import eventually

GRANT, KEY, OTHER_KEY, OLD_KEY = "e" * 24, "1" * 24, "2" * 24, "3" * 24
MINE = ec.generate_private_key(ec.SECP256R1())
FOREIGN = ec.generate_private_key(ec.SECP256R1())
PUBLIC_PEM = MINE.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def ring_key(id: str, private: ec.EllipticCurvePrivateKey, *, until: datetime | None = None) -> TokenKey:
    numbers = private.public_key().public_numbers()
    now = datetime.now(UTC)
    return TokenKey(
        id=id, x=coordinate(numbers.x), y=coordinate(numbers.y), sealed="", made_at=now, signs_from=now,
        verifies_until=until,
    )  # fmt: skip


def claims(**other: Any) -> dict[str, Any]:
    now_s = int(datetime.now(UTC).timestamp())
    good = {
        "iss": "flow-like", "aud": "flow-like-api", "sub": USER, "company": COMPANY, "sid": GRANT, "iat": now_s,
        "nbf": now_s - 30, "exp": now_s + 3600, "jti": "a" * 24,
    }  # fmt: skip
    return {name: value for name, value in (good | other).items() if value is not None}


def signed(
    private: Any = MINE, *, algorithm: str = "ES256", header: dict[str, Any] | None = None, **other: Any
) -> str:
    headers = {"kid": KEY, "typ": "at+jwt", **(header or {})}
    return jwt.encode(claims(**other), private, algorithm=algorithm, headers=headers)


def pasted(header: dict[str, Any], body: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(body).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def hmac_with_the_public_key() -> str:
    token = pasted({"alg": "HS256", "typ": "at+jwt", "kid": KEY}, claims()).rpartition(".")[0]
    digest = hmac.digest(PUBLIC_PEM, token.encode(), hashlib.sha256)
    return f"{token}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def grant(**other: Any) -> g.Grant:
    now = datetime.now(UTC)
    fields: dict[str, Any] = {
        "id": GRANT, "company_id": COMPANY, "user_id": USER, "digest": "a" * 64, "generation": 0, "opened_at": now,
        "refreshed_at": now, "expires_at": now + timedelta(days=1),
    }  # fmt: skip
    return g.Grant(**(fields | other))


@pytest.fixture
def config(nats_url: str) -> Config:
    return Config(nats_url=nats_url, port=0, jwt_secret="j" * 32)


@pytest.fixture
async def door(log: Log, gateway: App) -> AsyncIterator[Door]:
    now = datetime.now(UTC)
    keys = (
        ring_key(OLD_KEY, FOREIGN, until=now - timedelta(seconds=1)),
        ring_key(KEY, MINE, until=now + timedelta(days=1)),
    )
    await log.put(subjects.definition("tokenkey", SYSTEM, RING), TokenKeysChanged(at=now, keys=keys))
    await log.put(subjects.definition("grant", "everybody", GRANT), g.GrantOpened(at=now, grant=grant()))
    async with Door(f"http://127.0.0.1:{gateway.port}") as door:
        yield door


async def said(door: Door, token: str) -> int:
    answer = await door.call("GET", "/api/v1/user", headers={"Authorization": f"Bearer {token}"})
    if answer.status != 200:
        assert refusal(answer) == (401, "UNAUTHORIZED")
    return answer.status


async def test_a_token_of_ours_holds(door: Door) -> None:
    assert await said(door, signed()) == 200
    # Twice, for the second time it is known.
    assert await said(door, signed()) == 200


HOSTILE: dict[str, Callable[[], str]] = {
    "alg none": lambda: pasted({"alg": "none", "typ": "at+jwt", "kid": KEY}, claims()),
    "alg None in odd case": lambda: pasted({"alg": "nOnE", "typ": "at+jwt", "kid": KEY}, claims()),
    "ES256 without a signature": lambda: pasted({"alg": "ES256", "typ": "at+jwt", "kid": KEY}, claims()),
    "ES256 signed with zeros": lambda: pasted(
        {"alg": "ES256", "typ": "at+jwt", "kid": KEY}, claims(), bytes(64)
    ),
    "HS256 with the public key": hmac_with_the_public_key,
    "HS256 with the secret of API keys": lambda: signed("j" * 32, algorithm="HS256"),
    "RS256 with a key of theirs": lambda: signed(
        rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithm="RS256"
    ),
    "a key of theirs under our kid": lambda: signed(FOREIGN),
    "a kid that nobody has": lambda: signed(FOREIGN, header={"kid": OTHER_KEY}),
    "no kid": lambda: signed(header={"kid": ""}),
    "a kid that is a path": lambda: signed(FOREIGN, header={"kid": "../../dev/null"}),
    "a key that verifies no longer": lambda: signed(FOREIGN, header={"kid": OLD_KEY}),
    "their key in the header": lambda: signed(
        FOREIGN, header={"jwk": json.loads(jwt.algorithms.ECAlgorithm.to_jwk(FOREIGN.public_key()))}
    ),
    "their keys at an address": lambda: signed(FOREIGN, header={"jku": "http://127.0.0.1:1/jwks"}),
    "a critical header": lambda: signed(header={"crit": ["x"], "x": 1}),
    "another kind of token": lambda: signed(header={"typ": "JWT"}),
    "over": lambda: signed(exp=int(datetime.now(UTC).timestamp()) - 60),
    "without an end": lambda: signed(exp=None),
    "not yet": lambda: signed(nbf=int(datetime.now(UTC).timestamp()) + 60),
    "of another issuer": lambda: signed(iss="somebody"),
    "for another audience": lambda: signed(aud="flow-like-user"),
    "for no audience": lambda: signed(aud=None),
    "of nobody": lambda: signed(sub=None),
    "of another user": lambda: signed(sub="f" * 24),
    "of another company": lambda: signed(company="f" * 24),
    "a wildcard for a user": lambda: signed(sub="*", company=">"),
    "an unknown grant": lambda: signed(sid="f" * 24),
    "a number for a user": lambda: signed(sid=7),
    "too long": lambda: signed(more="x" * 5_000),
    "no JWT at all": lambda: "....",
    "with a changed body": lambda: _with_body_of(signed(), signed(sub="f" * 24)),
}


def _with_body_of(token: str, other: str) -> str:
    header, _, signature = token.split(".")
    return ".".join((header, other.split(".")[1], signature))


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_somebody_has_made_up_does_not(door: Door, name: str) -> None:
    assert await said(door, HOSTILE[name]()) == 401


async def test_the_end_of_a_grant_counts_at_once(door: Door, log: Log) -> None:
    token = signed()
    assert await said(door, token) == 200
    ended = g.GrantEnded(at=datetime.now(UTC), grant=grant(ended=True), reason="reuse")
    await log.put(subjects.definition("grant", "everybody", GRANT), ended)
    await _eventually_refused(door, token)


async def test_a_key_that_left_the_ring_verifies_nothing_more(door: Door, log: Log) -> None:
    token = signed()
    assert await said(door, token) == 200
    ring = TokenKeysChanged(at=datetime.now(UTC), keys=(ring_key(OTHER_KEY, FOREIGN),))
    await log.put(subjects.definition("tokenkey", SYSTEM, RING), ring)
    await _eventually_refused(door, token)
    assert await said(door, signed(FOREIGN, header={"kid": OTHER_KEY})) == 200


async def test_a_disabled_user_and_a_new_password_count_at_once(door: Door, log: Log) -> None:
    token = signed()
    assert await said(door, token) == 200
    await log.user(sessions_after=datetime.now(UTC) + timedelta(seconds=1))
    await _eventually_refused(door, token)


async def _eventually_refused(door: Door, token: str) -> None:
    async def is_refused() -> bool:
        return await said(door, token) == 401

    await eventually(is_refused, within_s=60)
