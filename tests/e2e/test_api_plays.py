"""Plays: started, waited for, listed, cancelled, approved."""

import asyncio

import pytest

from tests.e2e.api import Api, Json

STEP = {"ref": "a", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}}
GATE = {**STEP, "needsApproval": True}
BROKEN = {"ref": "a", "appId": "var", "args": {"values": {"n": "{{ div 1 0 }}"}}}
UNKNOWN = "0" * 24


async def test_a_play_can_be_read_from_the_moment_it_was_accepted(api: Api) -> None:
    flow = await api.create_flow("At once", STEP)
    for number in range(10):
        started = await api.run(flow["id"], {"n": number})
        play = await api.get(f"/api/plays/{started['playId']}")
        assert (play["flowId"], play["args"], play["trigger"]) == (flow["id"], {"n": number}, "api")


async def test_a_finished_play_tells_its_whole_story(api: Api) -> None:
    flow = await api.create_flow("Story", STEP)
    ended = await api.run(flow["id"], {"n": 5}, wait=60)
    assert (ended["state"], ended["out"], ended["error"]) == ("DONE", {"n": 5}, None)
    play = await api.get(f"/api/plays/{ended['playId']}")
    assert (play["state"], play["out"], play["flowVersion"]) == ("DONE", {"n": 5}, flow["version"])
    assert play["completedAt"] == ended["completedAt"]
    assert play["duration"] == ended["duration"]
    steps = await api.get(f"/api/plays/{ended['playId']}/layers")
    assert [(step["ref"], step["layerId"], step["state"], step["out"]) for step in steps] == [
        ("a", flow["layers"][0]["id"], "DONE", {"n": 5})
    ]


async def test_a_failed_play_says_where_and_why(api: Api) -> None:
    flow = await api.create_flow("Broken", BROKEN)
    ended = await api.run(flow["id"], wait=60)
    assert (ended["state"], ended["errorCode"], ended["out"]) == ("FAIL", "EXPRESSION_ERROR", None)
    play = await api.get(f"/api/plays/{ended['playId']}")
    assert (play["error"], play["failedRef"]) == (ended["error"], "a")
    assert play["failedAt"] == play["completedAt"]


async def test_equal_keys_are_one_play_however_many_ask_at_once(api: Api) -> None:
    flow = await api.create_flow("Once", STEP)
    answers = await asyncio.gather(
        *(api.run(flow["id"], {"n": number}, idempotencyKey="invoice-7") for number in range(20))
    )
    assert len({answer["playId"] for answer in answers}) == 1
    play_id = answers[0]["playId"]
    play = await api.wait_for(play_id)
    again = await api.run(flow["id"], idempotencyKey="invoice-7")
    assert (again["playId"], again["state"]) == (play_id, "DONE")
    waited = await api.run(flow["id"], idempotencyKey="invoice-7", wait=60)
    assert (waited["playId"], waited["out"]) == (play_id, play["out"])
    await api.rows(f"/api/flows/{flow['id']}/plays", 1)


async def test_an_empty_key_is_no_key_and_flows_do_not_share_keys(api: Api) -> None:
    first, second = await api.create_flow("Keys 1", STEP), await api.create_flow("Keys 2", STEP)
    ids = [
        (await api.run(flow["id"], idempotencyKey=key))["playId"]
        for flow, key in ((first, ""), (first, ""), (first, "k"), (second, "k"))
    ]
    assert len(set(ids)) == 4


async def test_lists_show_the_newest_first_and_can_be_narrowed(api: Api) -> None:
    good, bad = await api.create_flow("Good", STEP), await api.create_flow("Bad", BROKEN)
    good_plays = [(await api.run(good["id"], wait=60))["playId"] for _ in range(3)]
    bad_play = (await api.run(bad["id"], wait=60))["playId"]
    await api.rows(f"/api/flows/{good['id']}/plays?state=DONE", 3)
    await api.rows(f"/api/flows/{bad['id']}/plays?state=FAIL", 1)
    page = await api.get(f"/api/flows/{good['id']}/plays?size=2")
    assert [play["id"] for play in page["data"]] == [good_plays[2], good_plays[1]]
    assert (page["total"], page["pages"]) == (3, 2)
    failed = await api.get("/api/plays?state=FAIL&size=100")
    assert bad_play in {play["id"] for play in failed["data"]}
    assert {play["state"] for play in failed["data"]} == {"FAIL"}
    by_name = await api.get("/api/plays?flowId=bad")
    assert [play["id"] for play in by_name["data"]] == [bad_play]
    day = page["data"][0]["createdAt"][:10]
    for narrowed, total in (
        (f"from={day}&to={day}", 3),
        ("from=2100-01-01", 0),
        ("to=2000-01-01T00:00:00Z", 0),
    ):
        assert (await api.get(f"/api/plays?flowId={good['id']}&{narrowed}"))["total"] == total


@pytest.mark.parametrize(
    "query",
    ["state=BROKEN", "state=done", "from=yesterday", "to=2026-02-30", "page=-1", "size=0", "flowId=%00"],
)
async def test_a_list_nobody_can_mean_is_400(api: Api, query: str) -> None:
    assert await api.refused("GET", f"/api/plays?{query}") == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("play", [UNKNOWN, "x", "*", "A" * 24])
