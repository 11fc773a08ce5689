"""All endpoints of the second surface (spec flow-like section 11.3)."""

from services.gateway.flow_like.hub import Hub
from services.gateway.flow_like.info import InfoRoutes
from services.gateway.flow_like.probes import ProbeRoutes
from services.gateway.parts import Parts
from services.gateway.routing import Route


def routes(parts: Parts, hub: Hub) -> list[Route]:
    """Return the endpoints of this surface."""
    return [
        *ProbeRoutes(parts).routes(),
        *InfoRoutes(hub, parts.auth).routes(),
    ]
