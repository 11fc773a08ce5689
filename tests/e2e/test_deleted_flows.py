"""Deleting a flow starts nothing more of it, and lets what runs, waits or stands in line come to its end."""

from collections.abc import AsyncIterator

import pytest

from tests.e2e.api import Api, Json
from tests.fixtures.system import RunningSystem

GATE = {"ref": "gate", "appId": "var", "args": {"values": {"n": 1}}, "index": 0, "needsApproval": True}
AFTER = {"ref": "after", "appId": "var", "args": {"values": {"n": 2}}, "index": 1}
APPROVED = {"layerId": "gate", "decision": "approved"}
ONE = {"maxConcurrent": 1}


@pytest.fixture
async def api(shared_system: RunningSystem) -> AsyncIterator[Api]:
    async with Api.logged_in(shared_system) as api:
        yield api


async def begun(api: Api, flow: Json, state: str = "WAIT") -> str:
    """Start a play and return it once it is in this state."""
    play_id: str = (await api.run(flow["id"]))["playId"]
    await api.wait_for(play_id, state)
    return play_id


async def approved(api: Api, play_id: str) -> None:
    """Let a play that is at its gate, or comes to it, run to its end."""
    await api.wait_for(play_id, "WAIT")
    await api.post(f"/api/plays/{play_id}/approve", APPROVED)
    await api.wait_for(play_id, "DONE")


async def deleted(api: Api, flow: Json) -> None:
    await api.delete(f"/api/flows/{flow['id']}")
    assert await api.refused("POST", f"/api/flows/{flow['id']}/run") == (404, "FLOW_NOT_FOUND")


async def test_5_plays_that_wait_or_stand_in_line_when_their_flow_is_deleted_come_to_their_end(
    api: Api,
) -> None:
    flow = await api.create_flow("Deleted with a line", GATE, AFTER, execution=ONE)
    holder = await begun(api, flow)
    first, second, third = [await begun(api, flow, "DEFERRED") for _ in range(3)]
    await deleted(api, flow)
    shown = await api.get(f"/api/plays/{second}")
    assert (shown["state"], shown["queuePosition"]) == ("DEFERRED", 2)
    assert (await api.delete(f"/api/plays/{first}"))["state"] == "FAIL"
    for play_id in (holder, second, third):
        await approved(api, play_id)


async def test_5_a_timer_of_a_deleted_flow_fires(api: Api) -> None:
    pause = {"ref": "pause", "appId": "delay", "index": 0, "args": {"ms": 3_000}}
    flow = await api.create_flow("Deleted while it sleeps", pause, AFTER)
    play = await begun(api, flow)
    await deleted(api, flow)
    assert (await api.wait_for(play))["state"] == "DONE"


async def test_5_a_play_of_a_deleted_flow_is_operated_as_ever(api: Api) -> None:
    flow = await api.create_flow("Deleted and operated", GATE, AFTER, execution=ONE)
    play = await begun(api, flow)
    await deleted(api, flow)
    await api.post(f"/api/plays/{play}/hold")
    await api.wait_for(play, "ON_HOLD")
    await api.post(f"/api/plays/{play}/resume")
    await api.wait_for(play, "WAIT")
    await api.delete(f"/api/plays/{play}")
    await api.wait_for(play, "FAIL")
    await api.post(f"/api/plays/{play}/retry")
    await approved(api, play)
    assert await api.refused("POST", f"/api/plays/{play}/replay") == (404, "FLOW_NOT_FOUND")


async def test_5_a_parent_hears_of_its_child_whichever_of_their_flows_is_deleted(api: Api) -> None:
    child = await api.create_flow("Deleted child", GATE)
    call = {"ref": "child", "appId": "subflow", "index": 0, "args": {"flowId": child["id"]}}
    parent = await api.create_flow("Deleted parent", call, AFTER)
    plays = [await begun(api, parent) for _ in range(2)]
    later = await api.create_flow("Calls what is deleted", call)
    for flow in (child, parent):
        await deleted(api, flow)
    children = await api.rows(f"/api/plays?flowId={child['id']}&state=WAIT", len(plays))
    for play in plays:
        (of_play,) = [one["id"] for one in children if one["parentPlayId"] == play]
        await approved(api, of_play)
        assert (await api.wait_for(play))["state"] == "DONE"
    late = await api.finished(later["id"])
    assert (late["state"], late["errorCode"]) == ("FAIL", "FLOW_NOT_FOUND")


async def test_5_plays_of_a_deleted_app_come_to_their_end_and_its_boards_start_no_more(api: Api) -> None:
    app = await api.post("/api/groups", {"name": "Deleted with its boards"}, status=201)
    board = await api.create_flow("Board of a deleted app", GATE, AFTER, execution=ONE, groupId=app["id"])
    holder, waiting = await begun(api, board), await begun(api, board, "DEFERRED")
    assert (await api.call("DELETE", f"/api/v1/apps/{app['id']}")).status == 204
    assert await api.refused("POST", f"/api/flows/{board['id']}/run") == (404, "FLOW_NOT_FOUND")
    for play_id in (holder, waiting):
        await approved(api, play_id)
