"""Plays that call plays, flows for failed ones, and limits (spec flow8 sections 17.1, 11 and 10)."""

import asyncio
import itertools

from tests.e2e.api import Api, Json
from tests.waiting import eventually

ECHO = {"ref": "echo", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}}
BROKEN = {"ref": "bad", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}}
FAR = {"ref": "far", "appId": "delay", "args": {"ms": 600_000}}
PAUSE = {"ref": "pause", "appId": "delay", "args": {"ms": 1_000}}


def calling(flow: str, **args: Json) -> Json:
    return {"ref": "call", "appId": "subflow", "args": {"flowId": flow, **args}}


# ── 17.1 subflow ────────────────────────────────────────────────────────────────────────────────────


async def test_17_1_a_subflow_gives_back_state_play_and_output(api: Api) -> None:
    child = await api.create_flow("Child", ECHO)
    parent = await api.create_flow("Parent", calling(child["id"], args={"n": "{{ $prev.args.n }}"}))
    ended = await api.run(parent["id"], {"n": 7}, wait=60)
    play_id = ended["out"]["playId"]
    assert ended["out"] == {"state": "DONE", "playId": play_id, "out": {"n": 7}}
    play = await api.get(f"/api/plays/{play_id}")
    assert (play["trigger"], play["parentPlayId"]) == ("subflow", ended["playId"])


async def test_17_1_a_permanent_id_names_the_flow_as_well(api: Api) -> None:
    child = await api.create_flow("Child by name", ECHO)
    parent = await api.create_flow("Parent by name", calling(child["permanentId"], args={"n": 1}))
    ended = await api.run(parent["id"], wait=60)
    assert ended["out"]["out"] == {"n": 1}


async def test_17_1_a_failed_child_fails_the_step_and_keeps_its_output(api: Api) -> None:
    child = await api.create_flow("Broken child", BROKEN)
    parent = await api.create_flow("Parent of a broken one", calling(child["id"]))
    ended = await api.run(parent["id"], wait=60)
    step = (await api.layers_of(ended["playId"]))["call"]
    assert (ended["state"], step["state"], step["out"]["state"]) == ("FAIL", "FAIL", "FAIL")
    assert step["out"]["playId"] in ended["error"]


async def test_17_1_async_goes_on_at_once(api: Api) -> None:
    child = await api.create_flow("Slow child", PAUSE, {**ECHO, "index": 1})
    parent = await api.create_flow("Hasty parent", calling(child["id"], args={"n": 3}, **{"async": True}))
    ended = await api.run(parent["id"], wait=60)
    assert ended["out"]["state"] == "RUN"
    play = await api.wait_for(ended["out"]["playId"], "DONE")
    assert play["out"] == {"n": 3}


async def test_17_1_a_child_out_of_time_fails_the_step_and_is_cancelled(api: Api) -> None:
    child = await api.create_flow("Endless child", FAR)
    parent = await api.create_flow("Impatient parent", calling(child["id"], timeout=1))
    ended = await api.run(parent["id"], wait=60)
    step = (await api.layers_of(ended["playId"]))["call"]
    assert (ended["errorCode"], step["errorCode"]) == ("TIMEOUT", "TIMEOUT")
    play = await api.wait_for(step["out"]["playId"], "FAIL")
    assert play["error"] == "CANCELLED"


async def test_17_1_a_child_that_has_no_time_at_all_can_be_looked_at(api: Api) -> None:
    child = await api.create_flow("Child without time", FAR)
    parent = await api.create_flow("Parent without patience", calling(child["id"], timeout=1e-6))
    ended = await api.run(parent["id"], wait=60)
    step = (await api.layers_of(ended["playId"]))["call"]
    assert (step["state"], step["errorCode"], step["out"]["state"]) == ("FAIL", "TIMEOUT", "RUN")
    play = await api.wait_for(step["out"]["playId"])
    assert (play["parentPlayId"], play["errorCode"]) == (ended["playId"], "CANCELLED")


