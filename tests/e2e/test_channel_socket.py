"""WebSocket channels over real sockets (spec flow8 section 14.2)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from services.gateway.channels.socket import FRAMES_WAITING_MAX
from tests.e2e.api import Api, Json
from tests.e2e.channels import ECHO, Door, call, door, refused
from tests.waiting import WITHIN_S, eventually


class Line:
    """One open WebSocket."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection

    async def ask(self, text: str) -> Json:
        """Send a text frame and return the next answer."""
        await self.connection.send_str(text)
        return await self.next()

    async def next(self) -> Json:
        """Return the next answer."""
        async with asyncio.timeout(WITHIN_S):
            return await self.connection.receive_json()

    async def end(self) -> int | None:
        """Return the code that the server closes with."""
        async with asyncio.timeout(WITHIN_S):
            while not self.connection.closed:
                await self.connection.receive()
        return self.connection.close_code


@asynccontextmanager
async def line(opened: Door, path: str = "/in", **headers: str) -> AsyncIterator[Line]:
    """Connect to a WebSocket channel until the end of the block."""
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(opened.url + path, headers=headers) as connection,
    ):
        yield Line(connection)


async def echo(api: Api, *layers: Json) -> str:
    flow = await api.create_flow("Echo", *(layers or (ECHO,)))
    return str(flow["id"])


async def test_14_2_a_frame_runs_the_flow_and_is_answered(api: Api) -> None:
    async with door(api, [await echo(api)], kind="ws", route={"path": "/rooms/:room"}) as opened:
        async with line(opened, "/rooms/7?a=1&a=2", **{"X-From": "test"}) as client:
            first = await client.ask('{"n": 1}')
            second = await client.ask("no JSON")
        play = await api.wait_for(first["playId"])
    got = first["out"]["got"]
    assert set(first) == {"playId", "state", "out"}
    assert (first["state"], got["body"], got["method"], got["path"]) == ("DONE", {"n": 1}, "WS", "/rooms/7")
    assert (got["query"], got["params"], got["headers"]["x-from"]) == (
        {"a": ["1", "2"]},
        {"room": "7"},
        "test",
    )
    assert second["out"]["got"]["body"] == "no JSON"
    assert play["trigger"] == "channel"


async def test_14_2_an_asynchronous_route_answers_at_once(api: Api) -> None:
    route = {"responseMode": "async"}
    async with door(api, [await echo(api)], kind="websocket", route=route) as opened, line(opened) as client:
        answer = await client.ask("{}")
        play = await api.wait_for(answer["playId"])
    assert (answer["status"], play["state"]) == ("queued", "DONE")


async def test_14_2_frames_are_answered_in_their_order(api: Api) -> None:
    async with door(api, [await echo(api)], kind="ws") as opened, line(opened) as client:
        for n in range(20):
            await client.connection.send_str(json.dumps(n))
        answers = [await client.next() for _ in range(20)]
        path = f"/api/channels/{opened.channel['id']}/requests?size=100"

        async def recorded() -> Json:
            page = await api.get(path)
            return page["data"] if page["total"] == 20 else None

        records = await eventually(recorded)
    assert [answer["out"]["got"]["body"] for answer in answers] == list(range(20))
    assert [record["playId"] for record in reversed(records)] == [answer["playId"] for answer in answers]
    assert {record["method"] for record in records} == {"WS"}


async def test_14_2_a_failure_a_timeout_and_an_approval_are_told_in_frames(api: Api) -> None:
    wrong = await echo(api, {"ref": "x", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}})
    slow = await echo(api, {"ref": "x", "appId": "delay", "args": {"ms": 2_500}})
    gate = await echo(api, {**ECHO, "needsApproval": True})
    answers = []
    for flow in (wrong, slow, gate):
        route = {"timeoutSeconds": 1}
        async with door(api, [flow], kind="ws", route=route) as opened, line(opened) as client:
            answers.append(await client.ask("{}"))
    failed, late, waiting = answers
    assert (failed["statusCode"], late["statusCode"], late["error"]) == (500, 504, "TIMEOUT")
    assert {"error", "message", "playId"} <= set(failed)
    assert (waiting["state"], waiting["out"]) == ("WAIT", None)


async def test_14_2_the_token_comes_as_header_or_in_the_query(api: Api) -> None:
    async with door(api, [await echo(api)], kind="ws", authToken="t0p-secret") as opened:
        async with line(opened, Authorization="Bearer t0p-secret") as client:
            by_header = await client.ask("{}")
        async with line(opened, "/in?token=t0p-secret&x=1") as client:
            by_query = await client.ask("{}")
        refusals = []
        for path in (
            "/in",
            "/in?token=wrong",
            "/in?token=t0p-secret&token=t0p-secret",
            "/other?token=t0p-secret",
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                async with line(opened, path):
                    pass
            refusals.append(refused.value.status)
    assert by_header["state"] == by_query["state"] == "DONE"
    assert by_query["out"]["got"]["query"] == {"x": "1"}
    assert "t0p-secret" not in str([by_header, by_query])
    assert refusals == [401, 401, 401, 404]


async def test_14_2_what_is_no_websocket_is_refused(api: Api) -> None:
    async with door(api, [await echo(api)], kind="ws") as opened:
        answer = await call(opened, method="GET")
    assert refused(answer) == (400, "VALIDATION_ERROR")


async def test_14_2_frames_that_no_channel_takes_end_the_connection(api: Api) -> None:
    slow = await echo(api, {"ref": "x", "appId": "delay", "args": {"ms": 1_500}})
    async with door(api, [slow], kind="ws") as opened:
        async with line(opened) as client:
            await client.connection.send_bytes(b"x")
            binary = await client.end()
        async with line(opened) as client:
            await client.connection.send_str("x" * 2_000_000)
            large = await client.end()
        async with line(opened) as client:
            for _ in range(FRAMES_WAITING_MAX + 3):
                await client.connection.send_str("{}")
            many = await client.end()
    assert (binary, large, many) == (1003, 1009, 1013)


async def test_14_2_a_channel_that_is_changed_or_disabled_lets_its_clients_go(api: Api) -> None:
    async with door(api, [await echo(api)], kind="ws") as opened:
        path = f"/api/channels/{opened.channel['id']}"
        async with line(opened) as client:
            await api.put(path, {"name": "Another"})
            changed = await client.end()
        async with line(opened) as client:
            await api.put(path, {"enabled": False})
            disabled = await client.end()
    assert (changed, disabled) == (1001, 1001)


async def test_14_2_a_disabled_flow_is_told_and_the_connection_goes_on(api: Api) -> None:
    flow = await echo(api)
    async with door(api, [flow], kind="ws") as opened, line(opened) as client:
        await api.put(f"/api/flows/{flow}", {"enabled": False})
        refused = await client.ask("{}")
        await api.put(f"/api/flows/{flow}", {"enabled": True})
        answered = await client.ask("{}")
    assert (refused["error"], refused["statusCode"], answered["state"]) == ("FLOW_DISABLED", 409, "DONE")
