"""Flows and their steps, as people define them."""

import pytest

from tests.e2e.api import Api, Json

STEP = {"ref": "a", "appId": "var", "args": {"values": {"x": 1}}}


async def test_a_flow_is_created_with_its_defaults(api: Api) -> None:
    answer = await api.call("POST", "/api/flows", {"name": "Monthly Report", "category": "finance"})
    flow = answer.json
    assert answer.status == 201
    assert (flow["name"], flow["category"], flow["enabled"], flow["groupId"]) == (
        "Monthly Report",
        "finance",
        True,
        None,
    )
    assert (flow["version"], flow["permanentId"], flow["execution"], flow["layers"]) == (
        1,
        "monthly-report",
        {},
        [],
    )
    assert flow["createdAt"] == flow["updatedAt"]
    assert len(flow["id"]) == 24
    assert flow.pop("warnings") == []
    assert await api.get(f"/api/flows/{flow['id']}") == flow
    assert await api.get("/api/flows/monthly-report") == flow


async def test_equal_names_get_different_permanent_ids(api: Api) -> None:
    first = await api.create_flow("Same Name")
    second = await api.create_flow("Same Name")
    assert (first["permanentId"], second["permanentId"]) == ("same-name", "same-name-2")


async def test_an_update_changes_what_it_names_and_raises_the_version(api: Api) -> None:
    flow = await api.create_flow("Before", category="kept")
    changed = await api.put(f"/api/flows/{flow['permanentId']}", {"name": "After"})
    assert (changed["name"], changed["category"], changed["version"]) == ("After", "kept", 2)
    assert (changed["id"], changed["permanentId"]) == (flow["id"], flow["permanentId"])


async def test_null_is_as_if_a_field_were_left_out_where_it_cannot_be_empty(api: Api) -> None:
    nothing = dict.fromkeys(("enabled", "category", "kvInherit", "kvConflict", "groupId", "execution"))
    flow = await api.create_flow("Nulls", **nothing)
    assert (flow["enabled"], flow["category"], flow["kvInherit"]) == (True, "", "true")
    path = f"/api/flows/{flow['id']}"
    await api.put(path, {"enabled": False, "category": "kept"})
    assert (await api.put(path, nothing))["enabled"] is False
    assert (await api.get(path))["category"] == "kept"
    given: Json = {"appId": "var", "name": "First", "args": {"values": {}}, "ref": None, "index": None}
    layer = await api.post(f"{path}/layers", {**given, "needsApproval": None}, status=201)
    assert (layer["ref"], layer["index"], layer["needsApproval"]) == ("first", 0, False)
    layer_path = f"{path}/layers/{layer['id']}"
    await api.put(layer_path, {"ref": "mine", "index": 7})
    kept = await api.put(layer_path, {"ref": None, "index": None, "name": None})
    assert (kept["ref"], kept["index"], kept["name"]) == ("mine", 7, "First")
    assert (await api.call("POST", f"{path}/layers", {**given, "appId": None})).json["message"] == (
        "appId is required"
    )


async def test_a_deleted_flow_is_gone_and_its_plays_stay(api: Api) -> None:
    flow = await api.create_flow("Short-lived", STEP)
    play = await api.finished(flow["id"])
    assert await api.delete(f"/api/flows/{flow['id']}") == {"id": flow["id"], "deleted": True}
    path = f"/api/flows/{flow['id']}"
    assert await api.refused("GET", path) == (404, "FLOW_NOT_FOUND")
    assert await api.refused("PUT", path, {"name": "x"}) == (404, "FLOW_NOT_FOUND")
    assert await api.refused("DELETE", path) == (404, "FLOW_NOT_FOUND")
    assert await api.refused("POST", f"{path}/run") == (404, "FLOW_NOT_FOUND")
    assert await api.refused("GET", f"{path}/plays") == (404, "FLOW_NOT_FOUND")
    assert flow["id"] not in {row["id"] for row in await _all(api, "/api/flows?")}
    assert await api.get(f"/api/plays/{play['id']}") == play
    assert [row["id"] for row in await _all(api, f"/api/plays?flowId={flow['id']}")] == [play["id"]]


