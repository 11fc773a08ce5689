"""Operating plays over HTTP: hold and resume, retry, replay (spec flow8 sections 8 and 9, Q35)."""

import asyncio

import pytest

from tests.e2e.api import Api, Json

GATE = {"ref": "gate", "appId": "var", "args": {"values": {"n": 1}}, "index": 0, "needsApproval": True}
AFTER = {"ref": "after", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}, "index": 1}
FIRST = {"ref": "first", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}, "index": 0}
DIVIDES = {"ref": "b", "appId": "var", "args": {"values": {"x": "{{ div 10 $prev.args.n }}"}}, "index": 1}
LAST = {"ref": "last", "appId": "var", "args": {"values": {"y": "{{ $prev.first.n }}"}}, "index": 2}
SLOW = {"ref": "slow", "appId": "delay", "args": {"ms": 1_500}, "index": 0}
LOOPED: list[Json] = [
    {
        "ref": "each",
        "appId": "iterator",
        "args": {"items": "{{ $prev.args.items }}", "batchSize": 2},
        "index": 0,
    },
    {"ref": "one", "appId": "var", "args": {"values": {"x": "{{ $prev.each.item }}"}}, "index": 1},
    {"ref": "two", "appId": "var", "args": {"values": {"x": "{{ add $prev.one.x 1 }}"}}, "index": 2},
    {"ref": "all", "appId": "aggregator", "args": {"sourceRef": "two", "field": "x"}, "index": 3},
    {
        "ref": "end",
        "appId": "var",
        "args": {"values": {"x": "{{ $prev.all.items }}", "y": "{{ $prev.one.x }}"}},
    },
]
APPROVED = {"layerId": "gate", "decision": "approved"}
UNKNOWN = "0" * 24


async def waiting(api: Api, name: str) -> str:
    flow = await api.create_flow(name, GATE, AFTER)
    play: str = (await api.run(flow["id"], {"n": 1}, wait=60))["playId"]
    return play


async def failed(api: Api, name: str) -> Json:
    flow = await api.create_flow(name, FIRST, DIVIDES, LAST)
    return await api.run(flow["id"], {"n": 0}, wait=60)


async def test_section_9_a_waiting_play_is_held_at_once_and_says_who_and_why(api: Api) -> None:
    play = await waiting(api, "Held")
    answer = await api.post(f"/api/plays/{play}/hold", {"note": "audit"})
    assert answer == {"playId": play, "state": "ON_HOLD"}
    shown = await api.get(f"/api/plays/{play}")
    assert (shown["state"], shown["hold"]["note"], bool(shown["hold"]["by"])) == ("ON_HOLD", "audit", True)


async def test_section_9_a_decision_on_hold_is_kept_and_works_after_the_resume(api: Api) -> None:
    play = await waiting(api, "Kept")
    await api.post(f"/api/plays/{play}/hold")
    answer = await api.post(f"/api/plays/{play}/approve", APPROVED)
    assert answer["state"] == "ON_HOLD"
    await api.post(f"/api/plays/{play}/resume", {"note": "go"})
    ended = await api.wait_for(play)
    assert (ended["state"], ended["hold"]) == ("DONE", None)


async def test_section_9_a_running_play_is_held_between_its_groups(api: Api) -> None:
    flow = await api.create_flow("Between", SLOW, AFTER)
    play = (await api.run(flow["id"], {"n": 1}))["playId"]
    await api.post(f"/api/plays/{play}/hold")
    held = await api.wait_for(play, "ON_HOLD")
    assert held["completedAt"] is None
    assert "after" not in await api.layers_of(play)
    await api.post(f"/api/plays/{play}/resume")
    assert (await api.wait_for(play))["state"] == "DONE"


async def test_section_9_holding_twice_and_resuming_what_is_not_held_is_refused(api: Api) -> None:
    play = await waiting(api, "Twice")
    assert await api.refused("POST", f"/api/plays/{play}/resume") == (409, "CONFLICT")
    await api.post(f"/api/plays/{play}/hold")
    assert await api.refused("POST", f"/api/plays/{play}/hold") == (409, "CONFLICT")
    await api.post(f"/api/plays/{play}/resume")
    assert await api.refused("POST", f"/api/plays/{play}/resume") == (409, "CONFLICT")


