"""Who is asking: sessions in a cookie, checked in memory (spec flow8 section 4).

A session is stored under the SHA-256 of its id and expires from the stream by itself; users carry role and status.
Both are cached and kept current by the republished messages, so a logout, a new role or a disabled user counts at
every gateway within milliseconds. API keys are `keys`' business.
"""

from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from aiohttp import web

from libs.common import codec, ids, rpc, subjects
from libs.common.bus import Bus
from libs.common.clock import Clock
from libs.common.config import Config
from libs.common.errors import Forbidden, Unauthorized
from libs.common.messages.access import (
    LogIn,
    LogOut,
    Session,
    SessionOpened,
    User,
    UserCreated,
    UserUpdated,
)
from libs.common.messages.origin import Origin
from services.gateway import credentials
from services.gateway.access_tokens import AccessTokens
from services.gateway.app_keys import AppKeys
from services.gateway.digests import digest_of
from services.gateway.keys import ApiKeys
from services.gateway.latest import Latest
from services.gateway.pats import PersonalTokens
from services.gateway.principal import Principal, of_user

COOKIE = "sid"
SESSIONS_MAX = 50_000
USERS_MAX = 50_000
SECRET_CHARS_MAX = 128
# Passwords are slow to check, by intention, and a few at once.
SESSION_TIMEOUT_S = 25.0


class _Known(NamedTuple):
    """A caller as of so many changes of sessions and users; a shortcut for the next request."""

    changes: int
    expires_at: datetime
    principal: Principal


class Opened(NamedTuple):
    """A session that was opened, and the cookie that carries it."""

    session: Session
    cookie: str


