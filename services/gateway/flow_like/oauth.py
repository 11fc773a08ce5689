"""`/api/v1/oauth`: sign in through a provider (spec flow-like section 11.3, override 6; RFC 9700)."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from aiohttp import web

from libs.common import ids
from libs.common.errors import Invalid, NotFound, Unauthorized
from libs.common.messages.grant import SignInWith
from services.gateway import paging
from services.gateway.auth import cookie_value
from services.gateway.digests import digest_of
from services.gateway.flow_like import attempts
from services.gateway.flow_like.attempts import Attempt
from services.gateway.flow_like.auth import SignedIn, SignIns
from services.gateway.flow_like.hub import Hub
from services.gateway.flow_like.limits import SignInLimits
from services.gateway.operations import Answer, operation, text
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route, shown

if TYPE_CHECKING:
    from services.gateway.flow_like.providers import Provider

STATE_CHARS_MAX = 512
# The refresh token that a page gets by way of the browser is traded at once, or never.
HANDED_OVER_S = 60.0


def _providers(parts: Parts, hub: Hub) -> "dict[str, Provider]":
    if not hub.file.oauth_providers:
        return {}
    # Authlib and what it stands on are a third of a gateway's time to start.
    from services.gateway.flow_like.providers import Provider

    return {
        name: Provider(name, told, parts.clock, f"{hub.base_url}{attempts.PATH}/{name}/callback")
        for name, told in hub.file.oauth_providers.items()
    }


class OAuthRoutes:
    """Sign-in by way of somebody else who knows the user."""

    def __init__(self, parts: Parts, hub: Hub, limits: SignInLimits) -> None:
        self._parts = parts
        self._hub = hub
        self._limits = limits
        self._sign_ins = SignIns(parts)
        self._providers = _providers(parts, hub)

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/oauth/{provider}", self._begin, None),
            Route("GET", "/api/v1/oauth/{provider}/callback", self._end, None),
        ]

    @operation(
        None,
        status=302,
        query=(
            text("redirect_uri", "Where the browser goes in the end; one of the hub's `oauth_redirects`"),
            text("scope", "Fewer scopes than are configured, separated by spaces"),
            text("state", "Comes back with the browser, unchanged"),
        ),
        refusals=(429,),
    )
    async def _begin(self, call: Call) -> web.Response:
        """Send the browser to a provider.

        With PKCE (S256), state and nonce, bound to this browser by a cookie.
        """
        provider, query = self._provider(call), call.request.query
        redirect_uri = paging.text(query, "redirect_uri") or ""
        if redirect_uri and redirect_uri not in self._hub.file.oauth_redirects:
            raise Invalid("redirect_uri: not one of those that the hub allows")
        state = paging.text(query, "state") or ""
        if len(state) > STATE_CHARS_MAX:
            raise Invalid(f"state: expected at most {STATE_CHARS_MAX} characters")
        attempt = Attempt(
            secret=ids.new_secret(),
            provider=provider.name,
            begun_at=self._parts.clock.now(),
            redirect_uri=redirect_uri,
            state=state,
        )
        url = await provider.authorization_url(
            state=attempt.derived("state"),
            nonce=attempt.derived("nonce"),
            verifier=attempt.derived("verifier"),
            scopes=_scopes(paging.text(query, "scope"), provider),
        )
        return _redirect(url, attempts.cookie_of(attempt, secure=self._hub.secure))

    @operation(
        SignedIn,
        query=(
            text("code", "The provider's code"),
            text("state", "The state that the sign-in began with"),
            text("error", "Why the provider refused"),
        ),
        also=(Answer(302, None, "To the `redirect_uri` that it began with, with a `code`"),),
        refusals=(401, 403, 429, 503),
    )
    async def _end(self, call: Call) -> web.Response:
        """Finish the sign-in that this browser began.

        With a `redirect_uri` the browser goes there with a `code`: a refresh token that holds for a minute, to be
        traded at `/api/v1/auth/refresh`. Without one the tokens are answered.
        """
        provider, request = self._provider(call), call.request
        address = request.remote or ""
        self._limits.begin("", address)
        attempt, code = await self._attempt(call, provider)
        identity = await provider.identity(
            code, nonce=attempt.derived("nonce"), verifier=attempt.derived("verifier")
        )
        self._limits.succeeded("", address)
        secret = ids.new_secret()
        opening = self._sign_ins.opening(call, secret)
        if attempt.redirect_uri:
            opening["refresh_ttl_s"] = HANDED_OVER_S
        command = SignInWith(
            **opening,
            id=ids.new_id(),
            grant_id=ids.new_id(),
            provider=provider.name,
            subject=digest_of(f"{provider.issuer or provider.name}\n{identity.subject}"),
            email=identity.email,
            email_verified=identity.email_verified,
            name=identity.name[:200],
            may_register=self._parts.config.registration == "open",
        )
        granted = await self._sign_ins.granted(command)
        done = attempts.no_cookie(secure=self._hub.secure)
        if attempt.redirect_uri:
            return _redirect(_with(attempt.redirect_uri, code=secret, state=attempt.state), done)
        answer = await self._sign_ins.answer(granted, secret)
        answer.headers["Set-Cookie"] = done
        return answer

    async def _attempt(self, call: Call, provider: "Provider") -> tuple[Attempt, str]:
        query, now = call.request.query, self._parts.clock.now()
        cookie = cookie_value(call.request.headers.get("Cookie", ""), attempts.COOKIE)
        attempt = attempts.attempt_of(cookie, provider.name, query.get("state", ""), now=now)
        if attempt.redirect_uri and attempt.redirect_uri not in self._hub.file.oauth_redirects:
            raise Unauthorized(attempts.REFUSED)
        # RFC 9207: an answer of another provider, sent here to be mistaken for this one's.
        if query.get("iss", provider.issuer) != provider.issuer:
            raise Unauthorized(attempts.REFUSED)
        await attempts.use_up(self._parts.bus, attempt, now=now)
        code = paging.text(query, "code")
        if code is None:
            raise Unauthorized(f"{provider.name} did not sign the user in: {shown(query.get('error', ''))}")
        return attempt, code

    def _provider(self, call: Call) -> "Provider":
        provider = self._providers.get(call.parameters[0])
        if provider is None:
            raise NotFound(f"no provider {shown(call.parameters[0])}")
        return provider


def _scopes(asked: str | None, provider: "Provider") -> tuple[str, ...]:
    if asked is None:
        return provider.scopes
    scopes = tuple(asked.split())
    if not set(scopes) <= set(provider.scopes) or (provider.issuer and "openid" not in scopes):
        raise Invalid(f"scope: expected some of {' '.join(provider.scopes)}")
    return scopes


def _with(address: str, **more: Any) -> str:
    query = urlencode({name: value for name, value in more.items() if value})
    return address + ("&" if urlsplit(address).query else "?") + query


def _redirect(url: str, cookie: str) -> web.Response:
    headers = {
        "Location": url,
        "Set-Cookie": cookie,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return web.Response(status=302, headers=headers)
