"""Order, retries, timeouts and failures of steps, over HTTP (spec flow8 sections 10 and 11)."""

import asyncio
import itertools

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.origin import Origin
from tests.e2e.steps import broken, note
from tests.waiting import eventually

SLOW_S = 8.0
# What the first attempt has to use up, and the second has to do with: on a busy machine, too.
TIME_FOR_BOTH_S = 6
NEVER = {"leftValue": 1, "operator": "eq", "rightValue": 2}


def pause(ref: str, ms: int, index: int = 0, **fields: Json) -> Json:
    return {"ref": ref, "appId": "delay", "index": index, "args": {"ms": ms}, **fields}


def call(origin: Origin, path: str, ref: str = "a", index: int = 0, **fields: Json) -> Json:
    args = {"method": "POST", "url": f"{origin.url}{path}"} | fields.pop("args", {})
    return {"ref": ref, "appId": "curl", "index": index, "args": args, **fields}


def when(left: str, value: Json) -> list[Json]:
    return [{"leftValue": left, "operator": "eq", "rightValue": value}]


async def ended(api: Api, *layers: Json, args: Json = None, **flow: Json) -> tuple[Json, dict[str, Json]]:
    """Run these steps as a flow; return the play at its end, and its layers by ref."""
    made = await api.create_flow("Attempts", *layers, **flow)
    play = await api.finished(made["id"], args)
    return play, await api.layers_of(play["id"])


def states(layers: dict[str, Json]) -> dict[str, str]:
    return {ref: layer["state"] for ref, layer in layers.items()}


# ── 10: order ───────────────────────────────────────────────────────────────────────────────────────


async def test_10_steps_of_one_index_run_at_once(api: Api) -> None:
    play, layers = await ended(api, *(pause(f"p{n}", 500) for n in range(5)))
    assert play["state"] == "DONE"
    assert 500 <= play["duration"] < sum(layer["duration"] for layer in layers.values()) / 2


async def test_10_an_index_group_begins_when_the_slowest_of_the_one_before_has_ended(
    api: Api, origin: Origin
) -> None:
    first = [call(origin, f"/hang/1/{n}", f"f{n}", timeout=1, onError="continue") for n in range(2)]
    play, _ = await ended(api, *first, call(origin, "/echo", "late", 5), pause("slow", 1_200))
    async with api.socket(f"?flowId={play['flowId']}&since=0") as frames:
        told = await frames.until("play:completed", play_id=play["id"])
    order = [(frame["type"], frame.get("ref")) for frame in told]
    ends = ("failed", "f0"), ("failed", "f1"), ("completed", "slow")
    last_end = max(order.index((f"play:layer:{end}", ref)) for end, ref in ends)
    assert last_end < order.index(("play:layer:started", "late"))


# ── 10: timeouts ────────────────────────────────────────────────────────────────────────────────────


async def test_10_a_timeout_is_for_one_attempt_and_is_tried_again(api: Api, origin: Origin) -> None:
    step = call(origin, "/hang/1/x", timeout=TIME_FOR_BOTH_S, retry={"count": 1})
    play, layers = await ended(api, step)
    assert (play["state"], layers["a"]["attempts"]) == ("DONE", 2)
    first, second = origin.of("/hang/1/x")
    assert second.at_s - first.at_s >= TIME_FOR_BOTH_S / 2
    assert first.key == second.key == f"{play['id']}:a"


async def test_10_a_step_out_of_time_fails_with_an_execution_timeout(api: Api, origin: Origin) -> None:
    play, layers = await ended(api, call(origin, "/hang/9/x", timeout=1))
    assert (play["state"], play["errorCode"]) == ("FAIL", "TIMEOUT")
    assert "execution timeout" in layers["a"]["error"]


async def test_10_a_timeout_of_zero_is_the_default(api: Api, origin: Origin) -> None:
    _play, layers = await ended(api, call(origin, "/echo", timeout=0), pause("b", 20, timeout=0))
    assert states(layers) == {"a": "DONE", "b": "DONE"}


async def test_10_a_pause_is_no_attempt_and_has_no_timeout(api: Api) -> None:
    play, _ = await ended(api, pause("a", 1_200, timeout=1))
    assert (play["state"], play["duration"] >= 1_200) == ("DONE", True)


