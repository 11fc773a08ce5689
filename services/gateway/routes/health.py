"""`/api/health` and the probes on the public port."""

import msgspec
from aiohttp import web

from libs.common.health import VERSION, Health
from services.gateway.answers import reply
from services.gateway.operations import Answer, operation
from services.gateway.readiness import SystemReadiness
from services.gateway.routing import Call, Route


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How this gateway is; `checks` names what is wrong."""

    status: str
    version: str
    checks: dict[str, str] = {}


class HealthRoutes:
    """Tells anybody whether this gateway lives and can work."""

    def __init__(self, health: Health, readiness: SystemReadiness) -> None:
        self._health = health
        self._readiness = readiness

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("GET", "/api/health", self._ready, None),
            Route("GET", "/health/ready", self._system, None),
            Route("GET", "/health/live", self._live, None),
            Route("GET", "/health/startup", self._startup, None),
        ]

    @operation(Report, also=(Answer(503, Report, "It cannot work; `checks` says why"),))
    async def _ready(self, _call: Call) -> web.Response:
        """Tell whether this gateway can work."""
        return _report(await self._health.problems())

    @operation(Report, also=(Answer(503, Report, "A part does not work; `checks` says which and why"),))
    async def _system(self, _call: Call) -> web.Response:
        """Tell whether all that calls depend on works: NATS, the log, the store's queries, the migrations."""
        return _report(await self._readiness.problems())

    @operation(Report)
    async def _live(self, _call: Call) -> web.Response:
        """Tell whether this process answers at all."""
        return reply(Report(status="healthy", version=VERSION))

    @operation(Report, also=(Answer(503, Report, "It has not started yet"),))
    async def _startup(self, call: Call) -> web.Response:
        """Tell whether this gateway has started."""
        return await (self._live(call) if self._health.started else self._ready(call))


def _report(problems: dict[str, str]) -> web.Response:
    if problems:
        return reply(Report(status="unhealthy", version=VERSION, checks=problems), status=503)
    return reply(Report(status="healthy", version=VERSION))
