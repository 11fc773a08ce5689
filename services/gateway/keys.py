"""API keys: tokens made, and checked without asking anybody (spec flow8 section 4).

A token is a JWT signed with HS256 (RFC 7519). What it says of itself is believed no further than its signature: scopes,
user and whether it was revoked are those of the key's definition in the log, cached and kept current as sessions are,
so a revoked key is refused at every gateway within milliseconds.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jwt
import structlog

from libs.common import codec, ids, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import HeadraceError, Invalid, Refused, Unauthorized
from libs.common.messages.access import User
from libs.common.messages.key import ApiKey, KeyEvent, KeyUsed, KeyView
from services.gateway.latest import Latest
from services.gateway.principal import Principal, of_user

ALGORITHM = "HS256"
# RFC 7518 section 3.2: a key of at least the size of the hash.
SECRET_BYTES_MIN = 32
TOKEN_CHARS_MAX = 4_096
KEYS_MAX = 50_000
USE_NOTED_EVERY_S = 60.0
USE_APPEND_DEADLINE_S = 5.0
REFUSED = "this API key does not hold"

log = structlog.get_logger(__name__)


class _Known(NamedTuple):
    """A caller as of so many changes of keys and users; a shortcut for the next request."""

    changes: int
    principal: Principal


class ApiKeys:
    """Signs tokens and tells who is behind one."""

    def __init__(self, config: Config, bus: Bus, clock: Clock, users: Latest[User]) -> None:
        self._secret = config.jwt_secret
        self._mcp_secret = config.mcp_jwt_secret or config.jwt_secret
        self._bus = bus
        self._clock = clock
        self._users = users
        self._keys = Latest(bus, "key", _key, entries_max=KEYS_MAX, replicated=config.replicas > 1)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._noted: OrderedDict[str, float] = OrderedDict()
        self._notes: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Follow revocations. Raises Invalid when a secret is too short to sign with."""
        for name, secret in (
            ("HEADRACE_JWT_SECRET", self._secret),
            ("HEADRACE_MCP_JWT_SECRET", self._mcp_secret),
        ):
            if secret and len(secret.encode()) < SECRET_BYTES_MIN:
                raise Invalid(f"{name} must hold at least {SECRET_BYTES_MIN} bytes; `openssl rand -hex 32`")
        await self._keys.start()

    async def stop(self) -> None:
        """Wait until what was noted is stored, or given up."""
        await asyncio.gather(*self._notes, return_exceptions=True)

    def check_enabled(self, scopes: tuple[str, ...]) -> None:
        """Raise Refused (API_KEYS_OFF) when there is no secret to sign such a key with."""
        if not self._secret_for(scopes):
            raise Refused("API keys are off: HEADRACE_JWT_SECRET is not set", code="API_KEYS_OFF")

    def sign(self, key: KeyView, company_id: str) -> str:
        """Return the token of a key; it is stored nowhere."""
        claims = {
            "userId": key.user_id,
            "companyId": company_id,
            "keyId": key.id,
            "scopes": list(key.scopes),
            "iat": int(key.issued_at.timestamp()),
        }
        return jwt.encode(claims, self._secret_for(key.scopes), algorithm=ALGORITHM)

    async def holder(self, token: str) -> Principal:
        """Return the user that a token acts for, with the user's role of now and the key's scopes.

        Raises Unauthorized when its signature is wrong, its key revoked or unknown, or its user disabled.
        """
        changes = self._keys.changes + self._users.changes
        known = self._known.get(token)
        if known is None or known.changes != changes:
            principal = await self._checked(token)
            known = _Known(self._keys.changes + self._users.changes, principal)
            self._known[token] = known
            if len(self._known) > KEYS_MAX:
                self._known.popitem(last=False)
        self._note_use(known.principal)
        return known.principal

    def on_changed(self, ring: Callable[[], None]) -> None:
        """Ring whenever a token that held may hold no longer."""
        self._keys.on_changed(ring)
        self._users.on_changed(ring)

    def changed(self, company_id: str, key_id: str, sequence: int) -> None:
        """Take note that a key is now at least as new as this place in DEFINITIONS."""
        self._keys.expect(subjects.definition("key", company_id, key_id), sequence)

    async def _checked(self, token: str) -> Principal:
        if len(token) > TOKEN_CHARS_MAX or not token.isascii():
            raise Unauthorized(REFUSED)
        for secret in dict.fromkeys((self._secret, self._mcp_secret)):
            claims = _claims(token, secret) if secret else None
            if claims is not None:
                return await self._principal(claims, secret)
        raise Unauthorized(REFUSED)

    async def _principal(self, claims: dict[str, Any], secret: str) -> Principal:
        company_id, key_id = claims.get("companyId"), claims.get("keyId")
        if not (isinstance(company_id, str) and isinstance(key_id, str)):
            raise Unauthorized(REFUSED)
        if not (ids.is_id(company_id) and ids.is_id(key_id)):
            raise Unauthorized(REFUSED)
        key = await self._keys.get(subjects.definition("key", company_id, key_id))
        # A key of one kind does not hold under the other kind's secret.
        if key is None or key.revoked or secret != self._secret_for(key.scopes):
            raise Unauthorized(REFUSED)
        user = await self._users.get(subjects.definition("user", company_id, key.user_id))
        if user is None or user.disabled or claims.get("userId") != user.id:
            raise Unauthorized(REFUSED)
        return of_user(user, scopes=frozenset(key.scopes), key_id=key.id)

    def _secret_for(self, scopes: tuple[str, ...]) -> str:
        return self._mcp_secret if "mcp" in scopes else self._secret

    def _note_use(self, principal: Principal) -> None:
        now_s = self._clock.monotonic_s()
        last_s = self._noted.get(principal.key_id)
        if last_s is not None and now_s - last_s < USE_NOTED_EVERY_S:
            return
        self._noted[principal.key_id] = now_s
        self._noted.move_to_end(principal.key_id)
        if len(self._noted) > KEYS_MAX:
            self._noted.popitem(last=False)
        task = asyncio.create_task(self._store_use(principal), name="note the use of a key")
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    async def _store_use(self, principal: Principal) -> None:
        use = KeyUsed(
            at=self._clock.now(),
            by=principal.user_id,
            key_id=principal.key_id,
            company_id=principal.company_id,
        )
        id = ids.commit_id()
        context = codec.Context(source=codec.source_of(principal.company_id), subject=principal.key_id)
        try:
            await self._bus.append(
                subjects.key_use(principal.company_id, principal.key_id),
                codec.encode_message(use, id=id, context=context),
                id=id,
                deadline_s=USE_APPEND_DEADLINE_S,
            )
        except HeadraceError as error:
            # The next use is noted in a minute.
            log.warning("key_use_not_noted", key=principal.key_id, error=error.message)


def _claims(token: str, secret: str) -> dict[str, Any] | None:
    try:
        # `iat` is not compared with our clock: it says when the key was made, on another machine perhaps.
        claims: dict[str, Any] = jwt.decode(
            token, secret, algorithms=[ALGORITHM], options={"verify_iat": False, "verify_aud": False}
        )
    except jwt.PyJWTError:
        return None
    return claims


def _key(envelope: codec.Envelope, _sequence: int) -> ApiKey:
    event = envelope.data
    assert isinstance(event, KeyEvent), f"{envelope.type} among keys"
    return event.key
