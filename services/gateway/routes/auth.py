"""`/api/auth`: log in, log out, who am I (spec flow8 section 4)."""

import msgspec
from aiohttp import web

from libs.common.errors import Invalid, Unauthorized
from services.gateway import bodies
from services.gateway.answers import LoggedIn, LoggedOut, Me, reply
from services.gateway.operations import operation
from services.gateway.origin import origin_of
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route
from services.gateway.throttle import LoginThrottle

EMAIL_CHARS_MAX = 320
PASSWORD_CHARS_MAX = 1024


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a login."""

    email: str
    password: str


_credentials = msgspec.json.Decoder(Credentials)


class AuthRoutes:
    """Sessions of people."""

    def __init__(self, parts: Parts) -> None:
        self._auth = parts.auth
        self._throttle = LoginThrottle(parts.clock)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("POST", "/api/auth/login", self._log_in, None),
            Route("POST", "/api/auth/logout", self._log_out, "read"),
            Route("GET", "/api/auth/me", self._me, "read"),
        ]

    @operation(LoggedIn, body=_credentials, refusals=(401, 429))
    async def _log_in(self, call: Call) -> web.Response:
        """Open a session.

        The answer sets the cookie `sid`, which carries it. Repeated failures are slowed down, by user and by address.
        """
        given = await bodies.read(call.request, _credentials)
        if not given.email or len(given.email) > EMAIL_CHARS_MAX:
            raise Invalid(f"email: expected 1 to {EMAIL_CHARS_MAX} characters")
        if not given.password or len(given.password) > PASSWORD_CHARS_MAX:
            raise Invalid(f"password: expected 1 to {PASSWORD_CHARS_MAX} characters")
        email, address = given.email.casefold(), call.request.remote or ""
        self._throttle.check(email, address)
        try:
            session, cookie = await self._auth.open(given.email, given.password, origin_of(call))
        except Unauthorized:
            self._throttle.failed(email, address)
            raise
        self._throttle.succeeded(email, address)
        answer = LoggedIn(id=session.user_id, email=session.email, name=session.name)
        return reply(answer, headers={"Set-Cookie": cookie})

    @operation(LoggedOut)
    async def _log_out(self, call: Call) -> web.Response:
        """End the session, at every gateway at once."""
        return reply(
            LoggedOut(), headers={"Set-Cookie": await self._auth.close(call.request, origin_of(call))}
        )

    @operation(Me)
    async def _me(self, call: Call) -> web.Response:
        """Return who is asking, and what they may do."""
        caller = call.caller
        answer = Me(
            id=caller.user_id,
            email=caller.email,
            name=caller.name,
            company_id=caller.company_id,
            role=caller.role,
            permissions=tuple(sorted(caller.permissions)),
        )
        return reply(answer)
