"""Signs access tokens with keys that are made once and kept in the log, their private halves encrypted (D14).

Gateways verify with the public halves, asking nobody; the private ones are with the stores alone.
"""

import base64
from datetime import datetime

import jwt
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from libs.common import codec, ids, subjects
from libs.common.bus import APPEND_DEADLINE_S, Bus, Expected
from libs.common.cipher import Cipher, CipherRefused
from libs.common.errors import Conflict, Unavailable
from libs.common.messages.grant import Grant
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
from services.store.domain import token_key as rules

SUBJECT = subjects.definition("tokenkey", SYSTEM, RING)
COORDINATE_BYTES = 32
# Clocks differ (spec flow-like section 2.4).
NOT_BEFORE_S = 30
ATTEMPTS_MAX = 10

log = structlog.get_logger(__name__)


class AccessTokens:
    """Makes the tokens that say who somebody is, for an hour."""

    def __init__(self, bus: Bus, cipher: Cipher) -> None:
        self._bus = bus
        self._cipher = cipher
        self._opened: dict[str, ec.EllipticCurvePrivateKey] = {}

    async def sign(self, grant: Grant, *, at: datetime, ttl_s: float) -> str:
        """Return an access token of a grant. Raises Unavailable when NATS does not answer."""
        key, private = await self.signer(at)
        issued_s = int(at.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": grant.user_id,
            "company": grant.company_id,
            "sid": grant.id,
            "iat": issued_s,
            "nbf": issued_s - NOT_BEFORE_S,
            "exp": issued_s + int(ttl_s),
            "jti": ids.new_id(),
        }
        headers = {"kid": key.id, "typ": TOKEN_TYPE}
        return jwt.encode(claims, private, algorithm=ALGORITHM, headers=headers)

    async def signer(self, at: datetime) -> tuple[TokenKey, ec.EllipticCurvePrivateKey]:
        """Return the key that signs now, having made one when that is due. Raises Unavailable."""
        for _ in range(ATTEMPTS_MAX):
            keys, sequence = await self._keys()
            key = rules.signer(keys, at=at)
            private = None if key is None else self._private(key)
            if private is not None and not rules.is_due(keys, at=at):
                assert key is not None, "what was opened is there"
                return key, private
            try:
                await self._add(keys, sequence, at=at, at_once=private is None)
            except Conflict:
                # Another store made one.
                continue
        raise Unavailable("no key to sign access tokens with could be made; try again")

    async def _keys(self) -> tuple[tuple[TokenKey, ...], int]:
        stored = await self._bus.last(subjects.DEFINITIONS, SUBJECT, leader=True)
        if stored is None:
            return (), 0
        event = codec.last_event(stored.data).data
        assert isinstance(event, TokenKeysChanged), "the ring's subject holds the ring"
        return event.keys, stored.sequence

    async def _add(self, keys: tuple[TokenKey, ...], sequence: int, *, at: datetime, at_once: bool) -> None:
        event = rules.added(keys, self._made(at), at=at, at_once=at_once)
        id = ids.commit_id()
        context = codec.Context(source=codec.source_of(SYSTEM), subject=RING, correlation_id=id)
        await self._bus.append(
            SUBJECT,
            codec.encode_message(event, id=id, context=context),
            id=id,
            expected=Expected(SUBJECT, sequence),
            deadline_s=APPEND_DEADLINE_S,
        )
        log.info("token_key_made", key=event.keys[-1].id, signs_from=event.keys[-1].signs_from.isoformat())

    def _made(self, at: datetime) -> TokenKey:
        private = ec.generate_private_key(ec.SECP256R1())
        numbers = private.public_key().public_numbers()
        id = ids.new_id()
        pem = private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return TokenKey(
            id=id,
            x=_coordinate(numbers.x),
            y=_coordinate(numbers.y),
            sealed=self._cipher.seal(pem.decode(), context=f"tokenkey:{id}"),
            made_at=at,
            signs_from=at,
        )

    def _private(self, key: TokenKey) -> ec.EllipticCurvePrivateKey | None:
        opened = self._opened.get(key.id)
        if opened is not None:
            return opened
        try:
            pem = self._cipher.open(key.sealed, context=f"tokenkey:{key.id}")
        except CipherRefused as error:
            # The encryption key was changed: another one takes its place, this one verifies on.
            log.error("token_key_unreadable", key=key.id, reason=error.message)  # noqa: TRY400 - says it all
            return None
        private = serialization.load_pem_private_key(pem.encode(), password=None)
        assert isinstance(private, ec.EllipticCurvePrivateKey), "made above"
        self._opened = {key.id: private}
        return private


def _coordinate(number: int) -> str:
    """Return a coordinate as a JWK writes it (RFC 7518 section 6.2.1.2)."""
    return base64.urlsafe_b64encode(number.to_bytes(COORDINATE_BYTES, "big")).rstrip(b"=").decode()