async def test_17_1_a_cancel_reaches_the_children_and_theirs(api: Api) -> None:
    leaf = await api.create_flow("Leaf", FAR)
    branch = await api.create_flow("Branch", calling(leaf["id"]))
    root = await api.create_flow("Root", calling(branch["id"]))
    started = await api.run(root["id"])
    await api.wait_for(started["playId"], "WAIT")
    below = await _only_play(api, branch["id"], "WAIT")
    lowest = await _only_play(api, leaf["id"], "WAIT")
    await api.delete(f"/api/plays/{started['playId']}")
    for play_id in (started["playId"], below, lowest):
        assert (await api.wait_for(play_id, "FAIL"))["error"] == "CANCELLED"


async def test_17_1_a_disabled_or_unknown_child_fails_the_step(api: Api) -> None:
    child = await api.create_flow("Switched off", ECHO, enabled=False)
    for flow, code in ((child["id"], "FLOW_DISABLED"), ("0" * 24, "FLOW_NOT_FOUND")):
        parent = await api.create_flow(f"Parent of {code}", calling(flow))
        ended = await api.run(parent["id"], wait=60)
        assert (ended["state"], ended["errorCode"]) == ("FAIL", code)


async def test_17_1_flows_call_each_other_ten_deep_at_most(api: Api) -> None:
    flow = await api.create_flow("Mirror")
    await api.add_layer(flow["id"], **calling(flow["id"]))
    ended = await api.run(flow["id"], wait=60)
    assert ended["state"] == "FAIL"
    await api.rows(f"/api/flows/{flow['id']}/plays?size=50", 11)


# ── 11 the global error flow ────────────────────────────────────────────────────────────────────────


async def test_11_the_error_flow_starts_once_with_what_is_known(api: Api) -> None:
    handler = await api.create_flow(
        "Handler", {"ref": "seen", "appId": "var", "args": {"values": {"all": "{{ $prev.args }}"}}}
    )
    flow = await api.create_flow("Guarded", BROKEN, execution={"onFailFlowId": handler["id"]})
    ended = await api.run(flow["id"], {"n": 1}, wait=60)
    play_id = await _only_play(api, handler["id"], "DONE")
    play = await api.get(f"/api/plays/{play_id}")
    assert (play["trigger"], play["parentPlayId"]) == ("error", ended["playId"])
    told = play["args"]
    assert {key: told[key] for key in ("playId", "flowId", "flowName", "ref", "state", "args")} == {
        "playId": ended["playId"],
        "flowId": flow["id"],
        "flowName": "Guarded",
        "ref": "bad",
        "state": "FAIL",
        "args": {"n": 1},
    }
    assert told["layers"] == {"bad": {"state": "FAIL", "out": None}}


async def test_11_the_error_flow_is_told_as_many_outputs_as_fit(api: Api) -> None:
    told = {"small": "{{ $prev.args.layers.c.out.x }}", "large": "{{ $prev.args.layers.b }}"}
    handler = await api.create_flow("Told what fits", {"ref": "t", "appId": "var", "args": {"values": told}})
    large = {"appId": "var", "args": {"values": {"x": "{{ repeat 'ab' 2500000 }}"}}}
    small = {"appId": "var", "args": {"values": {"x": 7}}}
    steps = [{"ref": "a", **large}, {"ref": "b", **large}, {"ref": "c", **small}]
    flow = await api.create_flow("Large", *steps, BROKEN, execution={"onFailFlowId": handler["id"]})
    await api.run(flow["id"])
    play = await api.wait_for(await _only_play(api, handler["id"], "DONE"))
    assert play["out"] == {"small": 7, "large": {"state": "DONE", "out": None, "outTruncated": True}}


async def test_11_an_error_flow_that_fails_starts_nothing(api: Api) -> None:
    last = await api.create_flow("Never", ECHO)
    handler = await api.create_flow("Broken handler", BROKEN, execution={"onFailFlowId": last["id"]})
    flow = await api.create_flow("Guarded badly", BROKEN, execution={"onFailFlowId": handler["id"]})
    await api.run(flow["id"], wait=60)
    await _only_play(api, handler["id"], "FAIL")
    assert (await api.get(f"/api/flows/{last['id']}/plays"))["total"] == 0


