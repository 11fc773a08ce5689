"""What people define of channels and routes (spec flow8 section 14): fields, defaults, refusals, ports."""

import asyncio

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import CHANNEL_PORTS, RunningSystem

STEP = {"ref": "one", "appId": "var", "args": {"values": {"n": 1}}}


async def make(api: Api, **fields: Json) -> Json:
    return await api.post("/api/channels", {"name": "Orders", "kind": "http", **fields}, status=201)


async def remove(api: Api, *channels: Json) -> None:
    for channel in channels:
        await api.delete(f"/api/channels/{channel['id']}")


async def a_flow(api: Api) -> Json:
    return await api.create_flow("Behind a channel", STEP)


async def refusal(api: Api, path: str, body: Json, *, method: str = "POST") -> tuple[int, str, str]:
    answer = await api.call(method, path, body)
    return answer.status, answer.json["error"], answer.json["message"]


async def test_14_1_a_channel_is_made_read_changed_and_deleted(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, authToken="t0p-secret")
        path = f"/api/channels/{made['id']}"
        assert await api.get(path) == made
        listed = (await api.get("/api/channels?kind=http&enabled=true"))["data"]
        changed = await api.put(path, {"name": "Sales"})
        gone = await api.delete(path)
        for method in ("GET", "PUT", "DELETE"):
            assert await api.refused(method, path, {"name": "x"}) == (404, "CHANNEL_NOT_FOUND")
        assert await api.refused("GET", f"{path}/routes") == (404, "CHANNEL_NOT_FOUND")
    assert (made["authMode"], made["enabled"], made["routes"]) == ("header_token", True, [])
    assert [{**channel, "routes": []} for channel in listed] == [made]
    assert (changed["name"], changed["port"], changed["authMode"]) == ("Sales", made["port"], "header_token")
    assert gone == {"id": made["id"], "deleted": True}


async def test_14_1_token_and_secret_are_shown_nowhere(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, authToken="t0p-secret", hmacSecret="al50-secret", hmacStyle="github")
        path = f"/api/channels/{made['id']}"
        shown = [made, await api.put(path, {"authToken": "t0p-secret-2"}), await api.get(path)]
        shown += [await api.get("/api/channels"), await api.get("/api/audit?entityType=channel")]
        await remove(api, made)
    assert "secret-2" not in str(shown)
    assert "t0p" not in str(shown)
    assert "al50" not in str(shown)


