"""What the contract (flow8) decides before everything else: codes, forms, the sequence of the socket."""

import pytest

from tests.e2e.api import Api, Json
from tests.waiting import eventually

STEP = {"ref": "a", "appId": "var", "args": {"values": {"n": 1}}}
GATE = {**STEP, "ref": "gate", "needsApproval": True}


async def test_0_what_is_created_is_201_what_is_deleted_is_told_in_json(api: Api) -> None:
    flow = await api.create_flow("Codes", STEP)
    channel = {"name": "c", "kind": "mcp", "enabled": False}
    at = (await api.post("/api/channels", channel, status=201))["id"]
    route = {"name": "r", "toolName": "codes", "targetFlowIds": [flow["id"]]}
    creating: dict[str, Json] = {
        "/api/flows": {"name": "Codes"},
        f"/api/flows/{flow['id']}/layers": {**STEP, "ref": "b", "name": "b"},
        "/api/groups": {"name": "Codes"},
        "/api/kv": {"key": "codes", "value": 1},
        "/api/channels": channel,
        f"/api/channels/{at}/routes": route,
        "/api/schedules": {"name": "s", "flowId": flow["id"], "cron": "@daily"},
        "/api/auth/api-keys": {"name": "k"},
    }
    for path, body in creating.items():
        made = await api.post(path, body, status=201)
        # The symmetrical read that a client expects; keys are only listed.
        if path != "/api/auth/api-keys":
            assert (await api.get(f"{path}/{made['id']}"))["id"] == made["id"]
        gone = await api.call("DELETE", f"{path}/{made['id']}")
        assert (gone.status, gone.json["id"]) == (200, made["id"]), path
    play = await api.run(flow["id"], wait=60)
    assert play["state"] == "DONE"


@pytest.mark.parametrize(
    ("method", "path", "raw", "refusal"),
    [
        ("GET", "/api/nothing", None, (404, "NOT_FOUND")),
        ("GET", "/api/flows/nobody", None, (404, "FLOW_NOT_FOUND")),
        ("GET", "/api/plays/nobody", None, (404, "PLAY_NOT_FOUND")),
        ("GET", "/api/groups/nobody", None, (404, "GROUP_NOT_FOUND")),
        ("GET", "/api/kv/nobody", None, (404, "KV_NOT_FOUND")),
        ("GET", "/api/channels/nobody", None, (404, "CHANNEL_NOT_FOUND")),
        ("GET", "/api/schedules/nobody", None, (404, "SCHEDULE_NOT_FOUND")),
        ("GET", "/api/schedules/nobody/preview", None, (404, "SCHEDULE_NOT_FOUND")),
        ("POST", "/api/flows", b"{", (400, "VALIDATION_ERROR")),
        ("POST", "/api/flows", b"[]", (400, "VALIDATION_ERROR")),
        ("POST", "/api/plays/nobody/hold", None, (404, "PLAY_NOT_FOUND")),
        ("POST", "/api/plays/nobody/replay", b"{}", (404, "PLAY_NOT_FOUND")),
        ("GET", "/api/audit?size=0", None, (400, "VALIDATION_ERROR")),
    ],
)
async def test_0_every_refusal_has_the_one_form(
    api: Api, method: str, path: str, raw: bytes | None, refusal: tuple[int, str]
) -> None:
    assert await api.refused(method, path, raw=raw) == refusal


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "application/json", ""])
async def test_0_a_body_is_json_whatever_its_header_says(api: Api, kind: str) -> None:
    headers = {"Content-Type": kind}
    answer = await api.call("POST", "/api/groups", {"name": "Typed"}, headers=headers)
    assert (answer.status, answer.json["name"]) == (201, "Typed")
    assert answer.headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize(
    "path", ["flows", "plays", "groups", "kv", "channels", "schedules", "audit", "timers"]
)
async def test_0_every_list_has_the_one_envelope(api: Api, path: str) -> None:
    page = await api.get(f"/api/{path}?page=3&size=1000")
    assert {name: page[name] for name in ("page", "size")} == {"page": 3, "size": 100}
    assert page.keys() == {"data", "total", "page", "size", "pages"}
    assert page["data"] == []


async def test_0_a_client_that_comes_back_misses_nothing_and_sees_nothing_twice(api: Api) -> None:
    flow = await api.create_flow("Comes back", STEP, GATE)
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play = (await api.run(flow["id"]))["playId"]
        before = await frames.until("play:waiting", play_id=play)
    await api.post(f"/api/plays/{play}/approve", {"layerId": "gate", "decision": "approved"})
    await api.wait_for(play)
    last = before[-1]["sequence"]
    for query in (f"?playId={play}&since={last}", f"?flowId={flow['id']}&since={last}"):
        async with api.socket(query) as frames:
            after = await frames.until("play:completed", play_id=play)
        sequences = [frame["sequence"] for frame in (*before, *after)]
        assert sequences == sorted(set(sequences))
    async with api.socket(f"?playId={play}&since=0") as frames:
        assert await frames.until("play:completed", play_id=play) == [*before, *after]


# ── 5.1: what starts a flow by its names, and what does not ─────────────────────────────────────────


async def test_5_1_a_disabled_flow_is_started_by_no_schedule(api: Api) -> None:
    flow = await api.create_flow("Off", STEP, enabled=False)
    body = {"name": "s", "flowId": flow["id"], "every": "1s"}
    schedule = await api.post("/api/schedules", body, status=201)
    path = f"/api/schedules/{schedule['id']}"
    assert await api.refused("POST", f"{path}/run") == (409, "FLOW_DISABLED")

    async def passed() -> bool:
        return bool((await api.get(path))["nextRunAt"] > schedule["nextRunAt"])

    await eventually(passed)
    await api.delete(path)
    assert (await api.get(f"/api/flows/{flow['id']}/plays"))["total"] == 0


async def test_5_1_a_permanent_id_names_the_flow_of_failures(api: Api) -> None:
    handler = await api.create_flow("On Failure", STEP)
    broken = {"ref": "a", "appId": "var", "args": {"values": {"x": "{{ div 1 0 }}"}}}
    flow = await api.create_flow("Fails", broken, execution={"onFailFlowId": handler["permanentId"]})
    play = await api.run(flow["id"], wait=60)

    async def started() -> Json:
        return (await api.get(f"/api/flows/{handler['id']}/plays"))["data"]

    (told,) = await eventually(started)
    assert (told["trigger"], told["args"]["playId"]) == ("error", play["playId"])


# ── 7: how much may stand in one step ───────────────────────────────────────────────────────────────


async def test_7_a_value_holds_only_so_many_expressions(api: Api) -> None:
    flow = await api.create_flow("Many")
    many = {"ref": "a", "name": "a", "appId": "var", "args": {"values": {"x": ["{{ 1 }}" * 101] * 100}}}
    answer = await api.call("POST", f"/api/flows/{flow['id']}/layers", many)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert "at most 10000 expressions" in answer.json["message"]
