"""The MCP server (spec flow8 section 14.3), with the official client, over real sockets."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from tests.e2e.api import Api
from tests.e2e.companies import neighbour
from tests.e2e.mcp_client import MODES, client, key_of, mcp_url, tool
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("mode", MODES)]
SUM = {"ref": "sum", "appId": "var", "args": {"values": {"total": "{{ add $prev.args.a $prev.args.b }}"}}}
GATE = {"ref": "sign", "appId": "var", "args": {"values": {"signed": True}}, "needsApproval": True}
BROKEN = {"ref": "oops", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}}
SLOW = {"ref": "slow", "appId": "delay", "args": {"ms": 1_900}}
NUMBERS = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}


def text_of(result: Any) -> str:
    [content] = result.content
    return str(content.text)


async def test_14_3_a_flow_is_a_tool_with_its_schema_and_answers_with_its_output(
    shared_system: RunningSystem, mode: str
) -> None:
    name = f"sum-{mode}"
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, SUM)
        await tool(api, name, flow, inputSchema=NUMBERS, description="Adds two numbers.")
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            [shown] = [each for each in (await mcp.list_tools()).tools if each.name == name]
            assert (shown.input_schema, shown.description) == (NUMBERS, "Adds two numbers.")
            result = await mcp.call_tool(name, {"a": 40, "b": 2})
        assert (result.is_error, result.structured_content, text_of(result)) == (
            False, {"total": 42}, '{"total":42}',
        )  # fmt: skip
        [play] = await api.rows(f"/api/flows/{flow['id']}/plays", 1)
    assert (play["trigger"], play["args"]) == ("mcp", {"a": 40, "b": 2})


async def test_14_3_both_paths_are_served(shared_system: RunningSystem, mode: str) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with client(mcp_url(shared_system).removesuffix("mcp"), token, mode) as mcp:
        assert mcp.server_info is not None
        assert mcp.server_info.name == "headrace"
        assert mcp.protocol_version == ("2025-11-25" if mode == "legacy" else "2026-07-28")
        assert (await mcp.list_tools()).next_cursor is None


async def test_14_3_arguments_that_do_not_fit_start_nothing_and_are_named(
    shared_system: RunningSystem, mode: str
) -> None:
    name = f"checked-{mode}"
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, SUM)
        await tool(api, name, flow, inputSchema=NUMBERS)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            wrong = await mcp.call_tool(name, {"a": "x", "b": 2})
            missing = await mcp.call_tool(name, {"a": 1})
        assert (wrong.is_error, "a: 'x' is not of type 'number'" in text_of(wrong)) == (True, True)
        assert (missing.is_error, "'b' is a required property" in text_of(missing)) == (True, True)
        assert (await api.get(f"/api/flows/{flow['id']}/plays"))["total"] == 0


async def test_14_3_an_unknown_tool_is_an_error_of_the_protocol(
    shared_system: RunningSystem, mode: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with client(mcp_url(shared_system), token, mode) as mcp:
        with pytest.raises(MCPError, match="Unknown tool: nowhere"):
            await mcp.call_tool("nowhere", {})


async def test_14_3_a_failed_play_is_an_error_of_the_tool(shared_system: RunningSystem, mode: str) -> None:
    name = f"fails-{mode}"
    async with Api.logged_in(shared_system) as api:
        await tool(api, name, await api.create_flow(name, BROKEN))
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            result = await mcp.call_tool(name, {})
    assert result.is_error
    assert result.structured_content["error"] == "EXPRESSION_ERROR"
    assert set(result.structured_content) == {"error", "message", "playId"}


async def test_14_3_an_async_tool_answers_at_once(shared_system: RunningSystem, mode: str) -> None:
    name = f"queued-{mode}"
    async with Api.logged_in(shared_system) as api:
        flows = [await api.create_flow(f"{name} {n}", SUM) for n in range(2)]
        await tool(api, name, flows[0], responseMode="async")
        await tool(api, f"{name}-two", *flows, responseMode="async")
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            one = (await mcp.call_tool(name, {"a": 1, "b": 2})).structured_content
            two = (await mcp.call_tool(f"{name}-two", {"a": 1, "b": 2})).structured_content
        assert (one["status"], two["status"], len(two["playIds"])) == ("queued", "queued", 2)
        for play_id in (one["playId"], *two["playIds"]):
            assert (await api.wait_for(play_id))["out"] == {"total": 3}


async def test_14_3_several_flows_answer_side_by_side(shared_system: RunningSystem, mode: str) -> None:
    name = f"several-{mode}"
    async with Api.logged_in(shared_system) as api:
        good, bad = await api.create_flow(f"{name} good", SUM), await api.create_flow(f"{name} bad", BROKEN)
        await tool(api, name, good, bad)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            result = await mcp.call_tool(name, {"a": 1, "b": 2})
    both = result.structured_content["result"]
    assert [(each["flowId"], each["state"]) for each in both] == [(good["id"], "DONE"), (bad["id"], "FAIL")]
    assert (both[0]["out"], result.is_error) == ({"total": 3}, True)


async def test_14_3_an_approval_pauses_the_call_and_progress_tells_of_it(
    shared_system: RunningSystem, mode: str
) -> None:
    name, news = f"gated-{mode}", list[tuple[float, str | None]]()

    async def told(progress: float, total: float | None, message: str | None) -> None:
        assert total is None
        news.append((progress, message))

    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, SUM, GATE)
        await tool(api, name, flow)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp, asyncio.TaskGroup() as tasks:
            call = tasks.create_task(mcp.call_tool(name, {"a": 1, "b": 2}, progress_callback=told))
            play = (await eventually(lambda: api.waiting(flow["id"])))[0]
            await eventually(lambda: said(news, "sign waits for an approval"))
            await api.post(f"/api/plays/{play['id']}/approve", {"layerId": "sign", "decision": "approved"})
        assert call.result().structured_content == {"signed": True}
    assert [count for count, _ in news] == list(range(1, len(news) + 1))
    assert f"play {play['id']}: sum DONE" in [message for _, message in news]


async def test_14_3_a_call_that_waits_too_long_for_a_person_says_so(
    shared_system: RunningSystem, mode: str
) -> None:
    name = f"patient-{mode}"
    async with Api.logged_in(shared_system) as api:
        await tool(api, name, await api.create_flow(name, GATE), timeoutSeconds=1)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            result = await mcp.call_tool(name, {})
        assert (result.is_error, result.structured_content["status"]) == (False, "waiting")
        assert (await api.get(f"/api/plays/{result.structured_content['playId']}"))["state"] == "WAIT"


async def test_14_3_when_the_time_is_over_the_play_goes_on(shared_system: RunningSystem, mode: str) -> None:
    name = f"slow-{mode}"
    async with Api.logged_in(shared_system) as api:
        await tool(api, name, await api.create_flow(name, SLOW), timeoutSeconds=1)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            result = await mcp.call_tool(name, {})
        told = result.structured_content
        assert (result.is_error, told["error"], told["status"]) == (True, "TIMEOUT", "running")
        assert "it goes on" in told["message"]
        assert (await api.wait_for(told["playId"]))["state"] == "DONE"


async def test_14_3_a_call_that_the_client_cancels_cancels_its_play(
    shared_system: RunningSystem, mode: str
) -> None:
    name = f"given-up-{mode}"
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, GATE)
        await tool(api, name, flow)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp, anyio.create_task_group() as tasks:
            tasks.start_soon(mcp.call_tool, name, {})
            [play] = await eventually(lambda: api.waiting(flow["id"]))
            tasks.cancel_scope.cancel()
        ended = await api.wait_for(play["id"])
    assert (ended["state"], ended["errorCode"]) == ("FAIL", "CANCELLED")


async def test_14_3_a_disabled_flow_is_refused(shared_system: RunningSystem, mode: str) -> None:
    name = f"disabled-{mode}"
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, SUM)
        await tool(api, name, flow)
        await api.put(f"/api/flows/{flow['id']}", {"enabled": False})
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            result = await mcp.call_tool(name, {"a": 1, "b": 2})
    assert (result.is_error, result.structured_content["error"]) == (True, "FLOW_DISABLED")


async def test_14_3_clients_are_told_when_tools_change(shared_system: RunningSystem, mode: str) -> None:
    name, rung = f"coming-{mode}", asyncio.Event()

    async def heard(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            rung.set()

    async def listed() -> list[str]:
        return [each.name for each in (await mcp.list_tools()).tools if each.name == name]

    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow(name, SUM)
        token = (await key_of(api))["token"]
        async with client(mcp_url(shared_system), token, mode, on_message=heard) as mcp:
            assert mcp.server_capabilities.tools is not None
            assert mcp.server_capabilities.tools.list_changed
            assert await listed() == []
            if mode == "legacy":
                route = await tool(api, name, flow)
                async with asyncio.timeout(60):
                    await rung.wait()
            else:
                async with mcp.listen(tools_list_changed=True) as changes:
                    route = await tool(api, name, flow)
                    await anext(aiter(changes))
            assert await eventually(listed) == [name]
            await api.put(f"/api/channels/{route['channelId']}", {"enabled": False})
            await eventually(lambda: gone(listed))
            with pytest.raises(MCPError, match="Unknown tool"):
                await mcp.call_tool(name, {"a": 1, "b": 2})


async def test_14_3_tools_are_those_of_the_keys_company(shared_system: RunningSystem, mode: str) -> None:
    name = f"ours-{mode}"
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        await tool(api, name, await api.create_flow(name, SUM))
        # The same name in two companies is two tools.
        await tool(other, name, await other.create_flow(name, BROKEN))
        token = (await key_of(other))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            assert [each.name for each in (await mcp.list_tools()).tools] == [name]
            result = await mcp.call_tool(name, {"a": 1, "b": 2})
    assert (result.is_error, result.structured_content["error"]) == (True, "EXPRESSION_ERROR")


async def test_20_a_viewers_key_lists_tools_and_calls_none(shared_system: RunningSystem, mode: str) -> None:
    name, email = f"looked-at-{mode}", f"viewer-{mode}@example.test"
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as viewer:
        await tool(api, name, await api.create_flow(name, SUM))
        made = await api.post("/api/users", {"email": email, "role": "viewer"}, status=201)
        await viewer.login(email, made["password"])
        token = (await key_of(viewer))["token"]
        async with client(mcp_url(shared_system), token, mode) as mcp:
            assert name in [each.name for each in (await mcp.list_tools()).tools]
            with pytest.raises(MCPError, match="permission to run"):
                await mcp.call_tool(name, {"a": 1, "b": 2})


async def said(news: list[tuple[float, str | None]], text: str) -> bool:
    return any(text in (message or "") for _, message in news)


async def gone(listed: Callable[[], Awaitable[list[str]]]) -> bool:
    return await listed() == []
