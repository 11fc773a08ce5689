"""Versions of flows (spec flow8 section 5.1): listed, read, compared, restored; and what a flow will stumble over."""

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import RunningSystem


async def flow_with_history(api: Api, name: str = "History") -> Json:
    """Define a flow in five versions: made, a step added, renamed, the step changed, another step added."""
    flow = await api.post("/api/flows", {"name": name, "category": "old"}, status=201)
    path = f"/api/flows/{flow['id']}"
    step = await api.add_layer(flow["id"], ref="a", appId="var", args={"values": {"n": 1, "same": True}})
    await api.put(path, {"name": f"{name} renamed", "category": "new"})
    await api.put(f"{path}/layers/{step['id']}", {"args": {"values": {"n": 2, "same": True}}})
    await api.add_layer(flow["id"], ref="b", appId="var")
    return await api.get(path)


async def test_every_change_is_a_version(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        me = (await api.get("/api/auth/me"))["id"]
        listed = await api.get(f"/api/flows/{flow['permanentId']}/versions")
        page = await api.get(f"/api/flows/{flow['id']}/versions?size=2&page=1")
    assert [(entry["version"], entry["change"]) for entry in listed["data"]] == [
        (5, "flow.layer.create"),
        (4, "flow.layer.update"),
        (3, "flow.update"),
        (2, "flow.layer.create"),
        (1, "flow.create"),
    ]
    assert {entry["by"] for entry in listed["data"]} == {me}
    assert set(listed["data"][0]) == {"version", "at", "by", "change"}
    assert [entry["version"] for entry in page["data"]] == [3, 2]
    assert (page["total"], page["pages"]) == (5, 3)


async def test_a_version_is_read_as_it_was(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        first = await api.get(f"/api/flows/{flow['id']}/versions/1")
        second = await api.get(f"/api/flows/{flow['id']}/versions/2")
        last = await api.get(f"/api/flows/{flow['id']}/versions/5")
    assert (first["name"], first["category"], first["layers"], first["version"]) == ("History", "old", [], 1)
    assert [layer["args"]["values"]["n"] for layer in second["layers"]] == [1]
    assert last == flow


async def test_two_versions_are_compared_place_by_place(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        path = f"/api/flows/{flow['id']}/versions/diff"
        forth = await api.get(f"{path}?from=2&to=5")
        back = await api.get(f"{path}?from=5&to=2")
        same = await api.get(f"{path}?from=3&to=3")
    (added,) = [change for change in forth["changes"] if change["path"] == "layers.b"]
    assert (forth["from"], forth["to"], added["before"], added["after"]["ref"]) == (2, 5, None, "b")
    assert [change for change in forth["changes"] if change["path"] != "layers.b"] == [
        {"path": "name", "before": "History", "after": "History renamed"},
        {"path": "category", "before": "old", "after": "new"},
        {"path": "layers.a.args.values.n", "before": 1, "after": 2},
    ]
    reverse = [{**c, "before": c["after"], "after": c["before"]} for c in forth["changes"]]
    assert sorted(back["changes"], key=_path) == sorted(reverse, key=_path)
    assert same["changes"] == []


async def test_a_version_is_restored_as_a_new_one(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        path = f"/api/flows/{flow['id']}"
        restored = await api.post(f"{path}/versions/2/restore")
        read = await api.get(path)
        changes = (await api.get(f"{path}/versions/diff?from=2&to=6"))["changes"]
        play = await api.run(flow["id"], wait=60)
    assert (restored["version"], restored["name"], restored["permanentId"]) == (
        6,
        "History",
        flow["permanentId"],
    )
    assert read == {name: value for name, value in restored.items() if name != "warnings"}
    assert [layer["ref"] for layer in restored["layers"]] == ["a"]
    assert changes == []
    assert (play["state"], play["out"]) == ("DONE", {"n": 1, "same": True})


async def test_a_group_that_is_gone_is_not_restored(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        group = await api.post("/api/groups", {"name": "Gone"}, status=201)
        flow = await api.create_flow("Was grouped", groupId=group["id"])
        await api.delete(f"/api/groups/{group['id']}")
        restored = await api.post(f"/api/flows/{flow['id']}/versions/1/restore")
    assert (restored["groupId"], restored["version"]) == (None, 3)


@pytest.mark.parametrize("version", ["0", "6", "99999999999", "-1", "x", "1.0", "%00"])
async def test_a_version_that_never_was_is_not_found(shared_system: RunningSystem, version: str) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        path = f"/api/flows/{flow['id']}/versions/{version}"
        assert await api.refused("GET", path) == (404, "FLOW_VERSION_NOT_FOUND")
        assert await api.refused("POST", f"{path}/restore") == (404, "FLOW_VERSION_NOT_FOUND")


@pytest.mark.parametrize(
    ("query", "field"), [("", "from"), ("from=1", "to"), ("from=x&to=2", "from"), ("from=1&to=-2", "to")]
)
async def test_a_comparison_needs_two_versions(shared_system: RunningSystem, query: str, field: str) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await flow_with_history(api)
        answer = await api.call("GET", f"/api/flows/{flow['id']}/versions/diff?{query}")
        unknown = await api.refused("GET", f"/api/flows/{flow['id']}/versions/diff?from=1&to=77")
    assert answer.status == 400
    assert answer.json["message"].startswith(field)
    assert unknown == (404, "FLOW_VERSION_NOT_FOUND")


async def test_versions_of_another_company_are_not_there(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api, neighbour(shared_system) as other:
        path = f"/api/flows/{(await flow_with_history(api))['id']}/versions"
        for method, place in (
            ("GET", ""),
            ("GET", "/1"),
            ("GET", "/diff?from=1&to=2"),
            ("POST", "/1/restore"),
        ):
            assert await other.refused(method, f"{path}{place}") == (404, "FLOW_NOT_FOUND")


async def test_a_ref_that_nobody_provides_is_a_warning(shared_system: RunningSystem) -> None:
    async with Api.logged_in(shared_system) as api:
        flow = await api.post("/api/flows", {"name": "Warned"}, status=201)
        reads = {"values": {"x": "{{ $prev.b.n }} {{ $prev.args.y }} {{ $prev.input.z }}"}}
        first = await api.add_layer(flow["id"], ref="a", appId="var", index=1, args=reads)
        later = await api.add_layer(flow["id"], ref="b", appId="var", index=2)
        path = f"/api/flows/{flow['id']}/layers"
        fixed = await api.put(f"{path}/{later['id']}", {"index": 0})
        filtered = await api.put(f"{path}/{later['id']}", {"filters": [_reads("c")]})
        renamed = await api.put(f"/api/flows/{flow['id']}", {"name": "Warned again"})
        read = await api.get(f"/api/flows/{flow['id']}")
    assert flow["warnings"] == []
    assert first["warnings"] == ["layer a reads $prev.b, which no layer provides"]
    assert later["warnings"] == ["layer a reads $prev.b, which is not there before it runs"]
    assert fixed["warnings"] == []
    assert filtered["warnings"] == renamed["warnings"] == ["layer b reads $prev.c, which no layer provides"]
    assert "warnings" not in read


async def test_lists_of_flows_are_filtered(shared_system: RunningSystem) -> None:
    async with neighbour(shared_system) as api:
        group = (await api.post("/api/groups", {"name": "Filter"}, status=201))["id"]
        made: dict[str, Json] = {
            "a": {"category": "x"},
            "b": {"category": "x", "enabled": False},
            "c": {"groupId": group},
        }
        for name, fields in made.items():
            await api.post("/api/flows", {"name": name, **fields}, status=201)

        async def names(query: str) -> list[str]:
            return [flow["name"] for flow in (await api.get(f"/api/flows?{query}"))["data"]]

        assert await names("category=x") == ["a", "b"]
        assert await names("category=x&enabled=true") == ["a"]
        assert await names("enabled=false") == ["b"]
        assert await names(f"groupId={group}") == ["c"]
        assert await names(f"groupId={group}&category=x") == []


def _reads(ref: str) -> Json:
    return {"leftValue": f"{{{{ $prev.{ref}.state }}}}", "operator": "eq", "rightValue": "DONE"}


def _path(change: Json) -> str:
    return str(change["path"])
