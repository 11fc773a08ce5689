"""The MCP server on an open port, from its parts (docs/adr/0030)."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from libs.common.messages.channel import Channel
from services.gateway.mcp.calls import Calls
from services.gateway.mcp.entry import Entry
from services.gateway.mcp.server import McpServer
from services.gateway.mcp.sessions import SESSION_IDLE_S, SESSIONS_MAX, Sessions
from services.gateway.parts import Parts

HEADER_BYTES_MAX = 65_536
KEEPALIVE_S = 75
FINISH_S_MAX = 5
HOUSEKEEPING_S = 60.0


class _Listener(uvicorn.Server):
    """Uvicorn within a process that has signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the gateway."""
        yield


async def serve(parts: Parts, door: socket.socket, stop: asyncio.Event) -> None:
    """Serve MCP on a bound socket until told to stop; then answer those who wait."""
    sessions = Sessions(parts.clock)
    calls = Calls(parts)
    changed: asyncio.Queue[str] = asyncio.Queue()

    def note(channel: Channel) -> None:
        if channel.kind == "mcp":
            changed.put_nowait(channel.company_id)

    parts.channels.on_change(note)
    server = McpServer(parts.channels, calls, sessions)
    manager = StreamableHTTPSessionManager(
        server.protocol,
        # The entry has looked at Host and Origin already.
        security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        session_idle_timeout=SESSION_IDLE_S,
        max_request_body_size=parts.config.body_bytes_max,
        max_sessions=SESSIONS_MAX,
    )
    entry = Entry(parts.config, parts.auth.keys, sessions, manager.handle_request)
    listener = _Listener(
        uvicorn.Config(
            entry,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEPALIVE_S,
            timeout_graceful_shutdown=FINISH_S_MAX,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        )
    )
    async with asyncio.TaskGroup() as tasks:
        beside = [
            tasks.create_task(_tell(server, changed)),
            tasks.create_task(_keep_house(sessions)),
            tasks.create_task(entry.watch()),
        ]
        async with manager.run():
            serving = tasks.create_task(listener.serve(sockets=[door]))
            await stop.wait()
            stopping = asyncio.create_task(calls.stop())
            listener.should_exit = True
            entry.stop()
            server.stop()
            await serving
            await stopping
        for task in beside:
            task.cancel()


async def _tell(server: McpServer, changed: "asyncio.Queue[str]") -> None:
    while True:
        companies = {await changed.get()}
        while not changed.empty():
            companies.add(changed.get_nowait())
        for company_id in companies:
            await server.tools_changed(company_id)


async def _keep_house(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        sessions.forget_silent()
