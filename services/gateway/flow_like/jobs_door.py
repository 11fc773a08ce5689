"""Who may call `/jobs`, whose documented calls bring no credential (spec flow-like section 11.3, FQ4).

A credential that is sent is always checked. Without one `HEADRACE_JOBS_AUTH` decides: `required` refuses, `open` lets
everybody act for the installation, and `loopback` those who call from this machine, not through a proxy and not from
a web page: a page of any origin can reach a port of the machine that its reader sits at.
"""

import ipaddress
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from libs.common.config import Config
from libs.common.errors import Forbidden, Invalid, Unauthorized
from libs.common.messages.pat import PROJECTS
from services.gateway.auth import COOKIE, Auth, cookie_value
from services.gateway.credentials import APP_KEY_HEADER
from services.gateway.flow_like.people import FIRST_COMPANY_ID
from services.gateway.principal import Principal
from services.gateway.routing import Call

JSON = "application/json"
# What proxies add to what they pass on.
FORWARDED = (
    "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP",
)  # fmt: skip
SAME_SITE = frozenset({"", "none", "same-origin"})
# Runs what the first company has, and cannot change it.
SERVICE_ACCOUNT = Principal(
    user_id="",
    company_id=FIRST_COMPANY_ID,
    email="",
    name="installation",
    role="operator",
    permissions=frozenset({"read", "run"}),
)

log = structlog.get_logger(__name__)


class JobsDoor:
    """Tells for whom a call to `/jobs` is made."""

    def __init__(self, config: Config, auth: Auth) -> None:
        self._mode = config.jobs_auth
        self._auth = auth

    async def enter(self, call: Call) -> None:
        """Set the caller of a call. Raises Unauthorized, Forbidden, Invalid for a body that does not say it is JSON."""
        request = call.request
        if _brings_credential(request):
            call.caller = await self._auth.identify(request)
            if not call.caller.app_id:
                call.caller.must_reach(PROJECTS)
                call.caller.must("run")
            return
        if self._mode == "required":
            raise Unauthorized("a credential is required")
        _refuse_pages(request)
        if self._mode == "loopback":
            _refuse_strangers(request)
        if request.can_read_body and request.content_type != JSON:
            raise Invalid(f"Content-Type: expected {JSON}")
        call.caller = SERVICE_ACCOUNT


def warn(config: Config) -> None:
    """Say at the start who may call without a credential."""
    if config.jobs_auth != "required":
        log.warning("jobs_without_credentials", allowed_for=config.jobs_auth)


def _brings_credential(request: web.BaseRequest) -> bool:
    headers = request.headers
    if "Authorization" in headers or APP_KEY_HEADER in headers:
        return True
    return bool(cookie_value(headers.get("Cookie", ""), COOKIE))


def _refuse_pages(request: web.BaseRequest) -> None:
    """Raise Forbidden for a call that a page of another origin makes."""
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "")
    own = origin is None or urlsplit(origin).netloc == request.headers.get("Host", "")
    if not own or site.lower() not in SAME_SITE:
        raise Forbidden("pages of other origins may not call this")


def _refuse_strangers(request: web.BaseRequest) -> None:
    """Raise Unauthorized unless a program on this machine calls us directly, by a name of this machine."""
    if not _is_loopback(request.remote or ""):
        raise Unauthorized("a credential is required, except on the machine itself")
    for name in FORWARDED:
        if name in request.headers:
            raise Unauthorized(f"a credential is required through a proxy, and {name} says there is one")
    # Else a name that leads to this machine only since a page asked for it (DNS rebinding).
    if not _is_own_name(request.headers.get("Host", "")):
        raise Unauthorized("a credential is required, except by a loopback name in Host")


def _is_own_name(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
