"""Several gateways on one machine: one holds the port of MCP, another takes over (docs/adr, the MCP server)."""

import httpx
import pytest

from tests.e2e.api import Api, eventually
from tests.e2e.mcp_client import client, key_of, mcp_url, plain, tool
from tests.fixtures.system import RunningSystem, running_system

pytestmark = pytest.mark.slow
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