async def test_10_the_timeout_of_a_flow_counts_all_its_steps(api: Api) -> None:
    steps = [pause("p0", 20), *(pause(f"p{n}", 2_000, n) for n in range(1, 5))]
    play, layers = await ended(api, *steps, execution={"timeout": 6})
    assert (play["state"], play["errorCode"]) == ("FAIL", "TIMEOUT")
    assert layers["p0"]["state"] == "DONE"
    assert layers["p4"]["state"] == "SKIP"


# ── 10: retries ─────────────────────────────────────────────────────────────────────────────────────


def waits_s(origin: Origin, path: str) -> list[float]:
    return [after.at_s - before.at_s for before, after in itertools.pairwise(origin.of(path))]


@pytest.mark.parametrize(
    ("retry", "low_s"),
    [
        ({"count": 3, "delayMs": 100, "backoffMultiplier": 2}, [0.1, 0.2, 0.4]),
        ({"count": 2, "delayMs": 150}, [0.15, 0.15]),
        ({"count": 3, "delayMs": 100, "backoffMultiplier": 90, "maxDelayMs": 200}, [0.1, 0.2, 0.2]),
        ({"count": 2, "delayMs": 300, "jitter": True}, [0.24, 0.24]),
        ({"count": 2}, [0, 0]),
    ],
)
async def test_10_waits_between_attempts_grow_as_asked(
    api: Api, origin: Origin, retry: Json, low_s: list[float]
) -> None:
    play, layers = await ended(api, call(origin, "/drop/9/x", retry=retry))
    assert (play["state"], layers["a"]["attempts"]) == ("FAIL", retry["count"] + 1)
    waited = waits_s(origin, "/drop/9/x")
    # A machine may be slow, but not by so much that an uncapped wait or one of seconds would pass.
    right = [low <= wait < low + SLOW_S for wait, low in zip(waited, low_s, strict=True)]
    assert right == [True] * len(low_s), waited


async def test_10_a_long_wait_between_attempts_parks_the_play(api: Api, origin: Origin) -> None:
    step = call(origin, "/drop/1/x", retry={"count": 1, "delayMs": 2_300})
    flow = await api.create_flow("Parked retry", step)
    started = await api.run(flow["id"])
    await api.wait_for(started["playId"], "WAIT")
    waiting = (await api.layers_of(started["playId"]))["a"]
    assert (waiting["state"], waiting["errorCode"], waiting["attempts"]) == ("WAIT", "MODULE_ERROR", 1)
    assert (await api.wait_for(started["playId"]))["state"] == "DONE"
    assert waits_s(origin, "/drop/1/x")[0] >= 2.25


async def test_10_a_retry_that_succeeds_leaves_no_error(api: Api, origin: Origin) -> None:
    play, layers = await ended(api, call(origin, "/drop/2/x", retry={"count": 5}))
    assert (play["state"], play["error"]) == ("DONE", None)
    assert (layers["a"]["state"], layers["a"]["error"], layers["a"]["attempts"]) == ("DONE", None, 3)


async def test_10_without_retry_there_is_one_attempt(api: Api, origin: Origin) -> None:
    play, layers = await ended(api, call(origin, "/drop/9/x"))
    assert (play["state"], layers["a"]["attempts"], len(origin.calls)) == ("FAIL", 1, 1)


async def test_10_what_cannot_help_is_not_tried_again(api: Api) -> None:
    retry = {"count": 3, "delayMs": 10_000}
    _play, layers = await ended(
        api,
        note("filtered", 0, filters=[NEVER], retry=retry),
        note("expression", 0, values={"n": "{{ div 1 0 }}"}, retry=retry),
        broken("final", 0, retry=retry),
    )
    assert states(layers) == {"filtered": "FILTERED", "expression": "FAIL", "final": "FAIL"}
    assert [layers[ref]["attempts"] for ref in ("expression", "final")] == [1, 1]


async def test_10_retries_are_told_as_one_start_and_one_failure(api: Api, origin: Origin) -> None:
    flow = await api.create_flow("Told once", call(origin, "/drop/9/x", retry={"count": 2}))
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"]))["playId"]
        told = await frames.until("play:failed", play_id=play_id)
    assert [frame["type"] for frame in told] == [
        "play:started",
        "play:layer:started",
        "play:layer:failed",
        "play:failed",
    ]
    assert (await api.layers_of(play_id))["a"]["attempts"] == 3


