"""Who may speak to the MCP server, and what it does with those who speak badly (spec flow8 sections 4 and 14.3)."""

import asyncio
import base64
import json
import time
from typing import Any

import httpx
import pytest

from services.gateway.mcp.sessions import SESSIONS_PER_COMPANY_MAX
from tests.e2e.api import Api
from tests.e2e.companies import neighbour
from tests.e2e.mcp_client import INITIALIZE, LIST, begin_session, client, key_of, mcp_url, plain, tool
from tests.fixtures.system import RunningSystem
from tests.waiting import eventually

pytestmark = pytest.mark.slow
GATE = {"ref": "sign", "appId": "var", "args": {"values": {"signed": True}}, "needsApproval": True}
REVOKED_S_MAX = 15.0


def code_of(answer: httpx.Response) -> tuple[int, str]:
    told = answer.json()
    assert set(told) == {"error", "message", "statusCode"}, told
    assert told["statusCode"] == answer.status_code
    return answer.status_code, told["error"]


def unsigned(token: str) -> str:
    """The same claims under `alg: none`."""
    header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    return f"{header}.{token.split('.')[1]}."


async def test_4_only_a_key_with_the_scope_mcp_is_let_in(shared_system: RunningSystem) -> None:
    url = mcp_url(shared_system)
    async with Api.logged_in(shared_system) as api:
        mcp, standard, both = [
            (await key_of(api, *scopes))["token"] for scopes in (("mcp",), ("standard",), ("standard", "mcp"))
        ]
    for token, status in (
        ("", 401), ("nonsense", 401), (unsigned(mcp), 401), (mcp[:-4] + "AAAA", 401), (standard, 403),
        (mcp, 200), (both, 200),
    ):  # fmt: skip
        async with plain(token) as http:
            answer = await http.post(url, content=json.dumps(INITIALIZE))
        assert answer.status_code == status, (token, answer.text)
        if status == 401:
            assert code_of(answer) == (401, "UNAUTHORIZED")
            assert answer.headers["www-authenticate"] == "Bearer"
        if status == 403:
            assert code_of(answer) == (403, "FORBIDDEN")


async def test_4_a_session_cookie_does_not_open_mcp(shared_system: RunningSystem) -> None:
    async with plain(Cookie="sid=whatever") as http:
        assert code_of(await http.post(mcp_url(shared_system), content=json.dumps(LIST))) == (
            401,
            "UNAUTHORIZED",
        )


async def test_4_a_revoked_key_is_refused_at_once_and_its_streams_end(shared_system: RunningSystem) -> None:
    url = mcp_url(shared_system)
    async with Api.logged_in(shared_system) as api:
        key = await key_of(api)
        async with plain(key["token"]) as http:
            session = await begin_session(http, url)
            async with http.stream("GET", url, headers=session) as stream:
                assert stream.status_code == 200
                await api.delete(f"/api/auth/api-keys/{key['id']}")
                began_s = time.monotonic()
                async for _ in stream.aiter_raw():
                    pass
            assert time.monotonic() - began_s < REVOKED_S_MAX
            assert code_of(await http.post(url, content=json.dumps(LIST), headers=session)) == (
                401,
                "UNAUTHORIZED",
            )


