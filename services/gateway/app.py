"""The gateway: HTTP and sockets for people, commands and queries for the bus."""

import asyncio
from collections.abc import Mapping

import structlog
from aiohttp import web

from libs.common.bus import Bus
from libs.common.clock import SystemClock
from libs.common.config import Config
from libs.common.health import Check, Health
from services.gateway.channels.channels import Channels
from services.gateway.cors import Origins
from services.gateway.flow_like import hub as hubs
from services.gateway.flow_like import jobs_door
from services.gateway.flow_like import table as flow_like
from services.gateway.flow_like.hub import Hub
from services.gateway.mcp.door import Door
from services.gateway.parts import Parts, assemble
from services.gateway.routes.audit import AuditRoutes
from services.gateway.routes.auth import AuthRoutes
from services.gateway.routes.channels import ChannelRoutes
from services.gateway.routes.documents import DocumentRoutes
from services.gateway.routes.events import EventRoutes
from services.gateway.routes.flows import FlowRoutes
from services.gateway.routes.groups import GroupRoutes
from services.gateway.routes.health import HealthRoutes
from services.gateway.routes.keys import KeyRoutes
from services.gateway.routes.kv import KvRoutes
from services.gateway.routes.layers import LayerRoutes
from services.gateway.routes.modules import ModuleRoutes
from services.gateway.routes.play_controls import PlayControlRoutes
from services.gateway.routes.plays import PlayRoutes
from services.gateway.routes.run import RunRoutes
from services.gateway.routes.schedules import ScheduleRoutes
from services.gateway.routes.socket import SocketRoutes
from services.gateway.routes.users import UserRoutes
from services.gateway.routes.versions import VersionRoutes
from services.gateway.routing import Route, Router
from services.gateway.server import Server

FINISH_S_MAX = 10.0
BACKLOG = 1_024

log = structlog.get_logger(__name__)


def routes(parts: Parts, origins: Origins, hub: Hub) -> list[Route]:
    """Return every endpoint of the gateway."""
    table = [
        *HealthRoutes(parts.health, parts.readiness).routes(),
        *AuthRoutes(parts).routes(),
        *KeyRoutes(parts).routes(),
        *UserRoutes(parts).routes(),
        *FlowRoutes(parts).routes(),
        *VersionRoutes(parts).routes(),
        *LayerRoutes(parts).routes(),
        *GroupRoutes(parts).routes(),
        *ModuleRoutes(parts).routes(),
        *KvRoutes(parts).routes(),
        *ChannelRoutes(parts).routes(),
        *AuditRoutes(parts).routes(),
        *RunRoutes(parts).routes(),
        *PlayRoutes(parts).routes(),
        *PlayControlRoutes(parts).routes(),
        *ScheduleRoutes(parts).routes(),
        *EventRoutes(parts, origins).routes(),
        *SocketRoutes(parts, origins).routes(),
        *flow_like.routes(parts, hub),
    ]
    # They describe the whole table, themselves included.
    table += DocumentRoutes(table).routes()
    return table


class App:
    """One gateway process."""

    def __init__(self, config: Config, bus: Bus, health: Health) -> None:
        self._config = config
        self._parts = assemble(config, bus, SystemClock(), health)
        parts = self._parts
        self._channels = Channels(config, bus, parts.clock, parts.channels, parts.starts)
        self._runner: web.ServerRunner | None = None
        self._sites: list[web.BaseSite] = []
        self._mcp = Door(self._parts)

    async def start(self) -> None:
        """Follow definitions and sessions, then listen. Raises Invalid when the hub file does not fit."""
        parts, config = self._parts, self._config
        hub = hubs.load(config)
        await parts.auth.start()
        await parts.definitions.start()
        await parts.live.start()
        await parts.feeds.start()
        await parts.channels.start()
        origins = Origins(config.allowed_origins)
        server = Server(Router(routes(parts, origins, hub)), parts.auth, config, origins)
        self._runner = web.ServerRunner(server, shutdown_timeout=FINISH_S_MAX)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            config.host,
            config.port,
            backlog=BACKLOG,
            reuse_port=config.reuse_port or None,
        )
        await site.start()
        self._sites.append(site)
        await self._channels.start()
        self._mcp.start()
        jobs_door.warn(config)
        log.info("listening", host=config.host, port=self.port)

    async def stop(self) -> None:
        """Accept nothing more, tell sockets and waiting callers, finish the requests under way. Twice is harmless."""
        while self._sites:
            await self._sites.pop().stop()
        await asyncio.gather(self._channels.stop(), self._parts.feeds.stop(), self._parts.live.stop())
        await self._mcp.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._parts.channels.stop()
        await self._parts.auth.stop()

    def checks(self) -> Mapping[str, Check]:
        """Return what readiness depends on beside the bus: nothing, for a start needs the log alone."""
        return {}

    @property
    def port(self) -> int:
        """Return the port that was opened; the configured one may be 0."""
        assert self._runner is not None, "not started"
        return int(self._runner.addresses[0][1])
