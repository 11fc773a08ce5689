"""`/api/v1/auth`: register, sign in, refresh, sign out, and the keys of access tokens (spec flow-like section 11.3)."""

from datetime import datetime, timedelta
from typing import TypedDict

import msgspec
from aiohttp import web

from libs.common import ids, rpc, subjects
from libs.common.errors import Forbidden, HeadraceError, Invalid, Refused, Unauthorized
from libs.common.messages.grant import EndGrant, Granted, Refresh, Register, SignIn, SignInWith
from libs.common.messages.origin import Origin
from services.gateway import bodies
from services.gateway.access_tokens import jwk_of
from services.gateway.answers import reply
from services.gateway.digests import digest_of
from services.gateway.flow_like.limits import SignInLimits
from services.gateway.flow_like.people import UserObject, fields_of
from services.gateway.operations import operation
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route

LOGIN_CHARS_MAX = 320
PASSWORD_CHARS_MAX = 1_024
TOKEN_CHARS_MAX = 128
# A password takes its time, and a user who registers is waited for in the read models.
GRANT_TIMEOUT_S = 25.0
JWKS_HEADERS = {"Cache-Control": "public, max-age=300", "X-Content-Type-Options": "nosniff"}


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a sign-in: a password, and an email or a username."""

    password: str
    email: str = ""
    username: str = ""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a registration."""

    email: str
    password: str
    username: str = ""
    name: str = ""