async def test_10_args_are_the_same_in_every_attempt(api: Api, origin: Origin) -> None:
    body = {"id": "{{ $rand.uuid }}", "now": "{{ $now }}"}
    step = call(origin, "/hang/1/x", args={"body": body}, timeout=TIME_FOR_BOTH_S, retry={"count": 1})
    seen = call(origin, "/echo", "b", 1, args={"body": "{{ $rand.uuid }}"})
    _, layers = await ended(api, step, seen)
    assert layers["a"]["out"]["body"]["body"] != layers["b"]["out"]["body"]["body"]


# ── 10: deferral ────────────────────────────────────────────────────────────────────────────────────


async def test_10_a_deferred_step_begins_so_much_later(api: Api) -> None:
    flow = await api.create_flow("Later", note("a", 0, deferAfterMs=2_300))
    started = await api.run(flow["id"])
    await api.wait_for(started["playId"], "WAIT")
    assert states(await api.layers_of(started["playId"])) == {"a": "DEFERRED"}
    play = await api.wait_for(started["playId"])
    assert (play["state"], play["duration"] >= 2_300) == ("DONE", True)


async def test_10_plays_of_one_flow_do_not_wait_for_each_other(api: Api) -> None:
    flow = await api.create_flow("Many", pause("a", 500))
    plays = await asyncio.gather(*(api.run(flow["id"], wait=60) for _ in range(10)))
    spans = [await api.get(f"/api/plays/{play['playId']}") for play in plays]
    assert max(span["startedAt"] for span in spans) <= min(span["completedAt"] for span in spans)


# ── 11: handlers ────────────────────────────────────────────────────────────────────────────────────


async def test_11_at_the_next_index_one_step_handles_success_and_one_failure(
    api: Api, origin: Origin
) -> None:
    good = note("good", 1, filters=when("{{ $prev.a.state }}", "DONE"))
    bad = note("bad", 1, filters=when("{{ $prev.a.state }}", "FAIL"))
    done, layers = await ended(api, call(origin, "/echo"), good, bad)
    assert (done["state"], states(layers)) == ("DONE", {"a": "DONE", "good": "DONE", "bad": "FILTERED"})
    failed, layers = await ended(api, call(origin, "/drop/9/x", retry={"count": 1}), good, bad)
    assert (failed["state"], states(layers)) == ("FAIL", {"a": "FAIL", "good": "FILTERED", "bad": "DONE"})


@pytest.mark.parametrize(
    "filters",
    [
        [{"leftValue": "{{ $prev.bad.error }}", "operator": "not_empty"}],
        [{"leftValue": "FAIL", "operator": "eq", "rightValue": "{{ $prev.bad.state }}"}],
        [{"leftValue": "{{ contains $prev.bad.error 'JSON' }}", "operator": "eq", "rightValue": True}],
    ],
)
async def test_11_a_handler_refers_to_state_or_error_on_either_side(api: Api, filters: Json) -> None:
    play, layers = await ended(api, broken(), note("h", 3, filters=filters), note("plain", 1))
    assert (play["state"], states(layers)) == ("FAIL", {"bad": "FAIL", "h": "DONE", "plain": "SKIP"})


async def test_11_a_handler_of_another_step_does_not_run(api: Api) -> None:
    handler = note("h", 1, filters=when("{{ $prev.fine.state }}", "DONE"))
    play, layers = await ended(api, note("fine", 0), broken(), handler)
    assert (play["state"], layers["h"]["state"]) == ("FAIL", "SKIP")


async def test_11_a_failed_play_says_which_step_and_why(api: Api) -> None:
    play, layers = await ended(api, note("fine", 0), broken("second", 1), broken("third", 2))
    assert (play["failedRef"], play["errorCode"]) == ("second", "MODULE_ERROR")
    assert play["error"] == layers["second"]["error"]
    assert play["failedAt"] == play["completedAt"]


