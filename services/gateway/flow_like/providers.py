"""Providers that vouch for users: OpenID Connect with discovery, or OAuth 2 with a userinfo address (override 6).

Authlib speaks OAuth; what an ID token says is believed when its signature, issuer, audience, time and nonce are right
(OpenID Connect Core 3.1.3.7), under algorithms that we choose.
"""

import hmac
import os
from typing import Any, NamedTuple

import httpx
import jwt
import msgspec
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client

from libs.common.clock import Clock
from libs.common.errors import HeadraceError, Unauthorized, Unavailable
from services.gateway.flow_like.hub import OAuthProvider

PROVIDER_TIMEOUT_S = 10.0
DISCOVERY_KEPT_S = 3_600.0
ANSWER_BYTES_MAX = 1_048_576
LEEWAY_S = 30
# Public keys only: with HS256 whoever knows our client's secret could make ID tokens.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")

log = structlog.get_logger(__name__)


class ProviderBroken(HeadraceError):
    """The provider's configuration here cannot work; the log says why."""


class Identity(NamedTuple):
    """Who somebody is at a provider."""

    subject: str
    email: str
    email_verified: bool
    name: str


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """What we need of a provider's metadata (OpenID Connect Discovery, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str = ""
    jwks_uri: str = ""


class _Kept(NamedTuple):
    at_s: float
    discovery: Discovery
    keys: list[dict[str, Any]]


class Provider:
    """One configured provider."""

    def __init__(self, name: str, told: OAuthProvider, clock: Clock, callback_url: str) -> None:
        self.name = name
        self.scopes = told.scopes
        self.issuer = told.issuer
        self._told = told
        self._clock = clock
        self._callback_url = callback_url
        self._kept: _Kept | None = None

    async def authorization_url(
        self, *, state: str, nonce: str, verifier: str, scopes: tuple[str, ...]
    ) -> str:
        """Return where the browser goes to sign in. Raises ProviderBroken, Unavailable."""
        discovery = (await self._known()).discovery
        async with self._client(scopes) as client:
            extra = {"nonce": nonce} if self.issuer else {}
            url, _ = client.create_authorization_url(
                discovery.authorization_endpoint, state=state, code_verifier=verifier, **extra
            )
        return str(url)

    async def identity(self, code: str, *, nonce: str, verifier: str) -> Identity:
        """Trade a code for who somebody is.

        Raises Unauthorized when the provider refuses the code or what it says does not hold, Unavailable when it does
        not answer.
        """
        discovery = (await self._known()).discovery
        async with self._client(self.scopes) as client:
            try:
                token = await client.fetch_token(
                    discovery.token_endpoint,
                    code=code,
                    code_verifier=verifier,
                    grant_type="authorization_code",
                )
                claims = await self._claims(token, nonce) if self.issuer else {}
                told = await self._userinfo(client, discovery) if _needs_userinfo(claims) else {}
            except AuthlibBaseError as error:
                log.info("provider_refused", provider=self.name, error=str(error))
                raise Unauthorized(f"{self.name} did not confirm this sign-in") from error
            except (httpx.HTTPError, ValueError) as error:
                log.warning("provider_away", provider=self.name, error=type(error).__name__)
                raise Unavailable(f"{self.name} does not answer") from error
        return _identity(self.name, claims, told)

    def _client(self, scopes: tuple[str, ...]) -> AsyncOAuth2Client:
        secret = self._told.client_secret
        if self._told.client_secret_env:
            secret = os.environ.get(self._told.client_secret_env, "")
            if not secret:
                log.error("provider_without_secret", provider=self.name)
                raise ProviderBroken(f"the secret of {self.name} is not set")
        return AsyncOAuth2Client(
            client_id=self._told.client_id,
            client_secret=secret or None,
            scope=" ".join(scopes),
            redirect_uri=self._callback_url,
            code_challenge_method="S256",
            token_endpoint_auth_method="client_secret_basic" if secret else "none",
            timeout=PROVIDER_TIMEOUT_S,
            follow_redirects=False,
        )

    async def _known(self, *, anew: bool = False) -> _Kept:
        told, now_s = self._told, self._clock.monotonic_s()
        if self._kept is not None and not anew and now_s - self._kept.at_s < DISCOVERY_KEPT_S:
            return self._kept
        if not told.issuer:
            if not (told.auth_url and told.token_url and told.userinfo_url):
                log.error("provider_without_addresses", provider=self.name)
                raise ProviderBroken(f"{self.name} has neither an issuer nor all of its addresses")
            discovery = Discovery(
                issuer="",
                authorization_endpoint=told.auth_url,
                token_endpoint=told.token_url,
                userinfo_endpoint=told.userinfo_url,
            )
            self._kept = _Kept(now_s, discovery, [])
            return self._kept
        found = await _fetched(told.issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            discovery = msgspec.convert(found, Discovery)
        except msgspec.ValidationError as error:
            raise Unavailable(f"{self.name} says nothing that we understand of itself") from error
        if discovery.issuer != told.issuer:
            log.error("provider_of_another_name", provider=self.name, issuer=discovery.issuer)
            raise ProviderBroken(f"{self.name} calls itself otherwise")
        keys = (await _fetched(discovery.jwks_uri)).get("keys", [])
        self._kept = _Kept(now_s, discovery, [key for key in keys if isinstance(key, dict)])
        return self._kept

    async def _claims(self, token: dict[str, Any], nonce: str) -> dict[str, Any]:
        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise Unauthorized(f"{self.name} sent no ID token")
        try:
            header = jwt.get_unverified_header(id_token)
            key = await self._key(header.get("kid"))
            claims: dict[str, Any] = jwt.decode(
                id_token,
                key.key,
                algorithms=[key.algorithm_name] if key.algorithm_name in ALGORITHMS else [],
                audience=self._told.client_id,
                issuer=self.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            log.warning("id_token_refused", provider=self.name, error=str(error))
            raise Unauthorized(f"what {self.name} says does not hold") from error
        # Another's sign-in, put into this one's place.
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
            raise Unauthorized(f"what {self.name} says is about another sign-in")
        azp = claims.get("azp")
        if azp is not None and azp != self._told.client_id:
            raise Unauthorized(f"what {self.name} says is for somebody else")
        return claims

    async def _key(self, kid: Any) -> jwt.PyJWK:
        for anew in (False, True):
            keys = [key for key in (await self._known(anew=anew)).keys if _may_verify(key)]
            # A token that names no key is of the only one (OpenID Connect Core 10.1).
            fit = keys if kid is None else [key for key in keys if key.get("kid") == kid]
            if len(fit) == 1:
                return jwt.PyJWK(fit[0])
        raise Unauthorized(f"{self.name} has published no such key")

    async def _userinfo(self, client: AsyncOAuth2Client, discovery: Discovery) -> dict[str, Any]:
        if not discovery.userinfo_endpoint:
            return {}
        answer = await client.get(discovery.userinfo_endpoint)
        answer.raise_for_status()
        told = msgspec.json.decode(answer.content)
        return told if isinstance(told, dict) else {}


def _may_verify(key: dict[str, Any]) -> bool:
    return key.get("use", "sig") == "sig" and key.get("kty") != "oct"


def _needs_userinfo(claims: dict[str, Any]) -> bool:
    return "email" not in claims


def _identity(name: str, claims: dict[str, Any], told: dict[str, Any]) -> Identity:
    subject = claims.get("sub") or told.get("sub") or told.get("id")
    if isinstance(subject, bool) or not isinstance(subject, str | int) or not str(subject):
        raise Unauthorized(f"{name} does not say who this is")
    # OpenID Connect Core 5.3.2: what is said of another subject is not used.
    if claims and told and told.get("sub") != claims["sub"]:
        told = {}
    both = {**told, **claims}
    email = both.get("email")
    return Identity(
        subject=str(subject),
        email=email if isinstance(email, str) else "",
        # A text is no assertion: some providers send "true" for what a user typed.
        email_verified=both.get("email_verified") is True,
        name=str(both.get("name") or both.get("login") or ""),
    )


async def _fetched(url: str) -> dict[str, Any]:
    try:
        async with httpx.AsyncClient(timeout=PROVIDER_TIMEOUT_S, follow_redirects=False) as client:
            answer = await client.get(url, headers={"Accept": "application/json"})
            answer.raise_for_status()
        found = msgspec.json.decode(answer.content) if len(answer.content) <= ANSWER_BYTES_MAX else None
    except (httpx.HTTPError, httpx.InvalidURL, msgspec.DecodeError) as error:
        log.warning("provider_away", url=url, error=type(error).__name__)
        raise Unavailable("the provider does not answer") from error
    if not isinstance(found, dict):
        raise Unavailable("the provider says nothing that we understand of itself")
    return found
