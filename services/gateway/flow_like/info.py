"""`/api/v1`, its version and `/api/v1/info/…`: what this installation is (spec flow-like sections 3 and 11.3)."""

from typing import Any

import msgspec
from aiohttp import web

from libs.common.health import VERSION
from services.gateway.answers import reply
from services.gateway.auth import Auth
from services.gateway.flow_like.hub import Contact, Features, Hub, Lookup, ProfileTemplate, Tier
from services.gateway.operations import operation
from services.gateway.routing import Call, Route

TEXT = "text/plain"
HEADERS = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
# What may start a flow of its own accord.
SINKS = ("cron",)


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Which release this is."""

    version: str


class ShownProvider(msgspec.Struct, frozen=True, kw_only=True):
    """A provider that may vouch for users, and where that begins; nothing of its credentials."""

    name: str
    login_url: str
    scopes: tuple[str, ...]


class Authentication(msgspec.Struct, frozen=True, kw_only=True):
    """How users sign in."""

    variant: str
    login_url: str
    register_url: str
    refresh_url: str
    jwks_url: str


class HubView(msgspec.Struct, frozen=True, kw_only=True):
    """This installation."""

    name: str
    description: str
    thumbnail: str | None
    icon: str | None
    authentication: Authentication
    features: Features
    hubs: tuple[str, ...]
    provider: str | None
    domain: str
    secure: bool
    region: str | None
    terms_of_service: str
    signaling: tuple[str, ...] | None
    cdn: str | None
    app: str | None
    web: str | None
    legal_notice: str
    privacy_policy: str
    contact: Contact
    max_users_prototype: int | None
    default_user_plan: str
    environment: str
    tiers: dict[str, Tier]
    lookup: Lookup
    oauth_providers: dict[str, ShownProvider]
    supported_sinks: tuple[str, ...]


class InfoRoutes:
    """What this installation is, for anybody."""

    def __init__(self, hub: Hub, auth: Auth) -> None:
        self._hub = hub
        self._auth = auth

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1", self._show, None),
            Route("GET", "/api/v1/version", self._version, None),
            Route("GET", "/api/v1/info/legal", self._legal, None),
            Route("GET", "/api/v1/info/privacy", self._privacy, None),
            Route("GET", "/api/v1/info/terms", self._terms, None),
            Route("GET", "/api/v1/info/contact", self._contact, None),
            Route("GET", "/api/v1/info/features", self._features, None),
            Route("GET", "/api/v1/info/profiles", self._profiles, None),
        ]

    @operation(HubView)
    async def _show(self, _call: Call) -> web.Response:
        """Return this installation: name, features, tiers, how to sign in."""
        hub, file = self._hub, self._hub.file
        same: dict[str, Any] = {
            name: getattr(file, name) for name in HubView.__struct_fields__ if hasattr(file, name)
        }
        told = {
            **same,
            "authentication": self._authentication(),
            "features": hub.features,
            "domain": hub.domain,
            "secure": hub.secure,
            "oauth_providers": {name: self._provider(name) for name in file.oauth_providers},
            "supported_sinks": SINKS,
        }
        return reply(HubView(**told), headers=HEADERS)

    @operation(str, media_type=TEXT)
    async def _version(self, call: Call) -> web.Response:
        """Return the version of this release.

        As text, or as `{"version": "0.1.0"}` when the caller accepts JSON.
        """
        if "application/json" in call.request.headers.get("Accept", ""):
            return reply(Version(version=VERSION), headers=HEADERS)
        return _text(VERSION)

    @operation(str, media_type=TEXT)
    async def _legal(self, _call: Call) -> web.Response:
        """Return the legal notice."""
        return _text(self._hub.file.legal_notice)

    @operation(str, media_type=TEXT)
    async def _privacy(self, _call: Call) -> web.Response:
        """Return the privacy policy."""
        return _text(self._hub.file.privacy_policy)

    @operation(str, media_type=TEXT)
    async def _terms(self, _call: Call) -> web.Response:
        """Return the terms of service."""
        return _text(self._hub.file.terms_of_service)

    @operation(Contact)
    async def _contact(self, _call: Call) -> web.Response:
        """Return whom to ask."""
        return reply(self._hub.file.contact, headers=HEADERS)

    @operation(Features)
    async def _features(self, _call: Call) -> web.Response:
        """Return what this server can do."""
        return reply(self._hub.features, headers=HEADERS)

    @operation(list[ProfileTemplate], refusals=(401,))
    async def _profiles(self, call: Call) -> web.Response:
        """Return what a new profile may begin as.

        Only to users when the hub setting `unauthorized_read` is off.
        """
        if not self._hub.features.unauthorized_read:
            await self._auth.identify(call.request)
        return reply(list(self._hub.profiles), headers=HEADERS)

    def _authentication(self) -> Authentication:
        at = f"{self._hub.base_url}/api/v1/auth"
        return Authentication(
            variant="local",
            login_url=f"{at}/login",
            register_url=f"{at}/register",
            refresh_url=f"{at}/refresh",
            jwks_url=f"{at}/jwks",
        )

    def _provider(self, name: str) -> ShownProvider:
        provider = self._hub.file.oauth_providers[name]
        return ShownProvider(
            name=provider.name or name,
            login_url=f"{self._hub.base_url}/api/v1/oauth/{name}",
            scopes=provider.scopes,
        )


def _text(words: str) -> web.Response:
    return web.Response(text=words, content_type=TEXT, charset="utf-8", headers=HEADERS)
