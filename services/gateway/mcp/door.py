"""The port of the MCP server: held by one gateway of a machine, served from when the first client knocks.

What speaks MCP takes longer to import than all the rest of a gateway, and more memory than half of it. So a gateway
only binds the port, and imports the server, in a thread, once somebody connects (docs/adr/0030).
"""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from importlib import import_module

import structlog

from services.gateway.parts import Parts

BACKLOG = 128
# How long after its holder died the port is taken over, at the latest.
RETRY_S = 1.0
SERVER = "services.gateway.mcp.serving"

log = structlog.get_logger(__name__)
Serve = Callable[[Parts, socket.socket, asyncio.Event], Awaitable[None]]


class Door:
    """Takes the port when it is free, and opens when somebody knocks."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch for the port; returns at once. Port 0, or no secret to check keys with, turns MCP off."""
        config = self._parts.config
        if config.mcp_port and (config.mcp_jwt_secret or config.jwt_secret):
            self._task = asyncio.create_task(self._run(), name="mcp")
            self._task.add_done_callback(_tell)

    async def stop(self) -> None:
        """Answer those who wait, and give the port to others. Twice is harmless."""
        self._stop.set()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        with socket.socket(_family(self._parts.config.host)) as door:
            if not await self._bound(door):
                return
            if not await self._knocked(door):
                return
            began_s = self._parts.clock.monotonic_s()
            # In a thread: other callers of this gateway are served meanwhile.
            server = await asyncio.to_thread(import_module, SERVER)
            log.info("mcp_loaded", took_s=round(self._parts.clock.monotonic_s() - began_s, 3))
            serve: Serve = server.serve
            await serve(self._parts, door, self._stop)

    async def _bound(self, door: socket.socket) -> bool:
        host, port = self._parts.config.host, self._parts.config.mcp_port
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.setblocking(False)
        told = False
        while not self._stop.is_set():
            try:
                door.bind((host, port))
                door.listen(BACKLOG)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                if not told:
                    log.info("mcp_port_held_by_another", host=host, port=port)
                told = True
                await self._stopped_within(RETRY_S)
            else:
                log.info("mcp_listening", host=host, port=port)
                return True
        return False

    async def _knocked(self, door: socket.socket) -> bool:
        """Wait for the first client. Return False when the gateway stops before."""
        loop, knocked = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(door.fileno(), knocked.set)
        waiting = [asyncio.ensure_future(event.wait()) for event in (knocked, self._stop)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(door.fileno())
            for wait in waiting:
                wait.cancel()
        return not self._stop.is_set()

    async def _stopped_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("mcp_ended", exc_info=task.exception())
