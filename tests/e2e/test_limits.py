"""Limits over HTTP: plays in line, retried and held ones too, and what callers are told (spec flow8, 8 to 10)."""

from tests.e2e.api import Api, Json
from tests.e2e.companies import neighbour
from tests.fixtures.system import running_system

GATE = {"ref": "gate", "appId": "var", "args": {"values": {"n": 1}}, "index": 0, "needsApproval": True}
AFTER = {"ref": "after", "appId": "var", "args": {"values": {"n": "{{ $prev.args.n }}"}}, "index": 1}
APPROVED = {"layerId": "gate", "decision": "approved"}
ONE = {"maxConcurrent": 1}


async def gated(api: Api, name: str, **fields: Json) -> str:
    """Make a flow whose plays wait for an approval, with the slot that they hold; return its id."""
    flow_id: str = (await api.create_flow(name, GATE, AFTER, **fields))["id"]
    return flow_id


async def begun(api: Api, flow_id: str) -> str:
    """Start a play and return it once it waits at its gate, in its slot."""
    play_id: str = (await api.run(flow_id))["playId"]
    await api.wait_for(play_id, "WAIT")
    return play_id


async def done(api: Api, play_id: str) -> None:
    """Let a play that is at its gate, or comes to it, run to its end."""
    await api.wait_for(play_id, "WAIT")
    await api.post(f"/api/plays/{play_id}/approve", APPROVED)
    await api.wait_for(play_id, "DONE")


async def cancelled(api: Api, flow_id: str) -> str:
    """Start a play, cancel it in the middle, and return it."""
    play_id = await begun(api, flow_id)
    await api.delete(f"/api/plays/{play_id}")
    return play_id


async def position(api: Api, play_id: str) -> Json:
    play = await api.get(f"/api/plays/{play_id}")
    assert play["state"] == "DEFERRED"
    return play["queuePosition"]


async def test_12_a_step_of_a_play_in_line_does_not_wait_for_a_decision_yet(api: Api) -> None:
    flow = await gated(api, "Decided in line", execution=ONE)
    await begun(api, flow)
    in_line = (await api.run(flow))["playId"]
    path = f"/api/plays/{in_line}/approve"
    assert await api.refused("POST", path, APPROVED) == (409, "CONFLICT")
    assert await api.refused("POST", path, {**APPROVED, "layerId": "nope"}) == (404, "LAYER_NOT_FOUND")


# ── 8 and 9: retries ────────────────────────────────────────────────────────────────────────────────


async def test_10_a_retry_takes_its_place_in_line_and_goes_on_when_its_turn_comes(api: Api) -> None:
    flow = await gated(api, "Retried in line", execution=ONE)
    again = await cancelled(api, flow)
    holder = await begun(api, flow)
    before = await api.run(flow)
    assert await api.post(f"/api/plays/{again}/retry") == {"playId": again, "state": "DEFERRED"}
    behind = await api.run(flow, wait=60)
    shown = await api.get(f"/api/plays/{again}")
    assert (shown["state"], shown["retries"], shown["error"], shown["completedAt"]) == (
        "DEFERRED",
        1,
        None,
        None,
    )
    line = [before["playId"], again, behind["playId"]]
    assert [await position(api, play_id) for play_id in line] == [1, 2, 3]
    assert await api.refused("POST", f"/api/plays/{again}/retry") == (409, "CONFLICT")
    for play_id in (holder, *line):
        await done(api, play_id)
    assert "queuePosition" not in await api.get(f"/api/plays/{again}")


async def test_10_a_retry_takes_a_free_slot_at_once_and_frees_it(api: Api) -> None:
    flow = await gated(api, "Retried at once", execution=ONE)
    again = await cancelled(api, flow)
    assert (await api.post(f"/api/plays/{again}/retry"))["state"] != "DEFERRED"
    await api.wait_for(again, "WAIT")
    behind = await api.run(flow, wait=60)
    assert behind["state"] == "DEFERRED"
    await done(api, again)
    await done(api, behind["playId"])


async def test_10_a_retry_in_line_can_be_cancelled_and_retried_once_more(api: Api) -> None:
    flow = await gated(api, "Retried twice", execution=ONE)
    again = await cancelled(api, flow)
    holder = await begun(api, flow)
    for number in (1, 2):
        assert (await api.post(f"/api/plays/{again}/retry"))["state"] == "DEFERRED"
        assert (await api.get(f"/api/plays/{again}"))["retries"] == number
        assert (await api.delete(f"/api/plays/{again}"))["state"] == "FAIL"
    await api.post(f"/api/plays/{again}/retry")
    await done(api, holder)
    await done(api, again)
    assert [layer["state"] for layer in (await api.layers_of(again)).values()] == ["DONE", "DONE"]


async def test_10_a_retry_waits_for_the_limit_that_its_flow_was_given_since(api: Api) -> None:
    flow = await gated(api, "Limited since")
    first, second = [await cancelled(api, flow) for _ in range(2)]
    await api.put(f"/api/flows/{flow}", {"execution": ONE})
    assert (await api.post(f"/api/plays/{first}/retry"))["state"] != "DEFERRED"
    assert (await api.post(f"/api/plays/{second}/retry"))["state"] == "DEFERRED"
    fresh = await api.run(flow)
    assert [await position(api, play_id) for play_id in (second, fresh["playId"])] == [1, 2]
    for play_id in (first, second, fresh["playId"]):
        await done(api, play_id)


