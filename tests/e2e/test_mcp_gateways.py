"""Several gateways on one machine: one holds the port of MCP, another takes over (docs/adr, the MCP server)."""

import asyncio
import json
import signal
import time

import aiohttp
import httpx
import pytest

from tests.e2e.api import Api
from tests.e2e.mcp_client import begin_session, client, key_of, mcp_url, plain, tool
from tests.fixtures.system import RunningSystem, running_system
from tests.waiting import eventually

pytestmark = pytest.mark.slow
STOPPED_S_MAX = 120.0
GATE = {"ref": "sign", "appId": "var", "args": {"values": {"signed": True}}, "needsApproval": True}
CALL = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "gated", "arguments": {}}}
STEP = {"ref": "s", "appId": "var", "args": {"values": {"x": 1}}}


def holders(system: RunningSystem) -> list[str]:
    return [name for name in ("gateway-0", "gateway-1") if "mcp_listening" in system.logs(name)]


async def test_another_gateway_takes_over_when_the_holder_dies() -> None:
    with running_system("--gateways", "2") as system:
        async with Api.logged_in(system) as api:
            await tool(api, "one", await api.create_flow("One", STEP))
            token = (await key_of(api))["token"]
        [holder] = holders(system)
        # Nobody has called, so nothing of MCP is loaded anywhere.
        assert "mcp_loaded" not in system.logs("gateway-0") + system.logs("gateway-1")
        async with client(mcp_url(system), token) as mcp:
            assert (await mcp.call_tool("one", {})).structured_content == {"x": 1}
        system.wait_restarted(holder, system.kill(holder))

        async def listens() -> bool:
            try:
                async with plain() as http:
                    return (await http.get(mcp_url(system))).status_code == 401
            except httpx.TransportError:
                return False

        await eventually(listens)
        async with client(mcp_url(system), token) as mcp:
            assert (await mcp.call_tool("one", {})).structured_content == {"x": 1}


async def test_a_gateway_that_stops_ends_streams_and_calls_and_leaves_plays_alone() -> None:
    with running_system() as system:
        async with Api.logged_in(system) as api, asyncio.TaskGroup() as tasks:
            flow = await api.create_flow("Gated", GATE)
            await tool(api, "gated", flow)
            async with plain((await key_of(api))["token"]) as http:
                session = await begin_session(http, mcp_url(system))
                call = tasks.create_task(
                    http.post(mcp_url(system), content=json.dumps(CALL), headers=session)
                )
                play = (await eventually(lambda: api.waiting(flow["id"])))[0]
                async with http.stream("GET", mcp_url(system), headers=session) as stream:
                    old, began_s = system.kill("gateway-0", signal.SIGTERM), time.monotonic()
                    async for _ in stream.aiter_raw():
                        pass
                assert '"status":"waiting"' in (await call).text.replace("\\", "")
            assert time.monotonic() - began_s < STOPPED_S_MAX
            system.wait_restarted("gateway-0", old)
            await eventually(lambda: answers(api))
            # A cancel would be in the log before this play's start.
            later = await api.run(flow["id"])
            await api.wait_for(later["playId"], "WAIT")
            assert (await api.get(f"/api/plays/{play['id']}"))["state"] == "WAIT"
        assert "Traceback" not in system.logs("gateway-0")


async def answers(api: Api) -> bool:
    try:
        return (await api.call("GET", "/api/health")).status == 200
    except aiohttp.ClientError:
        return False