class Auth:
    """Opens, checks and closes sessions."""

    def __init__(self, config: Config, bus: Bus, clock: Clock) -> None:
        replicated = config.replicas > 1
        self._config = config
        self._bus = bus
        self._clock = clock
        self._sessions = Latest(bus, "session", _session, entries_max=SESSIONS_MAX, replicated=replicated)
        self._users = Latest(bus, "user", _user, entries_max=USERS_MAX, replicated=replicated)
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self.keys = ApiKeys(config, bus, clock, self._users)
        self.tokens = AccessTokens(config, bus, clock, self._users)
        self.pats = PersonalTokens(config, bus, clock, self._users)
        self.app_keys = AppKeys(config, bus, clock)

    async def start(self) -> None:
        """Follow logouts, revoked keys and changed users. Raises Invalid when a configured secret cannot sign."""
        await self.keys.start()
        await self.tokens.start()
        await self.pats.start()
        await self.app_keys.start()
        await self._sessions.start()
        await self._users.start()

    async def stop(self) -> None:
        """Finish what is noted about keys."""
        await self.keys.stop()

    async def identify(self, request: web.BaseRequest, *, socket: bool = False) -> Principal:
        """Return the caller of a request: by a token of any kind, or by session. A socket may bring one as `?token=`.

        Raises Unauthorized without a credential that holds, Forbidden for a key that is for MCP alone.
        """
        headers = request.headers
        credential = credentials.credential_of(request)
        if credential is None and socket and (token := request.query.get("token", "")):
            credential = credentials.classified(token)
        if credential is not None:
            return await self._by_token(credential)
        secret = cookie_value(headers.get("Cookie", ""), COOKIE)
        if not secret:
            raise Unauthorized("log in first")
        return await self.by_session(secret)

    async def _by_token(self, credential: credentials.Credential) -> Principal:
        match credential.kind:
            case "access":
                return await self.tokens.holder(credential.token)
            case "pat":
                return await self.pats.holder(credential.token)
            case "app":
                return await self.app_keys.holder(credential.token)
            case "key":
                return await self._by_key(credential.token)

    async def _by_key(self, token: str) -> Principal:
        principal = await self.keys.holder(token)
        if "standard" not in principal.scopes:
            raise Forbidden("this API key is for MCP alone")
        return principal

    async def user(self, company_id: str, user_id: str) -> User | None:
        """Return a user as the log has them, None when there is none. Raises Unavailable."""
        return await self._users.get(subjects.definition("user", company_id, user_id))

    def user_changed(self, company_id: str, user_id: str, sequence: int) -> None:
        """Take note that a user is now at least as new as this place in DEFINITIONS."""
        self._users.expect(subjects.definition("user", company_id, user_id), sequence)

    async def by_session(self, secret: str) -> Principal:
        """Return the user behind a session id. Raises Unauthorized when it is over, or its user disabled."""
        if len(secret) > SECRET_CHARS_MAX:
            raise Unauthorized("this session does not hold")
        known = self._known.get(secret)
        changes = self._sessions.changes + self._users.changes
        if known is not None and known.changes == changes and known.expires_at > self._clock.now():
            return known.principal
        digest = digest_of(secret)
        session = await self._sessions.get(subjects.session(digest))
        if session is None or session.expires_at <= self._clock.now():
            raise Unauthorized("this session is over; log in again")
        user = await self._users.get(subjects.definition("user", session.company_id, session.user_id))
        if user is None or user.disabled:
            raise Unauthorized("this user may not log in any more")
        if user.sessions_after is not None and session.opened_at < user.sessions_after:
            raise Unauthorized("the password was changed; log in again")
        principal = of_user(user)
        self._known[secret] = _Known(changes, session.expires_at, principal)
        if len(self._known) > SESSIONS_MAX:
            self._known.popitem(last=False)
        return principal

    async def open(self, email: str, password: str, origin: Origin) -> Opened:
        """Check a password and open a session of the configured length. Raises Unauthorized when it is wrong."""
        secret = ids.new_secret()
        digest = digest_of(secret)
        ttl_s = self._config.session_ttl_hours * 3600
        command = LogIn(
            at=self._clock.now(), email=email, password=password, digest=digest, ttl_s=ttl_s, origin=origin
        )
        session = await rpc.ask(
            self._bus, subjects.command("session"), command, Session, timeout_s=SESSION_TIMEOUT_S
        )
        # Remembered now, for a replica may not have it yet; the republished message follows.
        self._sessions.put(subjects.session(digest), 0, session)
        return Opened(session, self._cookie(secret, max_age_s=int(ttl_s)))

    async def close(self, request: web.BaseRequest, origin: Origin) -> str:
        """End the request's session and return the cookie that takes it from the browser."""
        secret = cookie_value(request.headers.get("Cookie", ""), COOKIE)
        if secret:
            digest = digest_of(secret)
            command = LogOut(at=self._clock.now(), digest=digest, origin=origin)
            await rpc.call(self._bus, subjects.command("session"), command, timeout_s=SESSION_TIMEOUT_S)
            self._sessions.forget(subjects.session(digest))
            self._known.pop(secret, None)
        return self._cookie("", max_age_s=0)

    def _cookie(self, secret: str, *, max_age_s: int) -> str:
        parts = [f"{COOKIE}={secret}", "Path=/", "HttpOnly", "SameSite=Strict", f"Max-Age={max_age_s}"]
        if self._config.session_cookie_secure:
            parts.append("Secure")
        if self._config.cookie_domain:
            parts.append(f"Domain={self._config.cookie_domain}")
        return "; ".join(parts)


def cookie_value(header: str, name: str) -> str:
    """Return one cookie of a Cookie header, empty when it is not there (RFC 6265 section 4.2)."""
    wanted = name + "="
    for part in header.split(";"):
        stripped = part.strip()
        if stripped.startswith(wanted):
            return stripped[len(wanted) :].strip('"')
    return ""


def _session(envelope: codec.Envelope, _sequence: int) -> Session | None:
    event = envelope.data
    return event.session if isinstance(event, SessionOpened) else None


def _user(envelope: codec.Envelope, _sequence: int) -> User | None:
    event = envelope.data
    return event.user if isinstance(event, UserCreated | UserUpdated) else None
