"""No id of one company means anything in another: every operation of the document that takes one is tried."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common import ids
from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem

# Names of what all companies share, or nobody owns.
SHARED = (
    "/api/modules/{appId}",
    "/api/v1/catalog/{name}",
    "/api/v1/oauth/{provider}",
    "/api/v1/oauth/{provider}/callback",
    # Only those who run the installation: 403, whatever the id.
    "/api/v1/admin/publication/{id}",
)
# Where a query is needed to be understood at all.
QUERIES = {"/api/flows/{id}/versions/diff": "?from=1&to=1"}
STEP = {"ref": "sign", "appId": "var", "args": {"values": {"n": 1}}, "needsApproval": True}


class Owned:
    """What a company has, one of each kind, by the path that leads to it."""

    def __init__(self) -> None:
        self.paths: dict[str, dict[str, str]] = {}

    def parameters(self, path: str) -> dict[str, str]:
        """Return the values of a path's parameters. Fails for a path whose things are not made here."""
        prefix = max((known for known in self.paths if path.startswith(known)), key=len, default="")
        values = self.paths.get(prefix, {})
        missing = set(re.findall(r"\{(\w+)\}", path)) - set(values)
        assert not missing, f"make one of these, for this test: {path}"
        return values


async def owned_by(api: Api) -> Owned:
    """Make one of everything that has an id."""
    owned = Owned()
    mark = ids.new_id()
    group = await api.post("/api/groups", {"name": "Apart"}, status=201)
    flow = await api.create_flow("Apart", STEP, groupId=group["id"])
    play = await api.run(flow["id"], wait=60)
    entry = await api.post("/api/kv", {"key": mark, "value": "hidden-value-4711"}, status=201)
    key = await api.post("/api/auth/api-keys", {"name": "apart"}, status=201)
    user = await api.post("/api/users", {"email": f"{mark}@example.test"}, status=201)
    channel = await api.post("/api/channels", {"name": "Apart", "kind": "mcp"}, status=201)
    tool = {"name": "Apart", "toolName": f"t{mark}", "targetFlowIds": [flow["id"]]}
    route = await api.post(f"/api/channels/{channel['id']}/routes", tool, status=201)
    clock = {"name": "Apart", "flowId": flow["id"], "every": "1h", "enabled": False}
    schedule = await api.post("/api/schedules", clock, status=201)
    pat = _made(await api.call("PUT", "/api/v1/user/pat", {"name": "apart", "permissions": 1}))
    default_role, _ = await api.get(f"/api/v1/apps/{group['id']}/roles")
    owned.paths = {
        "/api/flows/": {"id": flow["id"], "layerId": flow["layers"][0]["id"], "version": "1"},
        "/api/groups/": {"id": group["id"]},
        "/api/plays/": {"id": play["playId"]},
        "/api/kv/": {"id": entry["id"]},
        "/api/auth/api-keys/": {"id": key["id"]},
        "/api/users/": {"id": user["id"]},
        "/api/channels/": {"id": channel["id"], "routeId": route["id"]},
        "/api/schedules/": {"id": schedule["id"]},
        "/api/v1/user/pat/": {"id": pat["id"]},
        "/api/v1/profile/": {"id": user["id"]},
        "/api/v1/execution/": {"id": play["playId"], "run_id": play["playId"]},
        "/api/v1/apps/": {
            "id": group["id"],
            "board_id": flow["id"],
            "role_id": default_role,
            "sub": user["id"],
            "request_id": ids.new_id(),
            "key_id": ids.new_id(),
        },
        "/api/v1/store/": {"id": group["id"]},
        "/api/v1/admin/publication/": {"id": ids.new_id()},
        "/jobs/": {"job_id": play["playId"]},
    }
    return owned


def _made(answer: Any) -> Json:
    assert answer.status in (200, 201), answer
    return answer.json


@pytest.fixture
async def companies(shared_system: RunningSystem) -> AsyncIterator[tuple[Api, Api]]:
    """The admins of two companies."""
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        yield api, other


def probes(document: Json, owned: Owned) -> list[tuple[str, str, Json]]:
    """Return a call of every operation with an id in its path: method, path, body."""
    found = []
    for path, methods in document["paths"].items():
        if "{" not in path or path in SHARED:
            continue
        real = path.format(**owned.parameters(path)) + QUERIES.get(path, "")
        for method, told in methods.items():
            if (method, path) == ("put", "/api/v1/apps/{id}"):
                # With an id that the caller does not know it makes an app of the caller's, under another id.
                continue
            body = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            found.append((method.upper(), real, body))
    return found