async def test_11_on_error_skip_keeps_the_error_and_an_empty_output(api: Api) -> None:
    play, layers = await ended(
        api, broken(onError="skip"), note("after", 1, values={"out": "{{ $prev.bad.input }}"})
    )
    assert (play["state"], play["error"], play["out"]) == ("DONE", None, {"out": None})
    assert (layers["bad"]["state"], layers["bad"]["out"]) == ("SKIP", None)
    assert "json-parse" in layers["bad"]["error"]


async def test_11_on_error_continue_is_seen_by_later_steps(api: Api) -> None:
    after = note("after", 1, values={"state": "{{ $prev.bad.state }}", "why": "{{ $prev.bad.error }}"})
    play, layers = await ended(api, broken(onError="continue"), after)
    assert (play["state"], play["out"]) == ("DONE", {"state": "FAIL", "why": layers["bad"]["error"]})


# ── 11: error flows ─────────────────────────────────────────────────────────────────────────────────


async def plays_of(api: Api, flow_id: str) -> int:
    return int((await api.get(f"/api/flows/{flow_id}/plays"))["total"])


async def test_11_a_failure_that_does_not_matter_starts_no_error_flow(api: Api) -> None:
    handler = await api.create_flow("Not needed", note("a", 0))
    flow = {"execution": {"onFailFlowId": handler["id"]}}
    await ended(api, broken(onError="continue"), note("fine", 1), **flow)
    failed, _ = await ended(api, broken(), **flow)
    assert (await only_play(api, handler["id"]))["parentPlayId"] == failed["id"]


async def only_play(api: Api, flow_id: str) -> Json:
    async def first() -> Json:
        plays = (await api.get(f"/api/flows/{flow_id}/plays"))["data"]
        return plays[0] if plays and plays[0]["completedAt"] else None

    play = await eventually(first)
    assert await plays_of(api, flow_id) == 1
    return await api.get(f"/api/plays/{play['id']}")


async def test_11_an_error_flow_gets_the_context_of_the_failed_play(api: Api) -> None:
    seen = {"ref": "seen", "appId": "var", "args": {"values": {"all": "{{ $prev.args }}"}}}
    handler = await api.create_flow("Context", seen)
    steps = [note("fine", 0, values={"x": [1]}), note("off", 0, filters=[NEVER]), broken(index=1)]
    failed, layers = await ended(api, *steps, args={"n": 1}, execution={"onFailFlowId": handler["id"]})
    play = await only_play(api, handler["id"])
    assert play["trigger"] == "error"
    assert play["out"]["all"] == {
        "playId": failed["id"],
        "flowId": failed["flowId"],
        "flowName": "Attempts",
        "ref": "bad",
        "error": layers["bad"]["error"],
        "errorCode": "MODULE_ERROR",
        "args": {"n": 1},
        "state": "FAIL",
        "layers": {
            "fine": {"state": "DONE", "out": {"x": [1]}},
            "off": {"state": "FILTERED", "out": None},
            "bad": {"state": "FAIL", "out": None},
        },
    }


async def test_11_a_disabled_or_deleted_error_flow_is_ignored(api: Api) -> None:
    handler = await api.create_flow("Gone", note("a", 0))
    flow = await api.create_flow("Unguarded", broken(), execution={"onFailFlowId": handler["id"]})
    await api.put(f"/api/flows/{handler['id']}", {"enabled": False})
    assert (await api.finished(flow["id"]))["state"] == "FAIL"
    assert await plays_of(api, handler["id"]) == 0
    await api.delete(f"/api/flows/{handler['id']}")
    assert (await api.finished(flow["id"]))["state"] == "FAIL"


@pytest.mark.parametrize("field", ["timeout", "flow timeout"])
async def test_11_a_timeout_starts_the_error_flow(api: Api, origin: Origin, field: str) -> None:
    handler = await api.create_flow(f"After {field}", note("a", 0))
    execution = {"onFailFlowId": handler["id"]} | ({"timeout": 1} if field == "flow timeout" else {})
    timeout: dict[str, Json] = {"timeout": 1} if field == "timeout" else {}
    failed, _ = await ended(api, call(origin, "/hang/9/x", **timeout), execution=execution)
    play = await only_play(api, handler["id"])
    assert (failed["errorCode"], play["args"]["errorCode"]) == ("TIMEOUT", "TIMEOUT")