async def test_lists_are_paged_and_filtered(api: Api) -> None:
    made = [await api.create_flow(f"Paged {n}", category="paged", enabled=n != 1) for n in range(3)]
    page = await api.get("/api/flows?category=paged&page=1&size=2")
    assert (page["total"], page["page"], page["size"], page["pages"]) == (3, 1, 2, 2)
    assert [flow["id"] for flow in page["data"]] == [made[2]["id"]]
    assert "layers" not in page["data"][0]
    disabled = await api.get("/api/flows?category=paged&enabled=false")
    assert [flow["id"] for flow in disabled["data"]] == [made[1]["id"]]
    past = await api.get("/api/flows?category=paged&page=1000000000000000000000")
    assert (past["data"], past["total"]) == ([], 3)
    assert (await api.get("/api/flows?category=paged&size=1000"))["size"] == 100
    nothing = await api.get("/api/flows?category=none-of-them")
    assert (nothing["data"], nothing["total"], nothing["pages"]) == ([], 0, 0)


async def test_steps_are_added_read_changed_and_deleted(api: Api) -> None:
    flow = await api.create_flow("Steps")
    path = f"/api/flows/{flow['id']}/layers"
    first = await api.add_layer(flow["id"], **STEP, name="First")
    second = await api.add_layer(
        flow["id"], name="Second step", appId="template", args={"template": "t", "data": {}}
    )
    assert (first["flowId"], first["index"], second["index"], second["ref"]) == (
        flow["id"],
        0,
        1,
        "secondStep",
    )
    changed = await api.put(f"{path}/{first['id']}", {"args": {"values": {"y": 2}}, "timeout": 5, "index": 7})
    assert (changed["args"], changed["timeout"], changed["name"]) == ({"values": {"y": 2}}, 5, "First")
    assert [step.pop("warnings") for step in (second, changed)] == [[], []]
    assert await api.get(path) == [second, changed]
    assert await api.get(f"{path}/{first['id']}") == changed
    assert (await api.get(f"/api/flows/{flow['id']}"))["version"] == 4
    assert await api.delete(f"{path}/{first['id']}") == {"id": first["id"], "deleted": True}
    assert await api.refused("GET", f"{path}/{first['id']}") == (404, "LAYER_NOT_FOUND")
    assert await api.refused("PUT", f"{path}/{first['id']}", {"name": "x"}) == (404, "LAYER_NOT_FOUND")
    assert await api.refused("DELETE", f"{path}/{first['id']}") == (404, "LAYER_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "x", "enabled": "yes"}, "enabled"),
        ({"name": None}, "name is required"),
        ({"name": "x", "category": 1}, "category"),
        ({"name": "x", "groupId": 7}, "groupId"),
        ({"name": "x", "groupId": "0" * 24}, "groupId"),
        ({"name": "x", "execution": {"timeout": "soon"}}, "timeout"),
        ({"name": "x", "execution": []}, "execution"),
    ],
)
async def test_a_flow_that_makes_no_sense_is_refused_and_its_field_named(
    api: Api, body: Json, field: str
) -> None:
    answer = await api.call("POST", "/api/flows", body)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR"), answer
    assert field in answer.json["message"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"ref": "taken"}, "ref"),
        ({"ref": "args"}, "ref"),
        ({"ref": "1st"}, "ref"),
        ({"appId": "no-such-module"}, "appId"),
        ({"appId": None}, "appId"),
        ({"index": -1}, "index"),
        ({"index": "1"}, "index"),
        ({"args": []}, "args"),
        ({"timeout": -1}, "timeout"),
        ({"retry": {"count": -1}}, "retry"),
        ({"filters": {}}, "filters"),
        ({"onError": "panic"}, "onError"),
        ({"needsApproval": "yes"}, "needsApproval"),
    ],
)
async def test_a_step_that_makes_no_sense_is_refused_and_its_field_named(
    api: Api, fields: Json, field: str
) -> None:
    flow = await api.create_flow("Refuses", {**STEP, "ref": "taken"})
    answer = await api.call(
        "POST", f"/api/flows/{flow['id']}/layers", {**STEP, "name": "b", "ref": "b", **fields}
    )
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR"), answer
    assert field in answer.json["message"]


async def test_who_changed_a_flow_runs_what_it_changed(api: Api) -> None:
    flow = await api.create_flow("Follows", STEP)
    step = flow["layers"][0]["id"]
    for number in range(5):
        await api.put(f"/api/flows/{flow['id']}/layers/{step}", {"args": {"values": {"x": number}}})
        assert (await api.run(flow["id"], wait=60))["out"] == {"x": number}


async def _all(api: Api, path: str) -> list[Json]:
    rows: list[Json] = []
    while True:
        page = await api.get(f"{path}&size=100&page={len(rows) // 100}")
        rows += page["data"]
        if len(rows) >= page["total"]:
            return rows