class RefreshBody(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a refresh."""

    refresh_token: str


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """An access token for `expires_in` seconds, and a refresh token that holds once."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int
    user: UserObject


class Jwks(msgspec.Struct, frozen=True, kw_only=True):
    """The public keys of access tokens (RFC 7517)."""

    keys: list[dict[str, str]]


_login = msgspec.json.Decoder(Login)
_registration = msgspec.json.Decoder(Registration)
_refresh = msgspec.json.Decoder(RefreshBody)


class Opened(TypedDict):
    """What every way to sign in says: the fields of Opening."""

    at: datetime
    digest: str
    refresh_ttl_s: float
    access_ttl_s: float
    origin: Origin


class SignIns:
    """Asks the store for a sign-in, and answers with it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def opening(self, call: Call, secret: str) -> Opened:
        """Return what every way to sign in says, for the refresh token `secret`."""
        config = self._parts.config
        return {
            "at": self._parts.clock.now(),
            "digest": digest_of(secret),
            "refresh_ttl_s": timedelta(days=config.refresh_token_days).total_seconds(),
            "access_ttl_s": float(config.access_token_s),
            "origin": origin_of(call),
        }

    async def granted(self, command: SignIn | SignInWith | Register | Refresh) -> Granted:
        """Have the store decide a sign-in. Raises what it refuses with."""
        granted = await rpc.ask(
            self._parts.bus, subjects.command("grant"), command, Granted, timeout_s=GRANT_TIMEOUT_S
        )
        if granted.user_sequence:
            self._parts.auth.user_changed(granted.company_id, granted.user_id, granted.user_sequence)
        return granted

    async def answer(self, granted: Granted, secret: str, *, status: int = 200) -> web.Response:
        """Return the answer that carries the tokens. Raises Unauthorized when the user is gone."""
        user = await self._parts.auth.user(granted.company_id, granted.user_id)
        if user is None:
            raise Unauthorized("there is no such user any more")
        answer = SignedIn(
            access_token=granted.access_token,
            refresh_token=secret,
            token_type="Bearer",  # noqa: S106 - the name of a kind
            expires_in=self._parts.config.access_token_s,
            user=UserObject(**fields_of(user)),
        )
        return reply(answer, status=status)


class AuthRoutes:
    """Accounts of people: made, opened, kept open, closed."""

    def __init__(self, parts: Parts, limits: SignInLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._sign_ins = SignIns(parts)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/api/v1/auth/register", self._register, None),
            Route("POST", "/api/v1/auth/login", self._log_in, None),
            Route("POST", "/api/v1/auth/refresh", self._refresh, None),
            Route("POST", "/api/v1/auth/logout", self._log_out, "read"),
            Route("GET", "/api/v1/auth/jwks", self._jwks, None),
            Route("GET", "/api/v1/execution/.well-known/jwks.json", self._jwks, None),
        ]

    @operation(SignedIn, status=201, body=_registration, refusals=(403, 429))
    async def _register(self, call: Call) -> web.Response:
        """Make an account, in a company of its own, and sign in.

        403 when registration is closed.
        """
        if self._parts.config.registration != "open":
            raise Forbidden("registration is closed; ask whoever runs this installation for an account")
        given = await bodies.read(call.request, _registration)
        if not given.email:
            raise Invalid("email: expected an email address")
        self._limits.register(call.request.remote or "")
        secret = ids.new_secret()
        command = Register(
            **self._sign_ins.opening(call, secret),
            id=ids.new_id(),
            grant_id=ids.new_id(),
            email=given.email,
            password=given.password,
            username=given.username,
            name=given.name,
        )
        try:
            granted = await self._sign_ins.granted(command)
        except Refused as error:
            # FQ7: inside the statuses of the index.
            raise Invalid(error.message) from error
        return await self._sign_ins.answer(granted, secret, status=201)

    @operation(SignedIn, body=_login, refusals=(401, 403, 429))
    async def _log_in(self, call: Call) -> web.Response:
        """Sign in by email or username.

        Failures are counted by account and by address; too many are 429 with `Retry-After`.
        """
        given = await bodies.read(call.request, _login)
        login = (given.email or given.username).strip()
        if not login or len(login) > LOGIN_CHARS_MAX:
            raise Invalid(f"email or username: expected 1 to {LOGIN_CHARS_MAX} characters")
        if not given.password or len(given.password) > PASSWORD_CHARS_MAX:
            raise Invalid(f"password: expected 1 to {PASSWORD_CHARS_MAX} characters")
        secret = ids.new_secret()
        command = SignIn(
            **self._sign_ins.opening(call, secret),
            grant_id=ids.new_id(),
            password=given.password,
            email=given.email.strip(),
            username="" if given.email else login,
        )
        granted = await self._guarded(call, login.casefold(), command)
        return await self._sign_ins.answer(granted, secret)

    @operation(SignedIn, body=_refresh, refusals=(401, 429))
    async def _refresh(self, call: Call) -> web.Response:
        """Trade a refresh token for an access token and another refresh token.

        Each holds once. When one comes a second time, nothing that came of its sign-in holds any more.
        """
        given = await bodies.read(call.request, _refresh)
        if not given.refresh_token or len(given.refresh_token) > TOKEN_CHARS_MAX:
            raise Invalid(f"refresh_token: expected 1 to {TOKEN_CHARS_MAX} characters")
        secret = ids.new_secret()
        command = Refresh(**self._sign_ins.opening(call, secret), used=digest_of(given.refresh_token))
        granted = await self._guarded(call, "", command)
        return await self._sign_ins.answer(granted, secret)

    @operation(None, status=204, refusals=(400,))
    async def _log_out(self, call: Call) -> web.Response:
        """End the sign-in that the access token came of; its refresh token is over too.

        400 for a credential that came of no sign-in here: an API key, a personal access token or a session.
        """
        caller = call.caller
        if not caller.grant_id:
            raise Invalid("this credential is no access token, and came of no sign-in here")
        command = EndGrant(
            at=self._parts.clock.now(), grant_id=caller.grant_id, by=caller.user_id, origin=origin_of(call)
        )
        await rpc.call(self._parts.bus, subjects.command("grant"), command, timeout_s=GRANT_TIMEOUT_S)
        self._parts.auth.tokens.grant_changed(caller.grant_id)
        return web.Response(status=204)

    @operation(Jwks)
    async def _jwks(self, _call: Call) -> web.Response:
        """Return the public keys that access tokens can be verified with."""
        keys = await self._parts.auth.tokens.keys()
        return reply(Jwks(keys=[jwk_of(key) for key in keys]), headers=JWKS_HEADERS)

    async def _guarded(self, call: Call, account: str, command: SignIn | Refresh) -> Granted:
        address = call.request.remote or ""
        self._limits.begin(account, address)
        try:
            granted = await self._sign_ins.granted(command)
        except Unauthorized:
            raise
        except HeadraceError:
            self._limits.undecided(account, address)
            raise
        self._limits.succeeded(account, address)
        return granted
