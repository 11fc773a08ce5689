"""`/api/v1/health` and `/api/v1/health/db` (spec flow-like section 11.3); the probes are in `routes/health`."""

from typing import Literal

import msgspec
from aiohttp import web

from libs.common.errors import HeadraceError
from services.gateway.answers import reply
from services.gateway.operations import operation
from services.gateway.parts import Parts
from services.gateway.routing import Call, Route


class Ok(msgspec.Struct, frozen=True, kw_only=True):
    """This gateway answers."""

    status: Literal["ok"] = "ok"


class RoundTrip(msgspec.Struct, frozen=True, kw_only=True):
    """How long the database took for a statement that does nothing, in milliseconds."""

    rtt: int


class DatabaseAway(HeadraceError):
    """The database does not answer; where it is and why is told in the store's log alone."""

    default_code = "DATABASE_ERROR"


class ProbeRoutes:
    """Tells anybody whether this gateway answers, and its database."""

    def __init__(self, parts: Parts) -> None:
        self._readiness = parts.readiness

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/v1/health", self._health, None),
            Route("GET", "/api/v1/health/db", self._database, None),
        ]

    @operation(Ok)
    async def _health(self, _call: Call) -> web.Response:
        """Tell whether this gateway answers."""
        return reply(Ok())

    @operation(RoundTrip)
    async def _database(self, _call: Call) -> web.Response:
        """Return the database's round-trip time in milliseconds."""
        try:
            found = await self._readiness.store()
        except HeadraceError as error:
            raise DatabaseAway(error.message) from error
        if found.postgres is not None:
            raise DatabaseAway(found.postgres)
        return reply(RoundTrip(rtt=found.rtt_ms))
