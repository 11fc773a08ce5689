"""Approvals, and the events that sockets hear of plays, over HTTP (spec flow8 sections 12 and 16)."""

import asyncio

import aiohttp
import pytest

from tests.e2e.api import Api, Json
from tests.e2e.steps import broken, note
from tests.fixtures.system import RunningSystem

NEVER = {"leftValue": 1, "operator": "eq", "rightValue": 2}


def gate(ref: str = "gate", index: int = 0, **fields: Json) -> Json:
    return note(ref, index, needsApproval=True, **fields)


async def parked(api: Api, *layers: Json, **flow: Json) -> str:
    """Run these steps and return the play once it waits."""
    made = await api.create_flow("Gates", *layers, **flow)
    play_id: str = (await api.run(made["id"]))["playId"]
    await api.wait_for(play_id, "WAIT")
    return play_id


async def decide(api: Api, play_id: str, layer: str, decision: str = "approved", **fields: Json) -> Json:
    body = {"layerId": layer, "decision": decision, **fields}
    return await api.post(f"/api/plays/{play_id}/approve", body)


async def states(api: Api, play_id: str) -> dict[str, str]:
    return {ref: layer["state"] for ref, layer in (await api.layers_of(play_id)).items()}


# ── 12: gates ───────────────────────────────────────────────────────────────────────────────────────


async def test_12_the_gate_is_before_the_args_are_evaluated(api: Api) -> None:
    await api.post("/api/kv", {"key": "gated", "value": "before"}, status=201)
    play_id = await parked(
        api, gate(values={"read": "{{ $kv.gated }}"}), gate("wrong", values={"n": "{{ div 1 0 }}"})
    )
    await api.post("/api/kv", {"key": "gated", "value": "after"})
    await decide(api, play_id, "gate")
    await decide(api, play_id, "wrong")
    await api.wait_for(play_id)
    layers = await api.layers_of(play_id)
    assert layers["gate"]["out"] == {"read": "after"}
    assert layers["wrong"]["errorCode"] == "EXPRESSION_ERROR"


async def test_12_a_declined_gate_fails_its_step_with_the_note_and_is_not_tried_again(api: Api) -> None:
    play_id = await parked(api, gate(retry={"count": 3}), note("after", 1))
    await decide(api, play_id, "gate", "declined", note="too expensive")
    play = await api.wait_for(play_id)
    layer = (await api.layers_of(play_id))["gate"]
    assert (play["state"], play["errorCode"], play["failedRef"]) == ("FAIL", "APPROVAL_DECLINED", "gate")
    assert (layer["state"], layer["error"]) == ("FAIL", "approval declined: too expensive")
    assert (await states(api, play_id))["after"] == "SKIP"


async def test_12_a_handler_sees_that_a_gate_was_declined(api: Api) -> None:
    failed = [{"leftValue": "{{ $prev.gate.state }}", "operator": "eq", "rightValue": "FAIL"}]
    handler = note("handler", 1, filters=failed, values={"d": "{{ $prev.gate.approval.decision }}"})
    play_id = await parked(api, gate(), handler)
    await decide(api, play_id, "gate", "declined")
    assert (await api.wait_for(play_id))["state"] == "FAIL"
    assert (await api.layers_of(play_id))["handler"]["out"] == {"d": "declined"}


@pytest.mark.parametrize(("on_error", "state"), [("continue", "FAIL"), ("skip", "SKIP")])
async def test_12_a_declined_gate_may_not_matter(api: Api, on_error: str, state: str) -> None:
    play_id = await parked(api, gate(onError=on_error), note("after", 1))
    await decide(api, play_id, "gate", "declined")
    assert (await api.wait_for(play_id))["state"] == "DONE"
    assert await states(api, play_id) == {"gate": state, "after": "DONE"}


