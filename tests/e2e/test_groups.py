"""Groups (spec flow8 section 5.3): flows are sorted by them, and KV entries belong to them."""

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem


async def make(api: Api, name: str = "Finance", **fields: Json) -> Json:
    return await api.post("/api/groups", {"name": name, **fields}, status=201)


async def test_a_group_is_made_read_changed_and_deleted(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        made = await make(api, "Finance", index=7)
        path = f"/api/groups/{made['id']}"
        assert await api.get(path) == made
        changed = await api.put(path, {"name": "Money"})
        assert await api.get(path) == changed
        gone = await api.delete(path)
        for method in ("GET", "PUT", "DELETE"):
            assert await api.refused(method, path, {"name": "x"}) == (404, "GROUP_NOT_FOUND")
    assert set(made) == {"id", "companyId", "name", "index", "createdAt", "updatedAt"}
    assert (changed["name"], changed["index"], changed["createdAt"]) == ("Money", 7, made["createdAt"])
    assert gone == {"id": made["id"], "deleted": True}


async def test_a_group_comes_last_unless_its_index_says_otherwise(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        names = ["b", "c", "b"]
        made = [await make(api, name) for name in names] + [await make(api, "a", index=0)]
        page = await api.get("/api/groups?size=3&page=0")
        last = await api.get("/api/groups?size=3&page=1")
    assert [group["index"] for group in made] == [0, 1, 2, 0]
    listed = page["data"] + last["data"]
    assert [group["name"] for group in listed] == ["b", "a", "c", "b"]
    assert (page["total"], page["pages"], page["size"]) == (4, 2, 3)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "x", "index": -1}, "index"),
        ({"name": "x", "index": 1.5}, "index"),
        ({"name": "x", "index": "1"}, "index"),
        ({"name": "x", "index": 10**12}, "index"),
    ],
)
async def test_what_is_no_group_is_refused_by_name(
    shared_system: RunningSystem, body: Json, field: str
) -> None:
    async with Api.logged_in(shared_system) as api:
        answer = await api.call("POST", "/api/groups", body)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert answer.json["message"].startswith(field)


async def test_flows_take_a_group_that_is_there_and_no_other(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        group, theirs = await make(api), await make(other)
        flow = await api.create_flow("Grouped", groupId=group["id"])
        for unknown in ("0" * 24, "x", "*", theirs["id"]):
            for method, path in (("POST", "/api/flows"), ("PUT", f"/api/flows/{flow['id']}")):
                answer = await api.call(method, path, {"name": "x", "groupId": unknown})
                assert (answer.status, answer.json["message"].partition(" ")[0]) == (400, "groupId")
        listed = (await api.get(f"/api/flows?groupId={group['id']}"))["data"]
    assert flow["groupId"] == group["id"]
    assert [entry["id"] for entry in listed] == [flow["id"]]


async def test_a_deleted_group_lets_its_flows_go_and_takes_its_entries(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        group = await make(api)
        flows = [await api.create_flow(f"Member {n}", groupId=group["id"]) for n in range(3)]
        entry = {"key": "rate", "value": 7, "scope": "flow_group", "scopeKey": group["id"]}
        kept = {"key": "rate of deleted group", "value": 8}
        dropped = await api.post("/api/kv", entry, status=201)
        stays = await api.post("/api/kv", kept, status=201)
        await api.delete(f"/api/groups/{group['id']}")
        now = [await api.get(f"/api/flows/{flow['id']}") for flow in flows]
        assert await api.refused("GET", f"/api/kv/{dropped['id']}") == (404, "KV_NOT_FOUND")
        assert (await api.get(f"/api/kv/{stays['id']}"))["value"] == 8
        late = await api.call("PUT", f"/api/flows/{flows[0]['id']}", {"groupId": group["id"]})
        again = await api.call("POST", "/api/kv", entry)
    assert [flow["groupId"] for flow in now] == [None] * 3
    assert [flow["version"] for flow in now] == [2] * 3
    assert late.status == again.status == 400


async def test_viewers_see_groups_and_change_none(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, Api(shared_system.base_url) as viewer:
        group = await make(api)
        body = {"email": "groups@example.test", "role": "viewer", "password": "quite-a-long-one"}
        await api.post("/api/users", body, status=201)
        await viewer.login("groups@example.test", "quite-a-long-one")
        assert await viewer.get(f"/api/groups/{group['id']}") == group
        for method in ("PUT", "DELETE"):
            refused = await viewer.refused(method, f"/api/groups/{group['id']}", {"name": "x"})
            assert refused == (403, "FORBIDDEN")
        assert await viewer.refused("POST", "/api/groups", {"name": "x"}) == (403, "FORBIDDEN")


async def test_groups_of_another_company_are_not_there(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        group = await make(api)
        for method in ("GET", "PUT", "DELETE"):
            refused = await other.refused(method, f"/api/groups/{group['id']}", {"name": "x"})
            assert refused == (404, "GROUP_NOT_FOUND")
        assert (await other.get("/api/groups"))["total"] == 0


@pytest.mark.parametrize("group", ["0" * 24, "x", "*", "%3E", "a" * 300])
async def test_a_group_that_is_not_there_is_not_found(shared_system: RunningSystem, group: str) -> None:
    async with Api.logged_in(shared_system) as api:
        assert await api.refused("GET", f"/api/groups/{group}") == (404, "GROUP_NOT_FOUND")
