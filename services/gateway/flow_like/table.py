"""All endpoints of the second surface (spec flow-like section 11.3)."""

from services.gateway.flow_like.app_keys import AppKeyRoutes
from services.gateway.flow_like.app_team import AppTeamRoutes
from services.gateway.flow_like.apps import AppRoutes
from services.gateway.flow_like.auth import AuthRoutes
from services.gateway.flow_like.board import BoardRoutes
from services.gateway.flow_like.catalog import CatalogRoutes
from services.gateway.flow_like.execution import ExecutionRoutes
from services.gateway.flow_like.hub import Hub
from services.gateway.flow_like.info import InfoRoutes
from services.gateway.flow_like.jobs import JobRoutes
from services.gateway.flow_like.limits import SignInLimits
from services.gateway.flow_like.oauth import OAuthRoutes
from services.gateway.flow_like.pat import PatRoutes
from services.gateway.flow_like.probes import ProbeRoutes
from services.gateway.flow_like.publications import PublicationRoutes
from services.gateway.flow_like.store import StoreRoutes
from services.gateway.flow_like.user import UserRoutes
from services.gateway.parts import Parts
from services.gateway.routing import Route


def routes(parts: Parts, hub: Hub) -> list[Route]:
    """Return the endpoints of this surface."""
    limits = SignInLimits(parts.config, parts.clock)
    return [
        *ProbeRoutes(parts).routes(),
        *InfoRoutes(hub, parts.auth).routes(),
        *AuthRoutes(parts, limits).routes(),
        *OAuthRoutes(parts, hub, limits).routes(),
        *UserRoutes(parts, hub).routes(),
        *PatRoutes(parts).routes(),
        *JobRoutes(parts).routes(),
        *ExecutionRoutes(parts).routes(),
        *BoardRoutes(parts).routes(),
        *CatalogRoutes(parts, hub).routes(),
        *AppRoutes(parts, hub).routes(),
        *AppTeamRoutes(parts).routes(),
        *AppKeyRoutes(parts).routes(),
        *StoreRoutes(parts, hub).routes(),
        *PublicationRoutes(parts).routes(),
    ]