async def test_12_siblings_run_and_each_gate_is_decided_by_itself(api: Api) -> None:
    pause = {"ref": "slow", "appId": "delay", "index": 0, "args": {"ms": 400}}
    flow = await api.create_flow("Siblings", gate("one"), gate("two"), pause, note("after", 1))
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"]))["playId"]
        told = await frames.until("play:waiting", play_id=play_id)
        # It waits only when nothing runs any more, and says for whom.
        assert await states(api, play_id) == {"one": "WAIT", "two": "WAIT", "slow": "DONE"}
        assert (told[-1]["ref"], told[-1]["state"]) in {("one", "WAIT"), ("two", "WAIT")}
        assert told[-1]["layerId"] in {layer["id"] for layer in flow["layers"]}
        assert (await decide(api, play_id, "one"))["state"] in {"WAIT", "RUN"}
        again = await frames.until("play:waiting", play_id=play_id)
        assert again[-1]["ref"] == "two"
        assert (await api.get(f"/api/plays/{play_id}"))["state"] == "WAIT"
        await decide(api, play_id, "two")
        rest = await frames.until("play:completed", play_id=play_id)
    waits = [frame for frame in [*told, *again, *rest] if frame["type"] == "play:waiting"]
    assert len(waits) == 2
    assert (await api.wait_for(play_id))["state"] == "DONE"


async def test_12_a_decision_is_shown_with_who_and_when_and_read_by_later_steps(api: Api) -> None:
    seen = note(
        "seen", 1, values={"it": "{{ $prev.gate.approval }}", "d": "{{ $prev.gate.approval.decision }}"}
    )
    play_id = await parked(api, gate(), seen)
    answer = await decide(api, play_id, "gate", note="fine")
    assert answer.keys() >= {"playId", "layerId", "decision", "state"}
    play = await api.wait_for(play_id)
    shown = (await api.layers_of(play_id))["gate"]["approval"]
    me = await api.get("/api/auth/me")
    assert (shown["decision"], shown["note"]) == ("approved", "fine")
    assert me["id"] in str(shown["by"])
    assert shown["at"] >= play["startedAt"]
    assert play["out"]["d"] == "approved"
    assert play["out"]["it"]["decision"] == "approved"
    await api.rows(f"/api/audit?action=play.approve&entityId={play_id}", 1)


async def test_12_a_note_is_optional_and_no_timeout_decides(api: Api) -> None:
    play_id = await parked(api, gate(timeout=1))
    pause = await api.create_flow("Meanwhile", {"ref": "a", "appId": "delay", "args": {"ms": 1_500}})
    await api.run(pause["id"], wait=60)
    assert (await api.get(f"/api/plays/{play_id}"))["state"] == "WAIT"
    await decide(api, play_id, "gate")
    assert (await api.wait_for(play_id))["state"] == "DONE"


async def test_12_whoever_may_run_flows_may_decide_and_who_only_reads_may_not(
    api: Api, shared_system: RunningSystem
) -> None:
    play_id = await parked(api, gate())
    for role, status in (("viewer", 403), ("operator", 200)):
        email = f"{role}@gates.example"
        user = {"email": email, "name": role, "role": role, "password": shared_system.password}
        await api.post("/api/users", user, status=201)
        async with Api(shared_system.base_url) as other:
            await other.login(email, shared_system.password)
            decision = {"layerId": "gate", "decision": "approved"}
            answer = await other.call("POST", f"/api/plays/{play_id}/approve", decision)
        assert answer.status == status, (role, answer)
    assert (await api.wait_for(play_id))["state"] == "DONE"


async def test_12_a_gate_is_named_by_flowlet_or_by_its_record(api: Api) -> None:
    flow = await api.create_flow("Names of gates", gate("one"), gate("two", 1), gate("three", 2))
    play_id = (await api.run(flow["id"]))["playId"]
    for place, ref in enumerate(("one", "two", "three")):
        await api.wait_for(play_id, "WAIT")
        record = (await api.layers_of(play_id))[ref]
        given = (flow["layers"][place]["id"], record["id"], ref)[place]
        answer = await decide(api, play_id, given)
        assert answer["layerId"] == flow["layers"][place]["id"]
        await api.wait_for(play_id, *(("DONE",) if ref == "three" else ("WAIT",)))


# ── 16: what frames say ─────────────────────────────────────────────────────────────────────────────

ALWAYS = {"type", "playId", "flowId", "state", "timestamp", "sequence"}
OF_LAYERS = ALWAYS | {"layerId", "playLayerId", "ref"}


async def told(
    api: Api, *layers: Json, last: str = "play:completed", **flow: Json
) -> tuple[Json, list[Json]]:
    """Run these steps and return the flow and its frames, up to one of this type."""
    made = await api.create_flow("Told", *layers, **flow)
    async with api.socket(f"?flowId={made['id']}") as frames:
        play_id = (await api.run(made["id"]))["playId"]
        return made, await frames.until(last, play_id=play_id)


