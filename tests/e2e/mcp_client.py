"""Drives the MCP server as agents do, with the official client; and as nobody should, with plain HTTP."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import httpx2
from mcp.client.client import Client
from mcp.client.session import MessageHandlerFnT
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.api import Api, Json
from tests.fixtures.system import RunningSystem

WITHIN_S = 60.0
# The protocol of today, and the one with a handshake and sessions.
MODES = ("auto", "legacy")
HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
LIST = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}


def mcp_url(system: RunningSystem) -> str:
    """Return where the system's MCP server is."""
    return (system.home / "run" / "mcp.url").read_text().strip()


async def key_of(api: Api, *scopes: str) -> Json:
    """Make an API key."""
    return await api.post("/api/auth/api-keys", {"name": "agent", "scopes": scopes or ["mcp"]}, status=201)


async def tool(api: Api, name: str, *flows: Json, **fields: Any) -> Json:
    """Offer flows as a tool, in an MCP channel of its own, and return its route."""
    channel = await api.post("/api/channels", {"name": name, "kind": "mcp", "enabled": True}, status=201)
    route = {"name": name, "toolName": name, "targetFlowIds": [flow["id"] for flow in flows], **fields}
    return await api.post(f"/api/channels/{channel['id']}/routes", route, status=201)


@asynccontextmanager
async def client(
    url: str, token: str, mode: str = MODES[0], *, on_message: MessageHandlerFnT | None = None
) -> AsyncIterator[Client]:
    """Connect with the official client until the end of the block."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=WITHIN_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, message_handler=on_message) as mcp,
    ):
        yield mcp


@asynccontextmanager
async def plain(token: str = "", **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Return an HTTP client with the headers of an MCP client until the end of the block."""
    authorization = {"Authorization": f"Bearer {token}"} if token else {}
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(headers=HEADERS | authorization | given, timeout=WITHIN_S) as http:
        yield http


async def begin_session(http: httpx.AsyncClient, url: str) -> dict[str, str]:
    """Shake hands, and return the headers of the session."""
    answer = await http.post(url, content=json.dumps(INITIALIZE))
    assert answer.status_code == 200, answer.text
    session = {"Mcp-Session-Id": answer.headers["mcp-session-id"], "Mcp-Protocol-Version": "2025-11-25"}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await http.post(url, content=json.dumps(ready), headers=session)).status_code == 202
    return session
