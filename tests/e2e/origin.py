"""A server on this machine that steps call: it drops, refuses, delays or echoes, as the path says, and remembers."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer


class Call(NamedTuple):
    """One call as it came in; `at_s` is monotonic."""

    path: str
    at_s: float
    key: str | None


class Origin:
    """Answers `/echo` with what came; `/<fault>/<count>/…` only after that many calls of the path went wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[Call] = []
        self._came: Counter[str] = Counter()
        self._over = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def serving(cls) -> AsyncIterator["Origin"]:
        """Serve until the end of the block."""
        origin, app = cls(), web.Application()
        app.router.add_route("*", "/echo", origin.echo)
        app.router.add_post("/orders", _order)
        app.router.add_get("/reports/today.csv", _report)
        app.router.add_route("*", "/{fault:drop|hang|status-\\d+}/{count}/{rest:.*}", origin.fault)
        async with TestServer(app, host="127.0.0.1") as server:
            origin.url = str(server.make_url("/")).rstrip("/")
            yield origin
            origin._over.set()

    def of(self, path: str) -> list[Call]:
        """Return the calls of one path, in order."""
        return [call for call in self.calls if call.path == path]

    async def echo(self, request: web.Request) -> web.Response:
        """Answer with what came."""
        self.calls.append(Call(request.path, time.monotonic(), request.headers.get("Idempotency-Key")))
        return web.json_response(
            {
                "method": request.method,
                "query": [list(pair) for pair in request.query.items()],
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "body": await request.text(),
            }
        )

    async def fault(self, request: web.Request) -> web.Response:
        """Go wrong so many times, then echo."""
        kind, count = request.match_info["fault"], int(request.match_info["count"])
        self._came[request.path] += 1
        if self._came[request.path] > count:
            return await self.echo(request)
        self.calls.append(Call(request.path, time.monotonic(), request.headers.get("Idempotency-Key")))
        if kind == "drop":
            assert request.transport is not None
            request.transport.close()
        elif kind == "hang":
            await self._over.wait()
        status = int(kind.removeprefix("status-")) if kind.startswith("status-") else 503
        return web.json_response({"refused": True}, status=status)


async def _order(request: web.Request) -> web.Response:
    """Answer as the example of `curl` shows."""
    return web.json_response({"id": 7, "sku": (await request.json())["sku"]}, status=201)


async def _report(_: web.Request) -> web.Response:
    """Answer as the example of `wget` shows."""
    return web.Response(text="id,total\n42,250\n", content_type="text/csv")