async def test_16_frames_of_a_play_that_is_done(api: Api) -> None:
    flow, frames = await told(api, note("a"))
    started, begun, done, completed = frames
    assert [frame["type"] for frame in frames] == [
        "play:started",
        "play:layer:started",
        "play:layer:completed",
        "play:completed",
    ]
    assert started.keys() == ALWAYS
    assert begun.keys() == OF_LAYERS
    assert done.keys() >= OF_LAYERS | {"out"}
    assert completed.keys() >= ALWAYS | {"out", "duration"}
    assert (done["state"], done["out"], completed["out"]) == ("DONE", {"n": 1}, {"n": 1})
    layer = (await api.layers_of(started["playId"]))["a"]
    assert (done["layerId"], done["playLayerId"]) == (flow["layers"][0]["id"], layer["id"])
    assert {frame["flowId"] for frame in frames} == {flow["id"]}
    assert all(frame["timestamp"].endswith("Z") for frame in frames)
    assert isinstance(completed["duration"], int)


async def test_16_frames_of_a_play_that_failed(api: Api) -> None:
    flow, frames = await told(api, broken(), last="play:failed")
    of_layer, of_play = frames[-2:]
    assert [frame["type"] for frame in frames][1:] == [
        "play:layer:started",
        "play:layer:failed",
        "play:failed",
    ]
    assert of_layer.keys() >= OF_LAYERS | {"error", "errorCode"}
    assert of_play.keys() >= ALWAYS | {"ref", "layerId", "error", "errorCode", "duration"}
    assert (of_play["state"], of_play["ref"], of_play["layerId"]) == ("FAIL", "bad", flow["layers"][0]["id"])
    assert of_play["error"] == of_layer["error"]


async def test_16_a_filtered_step_is_only_completed_and_a_skipped_one_started_too(api: Api) -> None:
    _, frames = await told(api, note("a", filters=[NEVER]), broken("b", 1, onError="skip"))
    steps = [
        (frame["type"].rpartition(":")[2], frame["ref"], frame["state"]) for frame in frames if "ref" in frame
    ]
    assert steps == [("completed", "a", "FILTERED"), ("started", "b", "RUN"), ("completed", "b", "SKIP")]
    assert frames[-1]["state"] == "SKIP"


async def test_16_a_play_that_was_filtered_is_completed_with_that_state(api: Api) -> None:
    _, frames = await told(api, note("a", filters=[NEVER]))
    assert (frames[-1]["type"], frames[-1]["state"]) == ("play:completed", "FILTERED")


async def test_16_a_cancelled_play_is_told_as_failed(api: Api) -> None:
    flow = await api.create_flow("Cancelled", gate())
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"]))["playId"]
        await frames.until("play:waiting")
        await api.delete(f"/api/plays/{play_id}")
        failed = (await frames.until("play:failed"))[-1]
    assert (failed["error"], failed["state"]) == ("CANCELLED", "FAIL")


async def test_16_frames_follow_what_is_stored_and_keep_their_order(api: Api) -> None:
    flow = await api.create_flow("Stored", *(note(f"s{n}", n) for n in range(6)))
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"]))["playId"]
        seen = await frames.until("play:completed")
        assert (await api.get(f"/api/plays/{play_id}"))["state"] == "DONE"
    assert [frame["ref"] for frame in seen if frame["type"] == "play:layer:completed"] == [
        f"s{n}" for n in range(6)
    ]
    sequences = [frame["sequence"] for frame in seen]
    assert sequences == sorted(set(sequences))


async def test_16_a_key_opens_the_socket_and_a_wrong_one_is_401(api: Api) -> None:
    key = await api.post("/api/auth/api-keys", {"name": "socket", "scopes": ["standard"]}, status=201)
    flow = await api.create_flow("By key", note("a"))
    async with aiohttp.ClientSession(api.base_url) as stranger:
        async with stranger.ws_connect(f"/api/ws?token={key['token']}") as socket:
            # What a client says is ignored.
            await socket.send_str("subscribe everything")
            play_id = (await api.run(flow["id"]))["playId"]
            async with asyncio.timeout(60):
                while (frame := await socket.receive_json())["playId"] != play_id:
                    pass
            assert frame["type"] == "play:started"
        for query in ("", "?token=wrong"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await stranger.ws_connect(f"/api/ws{query}")
            assert refused.value.status == 401