async def test_an_unknown_play_is_404(api: Api, play: str) -> None:
    path = f"/api/plays/{play}"
    decision = {"layerId": "a", "decision": "approved"}
    assert await api.refused("GET", path) == (404, "PLAY_NOT_FOUND")
    assert await api.refused("GET", f"{path}/layers") == (404, "PLAY_NOT_FOUND")
    assert await api.refused("DELETE", path) == (404, "PLAY_NOT_FOUND")
    assert await api.refused("POST", f"{path}/approve", decision) == (404, "PLAY_NOT_FOUND")


async def test_a_play_goes_on_once_its_gate_is_approved(api: Api) -> None:
    flow = await api.create_flow("Gate", GATE)
    layer = flow["layers"][0]["id"]
    parked = await api.run(flow["id"], {"n": 1}, wait=60)
    assert parked["state"] == "WAIT"
    decision = {"layerId": layer, "decision": "approved", "note": "looks right"}
    answer = await api.post(f"/api/plays/{parked['playId']}/approve", decision)
    assert (answer["playId"], answer["layerId"], answer["decision"]) == (parked["playId"], layer, "approved")
    assert (await api.wait_for(parked["playId"]))["state"] == "DONE"
    approval = (await api.layers_of(parked["playId"]))["a"]["approval"]
    assert (approval["decision"], approval["note"]) == ("approved", "looks right")
    assert await api.refused("POST", f"/api/plays/{parked['playId']}/approve", decision) == (409, "CONFLICT")


async def test_a_declined_gate_fails_the_play(api: Api) -> None:
    flow = await api.create_flow("Declined", GATE)
    parked = await api.run(flow["id"], wait=60)
    play_layer = (await api.layers_of(parked["playId"]))["a"]["id"]
    body = {"layerId": play_layer, "decision": "declined"}
    answer = await api.post(f"/api/plays/{parked['playId']}/approve", body)
    assert answer["layerId"] == flow["layers"][0]["id"]
    play = await api.wait_for(parked["playId"])
    assert (play["state"], play["errorCode"]) == ("FAIL", "APPROVAL_DECLINED")


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"layerId": "nope", "decision": "approved"}, (404, "LAYER_NOT_FOUND")),
        ({"layerId": UNKNOWN, "decision": "approved"}, (404, "LAYER_NOT_FOUND")),
        ({"layerId": "later", "decision": "approved"}, (409, "CONFLICT")),
        ({"layerId": "before", "decision": "approved"}, (409, "CONFLICT")),
        ({"layerId": "a", "decision": "maybe"}, (400, "VALIDATION_ERROR")),
        ({"layerId": "a"}, (400, "VALIDATION_ERROR")),
        ({"decision": "approved"}, (400, "VALIDATION_ERROR")),
        ({"layerId": "a", "decision": "approved", "note": 5}, (400, "VALIDATION_ERROR")),
        ([], (400, "VALIDATION_ERROR")),
    ],
)
async def test_a_decision_that_fits_nothing_is_refused(
    api: Api, body: Json, refusal: tuple[int, str]
) -> None:
    flow = await api.create_flow("Gates", {**STEP, "ref": "before"}, GATE, {**GATE, "ref": "later"})
    parked = await api.run(flow["id"], wait=60)
    assert await api.refused("POST", f"/api/plays/{parked['playId']}/approve", body) == refusal
    assert (await api.get(f"/api/plays/{parked['playId']}"))["state"] == "WAIT"


async def test_of_many_who_decide_at_once_one_does(api: Api) -> None:
    flow = await api.create_flow("Race", GATE)
    parked = await api.run(flow["id"], wait=60)
    decisions = ["approved", "declined"] * 4
    answers = await asyncio.gather(
        *(
            api.call("POST", f"/api/plays/{parked['playId']}/approve", {"layerId": "a", "decision": decision})
            for decision in decisions
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [409] * (len(decisions) - 1)


async def test_a_waiting_play_can_be_cancelled_once(api: Api) -> None:
    flow = await api.create_flow("Cancelled", GATE)
    parked = await api.run(flow["id"], wait=60)
    path = f"/api/plays/{parked['playId']}"
    assert await api.delete(path) == {"playId": parked["playId"], "state": "FAIL"}
    play = await api.get(path)
    assert (play["state"], play["error"]) == ("FAIL", "CANCELLED")
    assert await api.refused("DELETE", path) == (409, "CONFLICT")
    decision = {"layerId": "a", "decision": "approved"}
    assert await api.refused("POST", f"{path}/approve", decision) == (409, "CONFLICT")


async def test_a_running_play_can_be_cancelled(api: Api) -> None:
    flow = await api.create_flow("Long", {"ref": "a", "appId": "delay", "args": {"ms": 60_000}})
    started = await api.run(flow["id"])
    assert (await api.delete(f"/api/plays/{started['playId']}"))["state"] == "FAIL"


async def test_a_disabled_flow_runs_only_by_force(api: Api) -> None:
    flow = await api.create_flow("Off", STEP, enabled=False)
    assert await api.refused("POST", f"/api/flows/{flow['id']}/run") == (409, "FLOW_DISABLED")
    assert (await api.run(flow["id"], force=True, wait=60))["state"] == "DONE"
    await api.put(f"/api/flows/{flow['id']}", {"enabled": True})
    assert (await api.run(flow["id"], wait=60))["state"] == "DONE"


async def test_a_socket_tells_what_then_can_be_read(api: Api) -> None:
    flow = await api.create_flow("Told", STEP)
    async with api.socket() as frames:
        for _ in range(5):
            started = await api.run(flow["id"])
            told = await frames.until("play:completed", play_id=started["playId"])
            play = await api.get(f"/api/plays/{started['playId']}")
            assert (play["state"], play["duration"]) == ("DONE", told[-1]["duration"])