async def seen(api: Api, calls: list[tuple[str, str, Json]]) -> dict[str, Json]:
    """Return what the owner reads at every path that can be read to an end."""
    paths = sorted({path for _, path, _ in calls if not path.endswith("/events")})
    return {path: answer.json for path in paths if (answer := await api.call("GET", path)).status == 200}


async def test_every_operation_with_an_id_is_404_for_another_company(companies: tuple[Api, Api]) -> None:
    api, other = companies
    calls = probes(await api.get("/openapi.json"), await owned_by(api))
    assert len(calls) > 50
    # What the examples of the document name, the other company has itself.
    await other.create_flow("Invoice check")
    before = await seen(api, calls)
    assert len(before) > 15
    said = {f"{method} {path}": await other.call(method, path, body) for method, path, body in calls}
    assert {name: answer for name, answer in said.items() if answer.status != 404} == {}
    assert await seen(api, calls) == before


async def test_no_list_shows_what_another_company_has(companies: tuple[Api, Api]) -> None:
    api, other = companies
    document = await api.get("/openapi.json")
    owned = await owned_by(api)
    hidden = {value for values in owned.paths.values() for value in values.values() if len(value) == 24}
    lists = [path for path, methods in document["paths"].items() if "get" in methods and "{" not in path]
    shown: dict[str, str] = {}
    for path in set(lists) - {"/api/ws"}:
        text = json.dumps((await other.call("GET", f"{path}?size=100")).json)
        shown |= {f"{path}: {id}": text for id in (*hidden, "hidden-value-4711") if id in text}
    assert shown == {}
    for query in (f"flowId={owned.paths['/api/flows/']['id']}", "state=WAIT"):
        listed = await other.call("GET", f"/api/plays?{query}")
        assert listed.status == 404 or listed.json["total"] == 0, listed


async def test_things_of_another_company_cannot_be_named_in_a_body(companies: tuple[Api, Api]) -> None:
    api, other = companies
    owned = await owned_by(api)
    flow, group = owned.paths["/api/flows/"]["id"], owned.paths["/api/groups/"]["id"]
    channel = await other.post("/api/channels", {"name": "Mine", "kind": "mcp"}, status=201)
    tool = {"name": "Theirs", "toolName": "theirs", "targetFlowIds": [flow]}
    for path, body in (
        ("/api/flows", {"name": "Theirs", "groupId": group}),
        ("/api/schedules", {"name": "Theirs", "flowId": flow, "every": "1h"}),
        (f"/api/channels/{channel['id']}/routes", tool),
        ("/api/kv", {"key": "k", "value": 1, "scope": "flow", "scopeKey": flow}),
        ("/api/kv", {"key": "k", "value": 1, "scope": "flow_group", "scopeKey": group}),
    ):
        answer = await other.call("POST", path, body)
        assert answer.status in (400, 404), (path, answer)


async def test_inner_ids_do_not_open_the_outer_things_of_others(companies: tuple[Api, Api]) -> None:
    api, other = companies
    owned = await owned_by(api)
    mine = await other.create_flow("Mine", STEP)
    channel = await other.post("/api/channels", {"name": "Mine", "kind": "mcp"}, status=201)
    layer, route = owned.paths["/api/flows/"]["layerId"], owned.paths["/api/channels/"]["routeId"]
    for path in (f"/api/flows/{mine['id']}/layers/{layer}", f"/api/channels/{channel['id']}/routes/{route}"):
        for method in ("GET", "PUT", "DELETE"):
            assert (await other.call(method, path, {"name": "x"})).status == 404, (method, path)


async def test_without_a_credential_every_operation_that_needs_one_is_401(companies: tuple[Api, Api]) -> None:
    api, _ = companies
    document = await api.get("/openapi.json")
    owned = await owned_by(api)
    answers: dict[str, int] = {}
    async with Api(api.base_url) as stranger:
        for path, methods in document["paths"].items():
            for method, told in methods.items():
                # Who calls jobs from this machine needs none, by default (FQ4).
                if told["security"] and not path.startswith("/jobs/"):
                    real = (
                        path.format(**owned.parameters(path)) if "{" in path and path not in SHARED else path
                    )
                    answers[f"{method} {path}"] = (await stranger.call(method.upper(), real, {})).status
    assert len(answers) > 80
    assert {name: status for name, status in answers.items() if status != 401} == {}