async def test_section_9_of_holds_at_once_one_counts(api: Api) -> None:
    play = await waiting(api, "At once")
    answers = await asyncio.gather(*(api.call("POST", f"/api/plays/{play}/hold") for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]


async def test_section_8_a_held_play_can_be_cancelled(api: Api) -> None:
    play = await waiting(api, "Held and cancelled")
    await api.post(f"/api/plays/{play}/hold")
    assert (await api.delete(f"/api/plays/{play}"))["state"] == "FAIL"
    shown = await api.get(f"/api/plays/{play}")
    assert (shown["error"], shown["hold"]) == ("CANCELLED", None)


async def test_section_8_a_retry_runs_what_failed_and_what_was_skipped_and_keeps_what_is_done(
    api: Api,
) -> None:
    ended = await failed(api, "Retried")
    play = ended["playId"]
    before = await api.layers_of(play)
    assert {ref: step["state"] for ref, step in before.items()} == {
        "first": "DONE",
        "b": "FAIL",
        "last": "SKIP",
    }
    answer = await api.post(f"/api/plays/{play}/retry", {"note": "again"})
    assert answer["playId"] == play
    await api.wait_for(play, "FAIL")
    after = await api.layers_of(play)
    assert after["first"]["startedAt"] == before["first"]["startedAt"]
    assert (after["b"]["state"], after["b"]["attempts"]) == ("FAIL", 1)
    assert (await api.get(f"/api/plays/{play}"))["retries"] == 1


async def test_section_8_a_cancelled_play_can_be_retried_and_ends_well(api: Api) -> None:
    play = await waiting(api, "Cancelled and retried")
    await api.delete(f"/api/plays/{play}")
    await api.post(f"/api/plays/{play}/retry")
    shown = await api.wait_for(play, "WAIT")
    assert (shown["completedAt"], shown["failedAt"], shown["error"]) == (None, None, None)
    assert (await api.layers_of(play))["gate"]["error"] == "CANCELLED"
    await api.post(f"/api/plays/{play}/approve", APPROVED)
    ended = await api.wait_for(play)
    assert (ended["state"], ended["error"], ended["retries"]) == ("DONE", None, 1)
    assert (await api.layers_of(play))["gate"]["error"] is None


async def test_section_8_a_loop_that_a_retry_reaches_at_last_is_shown_by_its_items(api: Api) -> None:
    first = {"ref": "first", "appId": "var", "args": {"values": {"x": "{{ div 1 $kv.ok }}"}}}
    later = [{**layer, "index": number} for number, layer in enumerate(LOOPED, start=1)]
    flow = await api.create_flow("Reached at last", first, *later)
    entry = {"key": "ok", "scope": "flow", "scopeKey": flow["id"]}
    await api.post("/api/kv", {**entry, "value": 0}, status=201)
    play = (await api.run(flow["id"], {"items": [1, 2]}, wait=60))["playId"]
    assert (await api.layers_of(play))["two"]["state"] == "SKIP"
    await api.post("/api/kv", {**entry, "value": 1})
    await api.post(f"/api/plays/{play}/retry")
    await api.wait_for(play, "DONE")
    layers = await api.get(f"/api/plays/{play}/layers")
    assert {layer["state"] for layer in layers} == {"DONE"}
    assert [layer["iteration"] for layer in layers if layer["ref"] == "two"] == [0, 1]


async def test_section_8_of_retries_at_once_one_counts(api: Api) -> None:
    play = await waiting(api, "Retried at once")
    await api.delete(f"/api/plays/{play}")
    answers = await asyncio.gather(*(api.call("POST", f"/api/plays/{play}/retry") for _ in range(4)))
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    assert (await api.wait_for(play, "WAIT"))["retries"] == 1


async def test_section_8_only_failed_plays_can_be_retried(api: Api) -> None:
    flow = await api.create_flow("Well", FIRST)
    done = await api.run(flow["id"], {"n": 1}, wait=60)
    assert await api.refused("POST", f"/api/plays/{done['playId']}/retry") == (409, "CONFLICT")
    assert await api.refused("POST", f"/api/plays/{UNKNOWN}/retry") == (404, "PLAY_NOT_FOUND")


@pytest.mark.parametrize(
    ("from_ref", "reused"),
    [
        ("one", set()),
        ("two", set()),
        ("all", {"each", "one", "two"}),
        ("end", {"each", "one", "two", "all"}),
    ],
)
async def test_section_8_a_replay_begins_after_a_loop_or_with_it(
    api: Api, from_ref: str, reused: set[str]
) -> None:
    flow = await api.create_flow(f"Looped and replayed from {from_ref}", *LOOPED)
    source = await api.run(flow["id"], {"items": [1, 2, 3]}, wait=60)
    assert source["out"] == {"x": [2, 3, 4], "y": 3}
    path = f"/api/plays/{source['playId']}/replay"
    again = await api.wait_for((await api.post(path, {"fromRef": from_ref}, status=201))["playId"])
    assert (again["state"], again["out"]) == ("DONE", source["out"])
    layers = await api.get(f"/api/plays/{again['id']}/layers")
    assert {layer["ref"] for layer in layers if layer["reused"]} == reused


async def test_section_8_a_replay_gathers_from_a_loop_that_it_takes_over(api: Api) -> None:
    big = "{{ repeat $prev.each.item 120000 }}"
    flow = await api.create_flow(
        "Gathered later",
        LOOPED[0],
        {
            "ref": "one",
            "appId": "var",
            "args": {"values": {"n": "{{ $prev.each.item }}", "x": big}},
            "index": 1,
        },
        {"ref": "all", "appId": "aggregator", "args": {"sourceRef": "one", "field": "n"}, "index": 2},
        {"ref": "gate", "appId": "var", "args": {"values": {}}, "index": 3},
        {"ref": "later", "appId": "aggregator", "args": {"sourceRef": ["one", "each"]}, "index": 4},
    )
    source = await api.run(flow["id"], {"items": ["a", "b", "c"]}, wait=60)
    assert (source["state"], source["out"]["count"]) == ("DONE", 6)
    # Of a replay as well.
    play = source["playId"]
    for _ in range(2):
        answer = await api.post(f"/api/plays/{play}/replay", {"fromRef": "gate"}, status=201)
        again = await api.wait_for(answer["playId"])
        assert (again["state"], again["out"]) == ("DONE", source["out"])
        play = again["id"]


async def test_section_8_a_replay_takes_over_nothing_of_a_loop_that_was_broken_off(api: Api) -> None:
    gate = {**LOOPED[1], "needsApproval": True}
    flow = await api.create_flow("Broken off", LOOPED[0], gate, *LOOPED[2:])
    source = await api.run(flow["id"], {"items": [1, 2]}, wait=60)
    await api.delete(f"/api/plays/{source['playId']}")
    path = f"/api/plays/{source['playId']}/replay"
    assert await api.refused("POST", path, {"fromRef": "end"}) == (409, "CONFLICT")


async def test_section_8_a_replay_takes_over_what_came_before_and_runs_from_there(api: Api) -> None:
    source = (await failed(api, "Replayed"))["playId"]
    answer = await api.post(f"/api/plays/{source}/replay", {"fromRef": "b", "args": {"n": 5}}, status=201)
    assert answer["replayOf"] == source
    ended = await api.wait_for(answer["playId"])
    assert (ended["state"], ended["replayOf"], ended["args"]) == ("DONE", source, {"n": 5})
    steps = await api.layers_of(answer["playId"])
    assert {ref: step["reused"] for ref, step in steps.items()} == {"first": True, "b": False, "last": False}
    # Its own args say 5, the output that was taken over says 0.
    assert (steps["first"]["out"], steps["b"]["out"], steps["last"]["out"]) == ({"n": 0}, {"x": 2}, {"y": 0})


async def test_section_8_a_replay_from_the_start_has_the_same_args(api: Api) -> None:
    flow = await api.create_flow("Again", FIRST)
    source = (await api.run(flow["id"], {"n": 7}, wait=60))["playId"]
    answer = await api.post(f"/api/plays/{source}/replay", status=201)
    ended = await api.wait_for(answer["playId"])
    assert (ended["out"], ended["args"]) == ({"n": 7}, {"n": 7})


async def test_section_8_equal_keys_are_one_replay(api: Api) -> None:
    source = (await failed(api, "Replayed once"))["playId"]
    body = {"fromRef": "b", "idempotencyKey": "k"}
    answers = await asyncio.gather(*(api.call("POST", f"/api/plays/{source}/replay", body) for _ in range(4)))
    assert {answer.status for answer in answers} <= {200, 201}
    assert len({answer.json["playId"] for answer in answers}) == 1


async def test_section_8_what_cannot_be_replayed_is_refused(api: Api) -> None:
    play = await waiting(api, "Not yet")
    path = f"/api/plays/{play}/replay"
    assert await api.refused("POST", path, {"fromRef": "nope"}) == (400, "VALIDATION_ERROR")
    assert await api.refused("POST", path, {"fromRef": "after"}) == (409, "CONFLICT")
    assert await api.refused("POST", f"/api/plays/{UNKNOWN}/replay") == (404, "PLAY_NOT_FOUND")