async def test_14_1_the_mode_follows_from_the_token(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        public = await make(api)
        guarded = await api.put(f"/api/channels/{public['id']}", {"authToken": "given-later"})
        without = await refusal(api, f"/api/channels/{public['id']}", {"authToken": None}, method="PUT")
        opened = await api.put(f"/api/channels/{public['id']}", {"authMode": "public"})
        await remove(api, public)
    assert (public["authMode"], guarded["authMode"], opened["authMode"]) == (
        "public",
        "header_token",
        "public",
    )
    assert without[:2] == (400, "VALIDATION_ERROR")
    assert without[2].startswith("authToken")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "http"}, "name"),
        ({"name": "x"}, "kind"),
        ({"name": "", "kind": "http"}, "name"),
        ({"name": "x", "kind": "smtp"}, "kind"),
        ({"name": "x", "kind": "http", "authMode": "header_token"}, "authToken"),
        ({"name": "x", "kind": "http", "authMode": "basic"}, "authMode"),
        ({"name": "x", "kind": "http", "authToken": "with space"}, "authToken"),
        ({"name": "x", "kind": "http", "authToken": ""}, "authToken"),
        ({"name": "x", "kind": "http", "authToken": "x" * 513}, "authToken"),
        ({"name": "x", "kind": "http", "authMode": "hmac", "hmacSecret": "s"}, "hmacStyle"),
        ({"name": "x", "kind": "http", "authMode": "hmac", "hmacStyle": "github"}, "hmacSecret"),
        ({"name": "x", "kind": "http", "hmacStyle": "slack"}, "hmacStyle"),
        ({"name": "x", "kind": "http", "hmacStyle": "standard-webhooks", "hmacSecret": "!"}, "hmacSecret"),
        ({"name": "x", "kind": "http", "hmacToleranceSeconds": 0}, "hmacToleranceSeconds"),
        (
            {"name": "x", "kind": "ws", "authMode": "hmac", "hmacStyle": "github", "hmacSecret": "s"},
            "authMode",
        ),
        ({"name": "x", "kind": "mcp", "authToken": "s"}, "authMode"),
        ({"name": "x", "kind": "http", "enabled": "yes"}, "enabled"),
    ],
)
async def test_14_1_what_is_no_channel_is_refused_by_name(
    shared_system: RunningSystem, body: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        status, code, message = await refusal(api, "/api/channels", body)
    assert (status, code) == (400, "VALIDATION_ERROR")
    assert message.startswith(field), message


async def test_14_1_ports_are_the_lowest_free_and_come_back(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        first, second, third = [await make(api, name=str(n)) for n in range(3)]
        path = f"/api/channels/{second['id']}"
        off = await api.put(path, {"enabled": False})
        instead = await make(api, name="instead")
        on = await api.put(path, {"enabled": True})
        disabled = await make(api, name="disabled", enabled=False)
        tools = await make(api, name="tools", kind="mcp")
        await remove(api, first, second, third, instead, disabled, tools)
    assert [first["port"], second["port"], third["port"]] == list(range(first["port"], first["port"] + 3))
    assert (off["port"], instead["port"], on["port"]) == (None, second["port"], third["port"] + 1)
    assert (disabled["port"], tools["port"]) == (None, None)


async def test_14_1_ports_given_at_the_same_time_are_different_and_run_out(
    shared_system: RunningSystem,
) -> None:
    body = {"name": "rush", "kind": "websocket"}
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        calls = [who.call("POST", "/api/channels", body) for who in (api, other) * CHANNEL_PORTS]
        answers = await asyncio.gather(*calls)
        made = [answer.json for answer in answers if answer.status == 201]
        refused = {(a.status, a.json["error"]) for a in answers if a.status != 201}
        for channel in made:
            for who in (api, other):
                await who.call("DELETE", f"/api/channels/{channel['id']}")
    assert len({channel["port"] for channel in made}) == len(made) == CHANNEL_PORTS
    assert refused == {(409, "NO_PORT_AVAILABLE")}


async def test_14_1_routes_are_added_read_changed_and_removed(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow, channel = await a_flow(api), await make(api)
        routes = f"/api/channels/{channel['id']}/routes"
        body = {"name": "New", "path": "/orders/:shop/", "targetFlowIds": [flow["permanentId"]]}
        made = await api.post(routes, body, status=201)
        path = f"{routes}/{made['id']}"
        assert await api.get(path) == made
        assert (await api.get(routes))["data"] == [made]
        assert (await api.get(f"/api/channels/{channel['id']}"))["routes"] == [made]
        changed = await api.put(path, {"responseMode": "async", "httpMethod": "put"})
        gone = await api.delete(path)
        for method in ("GET", "PUT", "DELETE"):
            assert await api.refused(method, path, {"name": "x"}) == (404, "ROUTE_NOT_FOUND")
        await remove(api, channel)
    assert (made["httpMethod"], made["path"], made["targetFlowIds"]) == (
        "POST",
        "/orders/:shop",
        [flow["id"]],
    )
    assert (made["responseMode"], made["timeoutSeconds"], made["toolName"]) == ("sync", 30, None)
    assert (changed["responseMode"], changed["httpMethod"], changed["name"]) == ("async", "PUT", "New")
    assert gone == {"id": made["id"], "deleted": True}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": None}, "name"),
        ({"path": "orders"}, "path"),
        ({"path": "/a/../b"}, "path"),
        ({"path": "/a b"}, "path"),
        ({"path": "/a?x=1"}, "path"),
        ({"path": "/:a/:a"}, "path"),
        ({"path": "/" + "x" * 600}, "path"),
        ({"httpMethod": "FETCH"}, "httpMethod"),
        ({"targetFlowIds": []}, "targetFlowIds"),
        ({"targetFlowIds": ["0" * 24]}, "targetFlowIds"),
        ({"targetFlowIds": ["no-such-flow"]}, "targetFlowIds"),
        ({"targetFlowIds": "x"}, "targetFlowIds"),
        ({"responseMode": "later"}, "responseMode"),
        ({"timeoutSeconds": 0}, "timeoutSeconds"),
        ({"timeoutSeconds": 301}, "timeoutSeconds"),
        ({"toolName": "x"}, "toolName"),
        ({"inputSchema": {"type": "object"}}, "inputSchema"),
    ],
)
async def test_14_1_what_is_no_route_is_refused_by_name(
    shared_system: RunningSystem, fields: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        flow, channel = await a_flow(api), await make(api)
        good = {"name": "x", "path": "/x", "targetFlowIds": [flow["id"]]}
        status, code, message = await refusal(api, f"/api/channels/{channel['id']}/routes", good | fields)
        await remove(api, channel)
    assert (status, code) == (400, "VALIDATION_ERROR")
    assert message.startswith(field), message


async def test_14_1_a_method_and_path_are_there_once_in_a_channel(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow, channel, another = await a_flow(api), await make(api), await make(api)
        routes = f"/api/channels/{channel['id']}/routes"
        good = {"name": "x", "path": "/x/:id", "targetFlowIds": [flow["id"]]}
        await api.post(routes, good, status=201)
        again = await api.refused("POST", routes, good | {"path": "/x/:name/"})
        await api.post(routes, good | {"httpMethod": "GET"}, status=201)
        await api.post(f"/api/channels/{another['id']}/routes", good, status=201)
        await remove(api, channel, another)
    assert again == (409, "ROUTE_TAKEN")


async def test_14_3_tools_have_names_of_their_own_in_a_company(shared_system: RunningSystem) -> None:
    schema = {"type": "object", "properties": {"net": {"type": "number"}}, "required": ["net"]}
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        flow, channel, another = await a_flow(api), await make(api, kind="mcp"), await make(api, kind="mcp")
        tool = {"name": "Sum", "toolName": "sum_up", "targetFlowIds": [flow["id"]], "inputSchema": schema}
        made = await api.post(f"/api/channels/{channel['id']}/routes", tool, status=201)
        twice = await api.refused("POST", f"/api/channels/{channel['id']}/routes", tool)
        elsewhere = await api.refused("POST", f"/api/channels/{another['id']}/routes", tool)
        neighbours = await make(other, kind="mcp")
        theirs = tool | {"targetFlowIds": [(await a_flow(other))["id"]]}
        await other.post(f"/api/channels/{neighbours['id']}/routes", theirs, status=201)
        await remove(api, channel, another)
        await remove(other, neighbours)
    assert (made["toolName"], made["inputSchema"], made["httpMethod"], made["path"]) == (
        "sum_up",
        schema,
        None,
        None,
    )
    assert twice == elsewhere == (409, "TOOL_NAME_TAKEN")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"toolName": "two words"}, "toolName"),
        ({"toolName": "x" * 65}, "toolName"),
        ({"toolName": None}, "toolName"),
        ({"path": "/x"}, "path"),
        ({"inputSchema": {"type": "array"}}, "inputSchema"),
        ({"inputSchema": {"type": "object", "required": 1}}, "inputSchema"),
        ({"inputSchema": {"type": "object", "$ref": "https://example.test/x"}}, "inputSchema"),
    ],
)
async def test_14_3_what_is_no_tool_is_refused_by_name(
    shared_system: RunningSystem, fields: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        flow, channel = await a_flow(api), await make(api, kind="mcp")
        good = {"name": "x", "toolName": "x", "targetFlowIds": [flow["id"]]}
        status, code, message = await refusal(api, f"/api/channels/{channel['id']}/routes", good | fields)
        await remove(api, channel)
    assert (status, code) == (400, "VALIDATION_ERROR")
    assert message.startswith(field), message


async def test_19_channels_of_another_company_are_not_there(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        flow, channel = await a_flow(api), await make(api)
        path = f"/api/channels/{channel['id']}"
        route = {"name": "x", "path": "/x", "targetFlowIds": [flow["id"]]}
        for method in ("GET", "PUT", "DELETE"):
            assert await other.refused(method, path, {"name": "x"}) == (404, "CHANNEL_NOT_FOUND")
        assert await other.refused("POST", f"{path}/routes", route) == (404, "CHANNEL_NOT_FOUND")
        theirs = await make(other)
        foreign = await other.refused("POST", f"/api/channels/{theirs['id']}/routes", route)
        assert (await other.get("/api/channels"))["total"] == 1
        await remove(api, channel)
        await remove(other, theirs)
    assert foreign == (400, "VALIDATION_ERROR")