async def test_11_a_cancel_does_not_start_the_error_flow(api: Api) -> None:
    handler = await api.create_flow("Not for cancels", ECHO)
    flow = await api.create_flow("Cancelled", FAR, execution={"onFailFlowId": handler["id"]})
    started = await api.run(flow["id"])
    await api.wait_for(started["playId"], "WAIT")
    await api.delete(f"/api/plays/{started['playId']}")
    await api.wait_for(started["playId"], "FAIL")
    assert (await api.get(f"/api/flows/{handler['id']}/plays"))["total"] == 0


async def test_11_a_flow_cannot_be_its_own_error_flow(api: Api) -> None:
    flow = await api.create_flow("Ouroboros", ECHO)
    body = {"execution": {"onFailFlowId": flow["id"]}}
    answer = await api.call("PUT", f"/api/flows/{flow['id']}", body)
    assert answer.status == 400


# ── 10 limits ───────────────────────────────────────────────────────────────────────────────────────


async def test_10_plays_above_the_limit_are_deferred_and_start_in_order(api: Api) -> None:
    flow = await api.create_flow("One at a time", PAUSE, execution={"maxConcurrent": 1})
    first = await api.run(flow["id"])
    await api.wait_for(first["playId"], "RUN", "WAIT")
    second = await api.run(flow["id"], wait=60)
    third = await api.run(flow["id"], wait=60)
    assert (second["state"], third["state"]) in {("DEFERRED", "DEFERRED"), ("DONE", "DEFERRED")}
    waiting = await api.get(f"/api/plays/{third['playId']}")
    assert waiting["state"] != "DEFERRED" or waiting["startedAt"] is None
    ended = [await api.wait_for(play["playId"], "DONE") for play in (first, second, third)]
    assert [play["startedAt"] for play in ended] == sorted(play["startedAt"] for play in ended)
    assert all(before["completedAt"] <= after["completedAt"] for before, after in itertools.pairwise(ended))


async def test_10_a_deferred_play_can_be_cancelled(api: Api) -> None:
    flow = await api.create_flow("Blocked", FAR, execution={"maxConcurrent": 1})
    holder = await api.run(flow["id"])
    await api.wait_for(holder["playId"], "WAIT")
    waiting = await api.run(flow["id"], wait=60)
    assert waiting["state"] == "DEFERRED"
    await api.delete(f"/api/plays/{waiting['playId']}")
    play = await api.wait_for(waiting["playId"], "FAIL")
    assert (play["error"], play["startedAt"]) == ("CANCELLED", None)
    await api.delete(f"/api/plays/{holder['playId']}")
    await api.wait_for(holder["playId"], "FAIL")


async def test_10_a_raised_limit_lets_in_who_waits(api: Api) -> None:
    flow = await api.create_flow("Widened", FAR, execution={"maxConcurrent": 1})
    holder = await api.run(flow["id"])
    await api.wait_for(holder["playId"], "WAIT")
    waiting = await api.run(flow["id"], wait=60)
    await api.put(f"/api/flows/{flow['id']}", {"execution": {"maxConcurrent": 3}})
    next_one = await api.run(flow["id"])
    plays = [holder["playId"], waiting["playId"], next_one["playId"]]
    for play_id in plays:
        await api.wait_for(play_id, "WAIT")
        await api.delete(f"/api/plays/{play_id}")


async def test_10_a_hundred_plays_pass_a_limit_of_eight(api: Api) -> None:
    flow = await api.create_flow("Eight at a time", ECHO, execution={"maxConcurrent": 8})
    started = await asyncio.gather(*(api.run(flow["id"], {"n": n}) for n in range(100)))
    for play in started:
        assert (await api.wait_for(play["playId"], "DONE"))["state"] == "DONE"


async def _only_play(api: Api, flow_id: str, *states: str) -> str:
    async def found() -> str | None:
        plays = (await api.get(f"/api/flows/{flow_id}/plays"))["data"]
        reached = [play["id"] for play in plays if play["state"] in states]
        return reached[0] if len(plays) == 1 and reached else None

    play_id: str = await eventually(found)
    return play_id
