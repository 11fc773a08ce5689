"""The operations port of every service: probes for Kubernetes and metrics for Prometheus."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

VERSION = "0.1.0"

Check = Callable[[], Awaitable[str | None]]


class Health:
    """Whether this process lives, has started, and can do its work; `checks` name what it needs.

    A check returns None when its part is well, else a sentence that says what is wrong.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self.checks = dict(checks)
        self.started = False
        self.draining = False

    async def problems(self) -> dict[str, str]:
        """Run every check and return what is wrong, by name; empty means ready."""
        if self.draining:
            return {"service": "draining: it finishes its work and stops"}
        if not self.started:
            return {"service": "starting"}
        found = {name: await check() for name, check in self.checks.items()}
        return {name: problem for name, problem in found.items() if problem is not None}

    def routes(self) -> list[web.RouteDef]:
        """Return `/health/live`, `/health/ready` and `/health/startup`."""
        return [
            web.get("/health/live", self._live),
            web.get("/health/ready", self._ready),
            web.get("/health/startup", self._startup),
        ]

    async def _live(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "healthy", "version": VERSION})

    async def _ready(self, _request: web.Request) -> web.Response:
        problems = await self.problems()
        if problems:
            body = {"status": "unhealthy", "version": VERSION, "checks": problems}
            return web.json_response(body, status=503)
        return web.json_response({"status": "healthy", "version": VERSION})

    async def _startup(self, request: web.Request) -> web.Response:
        if not self.started:
            return await self._ready(request)
        return await self._live(request)


async def metrics(_request: web.Request) -> web.Response:
    """Answer with this process's metrics in the Prometheus text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def serve(health: Health, *, host: str, port: int, reuse_port: bool = False) -> web.AppRunner:
    """Open the operations port and return its runner, to be cleaned up at the end.

    With `reuse_port` another process of this user may hold the port for this one.
    """
    app = web.Application()
    app.add_routes([*health.routes(), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, reuse_port=reuse_port or None).start()
    return runner