async def test_10_a_retry_needs_no_slot_of_a_limit_that_was_lifted(api: Api) -> None:
    flow = await gated(api, "Lifted since", execution=ONE)
    again = [await cancelled(api, flow) for _ in range(2)]
    holder = await begun(api, flow)
    await api.put(f"/api/flows/{flow}", {"execution": {"maxConcurrent": 0}})
    for play_id in again:
        assert (await api.post(f"/api/plays/{play_id}/retry"))["state"] != "DEFERRED"
    await api.put(f"/api/flows/{flow}", {"execution": ONE})
    for play_id in (*again, holder):
        await done(api, play_id)
    # Nothing that they held, or seemed to hold, is left.
    await done(api, await begun(api, flow))


# ── 9: holds ────────────────────────────────────────────────────────────────────────────────────────


async def test_9_a_play_held_in_line_keeps_its_place_and_is_on_hold_when_its_turn_comes(api: Api) -> None:
    flow = await gated(api, "Held in line", execution=ONE)
    holder = await begun(api, flow)
    held, behind = [(await api.run(flow))["playId"] for _ in range(2)]
    answer = await api.post(f"/api/plays/{held}/hold", {"note": "not now"})
    assert answer == {"playId": held, "state": "DEFERRED"}
    assert (await api.get(f"/api/plays/{held}"))["hold"]["note"] == "not now"
    assert await position(api, held) == 1
    assert await api.refused("POST", f"/api/plays/{held}/hold") == (409, "CONFLICT")
    await done(api, holder)
    shown = await api.wait_for(held, "ON_HOLD")
    assert (await api.layers_of(held), shown["hold"]["note"]) == ({}, "not now")
    # It has its slot, like one that is held while it runs.
    assert await position(api, behind) == 1
    await api.post(f"/api/plays/{held}/resume")
    await done(api, held)
    await done(api, behind)


async def test_9_a_hold_that_is_lifted_in_line_is_over(api: Api) -> None:
    flow = await gated(api, "Lifted in line", execution=ONE)
    holder = await begun(api, flow)
    held = (await api.run(flow))["playId"]
    assert await api.refused("POST", f"/api/plays/{held}/resume") == (409, "CONFLICT")
    await api.post(f"/api/plays/{held}/hold")
    assert await api.post(f"/api/plays/{held}/resume") == {"playId": held, "state": "DEFERRED"}
    assert (await api.get(f"/api/plays/{held}"))["hold"] is None
    await done(api, holder)
    await done(api, held)


async def test_9_a_retry_held_in_line_is_on_hold_when_its_turn_comes(api: Api) -> None:
    flow = await gated(api, "Retried and held", execution=ONE)
    again = await cancelled(api, flow)
    holder = await begun(api, flow)
    await api.post(f"/api/plays/{again}/retry")
    assert (await api.post(f"/api/plays/{again}/hold"))["state"] == "DEFERRED"
    await done(api, holder)
    assert (await api.wait_for(again, "ON_HOLD"))["hold"] is not None
    await api.post(f"/api/plays/{again}/resume")
    await done(api, again)


# ── 8: what callers are told ────────────────────────────────────────────────────────────────────────


async def test_8_a_run_that_has_to_wait_in_line_says_so_and_has_not_started(api: Api) -> None:
    flow = await gated(api, "Told", execution=ONE)
    holder = await begun(api, flow)
    run = {"idempotencyKey": "told"}
    first = await api.post(f"/api/flows/{flow}/run", run)
    assert (first["state"], first["startedAt"]) == ("DEFERRED", None)
    assert await api.post(f"/api/flows/{flow}/run", run) == first
    assert (await api.get(f"/api/plays/{first['playId']}"))["startedAt"] is None
    await done(api, holder)
    await done(api, first["playId"])


async def test_8_a_replay_that_has_to_wait_in_line_says_so(api: Api) -> None:
    flow = await gated(api, "Replayed in line", execution=ONE)
    holder = await begun(api, flow)
    replay = await api.post(f"/api/plays/{holder}/replay", status=201)
    assert replay["state"] == "DEFERRED"
    assert await position(api, replay["playId"]) == 1
    await done(api, holder)
    await done(api, replay["playId"])


async def test_8_a_run_without_a_limit_runs(api: Api) -> None:
    flow = await gated(api, "Free")
    plays = [await api.run(flow) for _ in range(3)]
    assert {play["state"] for play in plays} == {"RUN"}
    assert all(play["startedAt"] for play in plays)
    for play in plays:
        await done(api, play["playId"])


# ── 10: the limit of a company ──────────────────────────────────────────────────────────────────────


async def test_10_two_flows_share_the_limit_of_their_company_and_others_have_their_own() -> None:
    with running_system(environ={"HEADRACE_COMPANY_PLAYS_MAX": "2"}) as system:
        async with Api.logged_in(system) as api, neighbour(system) as next_door:
            one, other = await gated(api, "One"), await gated(api, "Other", execution=ONE)
            holders = [await begun(api, one), await begun(api, other)]
            again = await cancelled_in_line(api, one)
            waiting = [(await api.run(flow))["playId"] for flow in (one, other)]
            assert (await api.post(f"/api/plays/{again}/retry"))["state"] == "DEFERRED"
            # The play of the other flow waits for a slot of that one first.
            line = [await position(api, play_id) for play_id in (*waiting, again)]
            assert line == [1, 1, 2]
            theirs = await gated(next_door, "Theirs")
            free = [await begun(next_door, theirs) for _ in range(2)]
            assert (await next_door.run(theirs, wait=60))["state"] == "DEFERRED"
            for play_id in (*holders, *waiting, again):
                await done(api, play_id)
            await done(next_door, free[0])


async def cancelled_in_line(api: Api, flow_id: str) -> str:
    """Start a play that has to wait in line, cancel it there, and return it."""
    play = await api.run(flow_id, wait=60)
    assert play["state"] == "DEFERRED"
    await api.delete(f"/api/plays/{play['playId']}")
    play_id: str = play["playId"]
    return play_id