async def test_4_a_call_whose_key_is_revoked_ends_and_its_play_goes_on(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await api.create_flow("Revoked meanwhile", GATE)
        await tool(api, "revoked-meanwhile", flow)
        key = await key_of(api)
        body = {
            "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "revoked-meanwhile", "arguments": {}},
        }  # fmt: skip
        async with plain(key["token"]) as http, asyncio.TaskGroup() as tasks:
            session = await begin_session(http, mcp_url(shared_system))
            call = tasks.create_task(
                http.post(mcp_url(shared_system), content=json.dumps(body), headers=session)
            )
            play = (await eventually(lambda: api.waiting(flow["id"])))[0]
            await api.delete(f"/api/auth/api-keys/{key['id']}")
        assert "signed" not in call.result().text
        await api.post(f"/api/plays/{play['id']}/approve", {"layerId": "sign", "decision": "approved"})
        assert (await api.wait_for(play["id"]))["state"] == "DONE"


async def test_14_3_a_session_belongs_to_the_key_that_opened_it(shared_system: RunningSystem) -> None:
    url = mcp_url(shared_system)
    async with Api.logged_in(shared_system) as api:
        mine, theirs = (await key_of(api))["token"], (await key_of(api))["token"]
    async with plain(mine) as http, plain(theirs) as thief:
        session = await begin_session(http, url)
        assert (await thief.post(url, content=json.dumps(LIST), headers=session)).status_code == 404
        assert (await http.post(url, content=json.dumps(LIST), headers=session)).status_code == 200
        unknown = session | {"Mcp-Session-Id": "f" * 32}
        assert (await http.post(url, content=json.dumps(LIST), headers=unknown)).status_code == 404
        assert (await http.delete(url, headers=session)).status_code == 200
        assert (await http.post(url, content=json.dumps(LIST), headers=session)).status_code == 404


async def test_14_3_a_company_with_too_many_sessions_loses_its_own_most_silent_one(
    shared_system: RunningSystem,
) -> None:
    url, body = mcp_url(shared_system), json.dumps(LIST)
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        mine, neighbours = (await key_of(api))["token"], (await key_of(other))["token"]
    async with plain(neighbours) as elsewhere, plain(mine) as http:
        theirs = await begin_session(elsewhere, url)
        first, second = [await begin_session(http, url) for _ in range(2)]
        assert (await http.post(url, content=body, headers=first)).status_code == 200
        for _ in range(SESSIONS_PER_COMPANY_MAX - 1):
            await begin_session(http, url)
        assert (await http.post(url, content=body, headers=second)).status_code == 404
        assert (await http.post(url, content=body, headers=first)).status_code == 200
        assert (await elsewhere.post(url, content=body, headers=theirs)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Origin": "http://evil.example"}, (403, "FORBIDDEN")),
        ({"Origin": "null"}, (403, "FORBIDDEN")),
        ({"Host": "evil.example:4445", "Origin": "http://evil.example:4445"}, (421, "MISDIRECTED")),
        ({"Host": "evil.example"}, (421, "MISDIRECTED")),
        ({"Host": "127.0.0.1.evil.example"}, (421, "MISDIRECTED")),
    ],
)
async def test_a_page_of_another_origin_cannot_call_not_even_by_rebinding_a_name(
    shared_system: RunningSystem, headers: dict[str, str], expected: tuple[int, str]
) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with plain(token) as http:
        answer = await http.post(mcp_url(shared_system), content=json.dumps(INITIALIZE), headers=headers)
    assert code_of(answer) == expected


HOSTILE: dict[str, tuple[bytes, int]] = {
    "no JSON": (b"{", 400),
    "no UTF-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', 400),
    "nothing": (b"", 400),
    "a number": (b"17", 400),
    "NaN": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":NaN}}}',
        400,
    ),
    "a batch": (json.dumps([LIST, LIST]).encode(), 400),
    "no version": (b'{"id":1,"method":"tools/list"}', 400),
    "nested deeply": (
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        400,
    ),
    "U+0000": (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"a":"\\u0000"}}}',
        400,
    ),
    "a huge number": (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":' + b"9" * 400 + b"}}", 400),
    "too large": (b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a":"' + b"x" * 2_000_000 + b'"}}', 413),
    "a method nobody knows": (b'{"jsonrpc":"2.0","id":1,"method":"resources/delete"}', 200),
    "params of another kind": (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}', 200),
}


@pytest.mark.parametrize("kind", HOSTILE)
async def test_hostile_bodies_are_refused_and_harm_nobody(shared_system: RunningSystem, kind: str) -> None:
    body, status = HOSTILE[kind]
    url = mcp_url(shared_system)
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with plain(token) as http:
        session = await begin_session(http, url)
        answer = await http.post(url, content=body, headers=session)
        assert answer.status_code == status, answer.text[:300]
        if status == 200:
            assert '"error"' in answer.text
        assert (await http.post(url, content=json.dumps(LIST), headers=session)).status_code == 200


async def test_a_body_that_is_larger_than_it_says_is_cut_off(shared_system: RunningSystem) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b"x" * 65_536

    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with plain(token) as http:
        answer = await http.post(mcp_url(shared_system), content=endless())
    assert code_of(answer) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("path", ["mcp%2F..", "mcp/x", "%2e%2e/mcp", "api/flows", "sse"])
async def test_nothing_else_is_served_on_this_port(shared_system: RunningSystem, path: str) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with plain(token) as http:
        url = httpx.URL(mcp_url(shared_system)).copy_with(raw_path=f"/{path}".encode())
        assert code_of(await http.post(url, content=json.dumps(LIST))) == (404, "NOT_FOUND")


async def test_methods_that_mcp_does_not_have_are_refused(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        token = (await key_of(api))["token"]
    async with plain(token) as http:
        for method in ("PUT", "PATCH", "OPTIONS"):
            assert (await http.request(method, mcp_url(shared_system))).status_code in (400, 405), method


async def test_the_answer_is_never_written_with_more_than_a_line(shared_system: RunningSystem) -> None:
    """A tool's output cannot end the event that carries it."""
    step = {"ref": "s", "appId": "var", "args": {"values": {"text": "a\n\ndata: {}\r\n\r\nevent: x"}}}
    async with Api.logged_in(shared_system) as api:
        await tool(api, "lines", await api.create_flow("Lines", step))
        token = (await key_of(api))["token"]
    async with client(mcp_url(shared_system), token, "legacy") as mcp:
        result = await mcp.call_tool("lines", {})
    assert result.structured_content == {"text": "a\n\ndata: {}\r\n\r\nevent: x"}
