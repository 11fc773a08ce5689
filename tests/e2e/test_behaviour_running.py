"""What the contract (flow8) states of running flows, states and KV entries: sections 8, 9 and 13, on one system."""

import re
from datetime import datetime

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.steps import step, var

GATE = {"ref": "gate", "appId": "var", "args": {"values": {}}, "needsApproval": True}
NEVER = {"filters": [{"leftValue": 1, "operator": "eq", "rightValue": 2}]}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def fails(ref: str, on_error: str = "fail") -> Json:
    return {**var(ref, n="{{ div 1 0 }}"), "onError": on_error}


# ── 8: running ──────────────────────────────────────────────────────────────────────────────────────


async def test_8_a_run_answers_at_once_with_play_state_and_start(api: Api) -> None:
    flow = await api.create_flow("At once", step("delay", ms=60_000))
    started = await api.run(flow["id"])
    assert started.keys() == {"playId", "state", "startedAt"}
    assert started["state"] == "RUN"
    assert MOMENT.fullmatch(started["startedAt"])
    await api.delete(f"/api/plays/{started['playId']}")


@pytest.mark.parametrize("body", [None, {}, {"args": {}}, {"recordFixture": False, "other": 1}])
async def test_8_a_body_is_not_needed(api: Api, body: Json) -> None:
    flow = await api.create_flow("No body", var("a", it="{{ $prev.args }}"))
    assert (await api.post(f"/api/flows/{flow['id']}/run?wait=60", body))["out"] == {"it": {}}


@pytest.mark.parametrize(("query", "headers"), [("?wait=60", {}), ("", {"Prefer": "wait=20"})])
async def test_8_who_waits_is_answered_at_the_end(api: Api, query: str, headers: dict[str, str]) -> None:
    flow = await api.create_flow("Waited for", step("delay", ms=20))
    answer = await api.call("POST", f"/api/flows/{flow['id']}/run{query}", headers=headers)
    assert answer.json.keys() == {
        "playId", "state", "startedAt", "completedAt", "duration", "out", "error", "errorCode",
    }  # fmt: skip
    assert (answer.json["state"], answer.json["out"]) == ("DONE", {"ms": 20})
    assert answer.json["duration"] >= 20


async def test_8_who_waits_too_long_or_for_a_gate_is_answered_as_without(api: Api) -> None:
    slow = await api.create_flow("Slow", step("delay", ms=1_900))
    assert (await api.run(slow["id"], wait=0.05)).keys() == {"playId", "state", "startedAt"}
    gate = await api.create_flow("Gate", GATE)
    waiting = await api.run(gate["id"], wait=60)
    assert (waiting.keys(), waiting["state"]) == ({"playId", "state", "startedAt"}, "WAIT")
    for wait in ("61", "-1", "soon"):
        path = f"/api/flows/{gate['id']}/run?wait={wait}"
        assert await api.refused("POST", path) == (400, "VALIDATION_ERROR")


async def test_8_an_equal_key_is_the_first_play_whatever_else_is_asked(api: Api) -> None:
    flow = await api.create_flow("Keyed", var("a", n="{{ $prev.args.n }}"))
    first = await api.run(flow["id"], {"n": 1}, idempotencyKey="order 7", wait=60)
    again = await api.run(flow["id"], {"n": 2}, idempotencyKey="order 7", wait=60)
    assert (again["playId"], again["out"]) == (first["playId"], {"n": 1})
    await api.put(f"/api/flows/{flow['id']}", {"enabled": False})
    still = await api.run(flow["permanentId"], idempotencyKey="order 7")
    assert (still["playId"], still["state"], still["startedAt"]) == (
        first["playId"],
        "DONE",
        first["startedAt"],
    )
    await api.rows(f"/api/flows/{flow['id']}/plays", 1)


async def test_8_the_key_may_come_as_a_header(api: Api) -> None:
    flow = await api.create_flow("Header", var("a"))
    path = f"/api/flows/{flow['id']}/run"
    keys: tuple[tuple[Json, str], ...]
    keys = ({}, "one"), ({}, "one"), ({"idempotencyKey": "one"}, "other"), ({}, "two"), ({}, ""), ({}, "")
    answers = [await api.call("POST", path, body, headers={"Idempotency-Key": key}) for body, key in keys]
    plays = [answer.json["playId"] for answer in answers]
    assert plays[0] == plays[1] == plays[2]
    assert len(set(plays)) == 4
    long = await api.call("POST", path, headers={"Idempotency-Key": "x" * 256})
    assert (long.status, long.json["error"]) == (400, "VALIDATION_ERROR")


async def test_8_a_play_shows_what_is_known_of_it(api: Api) -> None:
    flow = await api.create_flow("Shown", step("delay", ms=30), var("b", n=1))
    ended = await api.run(flow["id"], {"n": 1}, wait=60)
    play = await api.get(f"/api/plays/{ended['playId']}")
    shown = {"flowId": flow["id"], "state": "DONE", "args": {"n": 1}, "out": {"n": 1}, "trigger": "api"}
    shown |= {"error": None, "errorCode": None, "failedAt": None, "failedRef": None, "parentPlayId": None}
    assert {name: play[name] for name in shown} == shown
    assert 30 <= play["duration"] < 20_000
    times = [play[name] for name in ("createdAt", "startedAt", "completedAt")]
    assert times == sorted(times)
    assert all(MOMENT.fullmatch(time) for time in times)
    (first, second) = await api.get(f"/api/plays/{play['id']}/layers")
    assert {"id", "ref", "state", "startedAt", "completedAt", "out"} <= first.keys()
    assert (first["ref"], second["ref"], first["layerId"]) == ("a", "b", flow["layers"][0]["id"])
    assert first["id"] != first["layerId"]


async def test_8_layers_are_those_that_were_reached_or_passed_over(api: Api) -> None:
    late = {**var("late"), "index": 2}
    flow = await api.create_flow("Reached", {**var("off"), **NEVER}, {**GATE, "index": 1}, late)
    play = await api.run(flow["id"], wait=60)

    async def seen() -> dict[str, str]:
        return {ref: layer["state"] for ref, layer in (await api.layers_of(play["playId"])).items()}

    assert await seen() == {"off": "FILTERED", "gate": "WAIT"}
    await api.delete(f"/api/plays/{play['playId']}")
    assert await seen() == {"off": "FILTERED", "gate": "FAIL", "late": "SKIP"}


async def test_8_a_failed_play_has_ended_and_failed_at_the_same_time(api: Api) -> None:
    flow = await api.create_flow("Failed", var("a"), fails("b"), var("c"))
    ended = await api.run(flow["id"], wait=60)
    play = await api.get(f"/api/plays/{ended['playId']}")
    assert (play["state"], play["failedRef"], play["errorCode"]) == ("FAIL", "b", "EXPRESSION_ERROR")
    assert play["completedAt"] == play["failedAt"] is not None
    assert play["error"] == (await api.layers_of(play["id"]))["b"]["error"]


async def test_8_a_cancel_ends_waiting_and_coming_steps_and_is_told(api: Api) -> None:
    flow = await api.create_flow("Cancelled", step("delay", ms=60_000), var("b"))
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play = (await api.run(flow["id"]))["playId"]
        await frames.until("play:waiting")
        assert await api.delete(f"/api/plays/{play}") == {"playId": play, "state": "FAIL"}
        (*_, last) = await frames.until("play:failed", play_id=play)
    assert (last["state"], last["error"]) == ("FAIL", "CANCELLED")
    layers = await api.layers_of(play)
    assert [(layer["ref"], layer["state"], layer["errorCode"]) for layer in layers.values()] == [
        ("a", "FAIL", "CANCELLED"),
        ("b", "SKIP", None),
    ]
    assert await api.refused("DELETE", f"/api/plays/{play}") == (409, "CONFLICT")


async def test_8_a_deferred_play_has_not_started(api: Api) -> None:
    flow = await api.create_flow("Limited", GATE, execution={"maxConcurrent": 1})
    first = await api.run(flow["id"], wait=60)
    second = await api.run(flow["id"], wait=60)
    shown = await api.get(f"/api/plays/{second['playId']}")
    assert (second["state"], shown["state"], shown["startedAt"]) == ("DEFERRED", "DEFERRED", None)
    for play in (second, first):
        assert (await api.delete(f"/api/plays/{play['playId']}"))["state"] == "FAIL"


async def test_8_dates_narrow_lists_by_creation_whole_days_included(api: Api) -> None:
    flow = await api.create_flow("Dated", var("a"))
    play = await api.get(f"/api/plays/{(await api.run(flow['id'], wait=60))['playId']}")
    at = play["createdAt"]
    zone = datetime.fromisoformat(at).strftime("%Y-%m-%dT%H:%M:%S%%2B00:00")
    for query, total in (
        (f"from={at[:10]}&to={at[:10]}", 1),
        (f"from={at}&to={at}", 1),
        (f"from={zone}", 1),
        ("to=2001-01-01", 0),
        ("from=2999-01-01", 0),
        ("state=DONE", 1),
        ("state=FAIL", 0),
    ):
        for path in (f"/api/flows/{flow['id']}/plays?{query}", f"/api/plays?flowId={flow['id']}&{query}"):
            assert (await api.get(path))["total"] == total, path


# ── 9: states ───────────────────────────────────────────────────────────────────────────────────────

DONE, FILTERED, SKIP = var("d"), {**var("f"), **NEVER}, fails("s", "skip")


@pytest.mark.parametrize(
    ("steps", "state", "layers"),
    [
        ([], "DONE", {}),
        ([DONE], "DONE", {"d": "DONE"}),
        ([FILTERED, {**FILTERED, "ref": "g"}], "FILTERED", {"f": "FILTERED", "g": "FILTERED"}),
        ([SKIP], "SKIP", {"s": "SKIP"}),
        ([SKIP, FILTERED], "SKIP", {"s": "SKIP", "f": "FILTERED"}),
        ([SKIP, DONE], "DONE", {"s": "SKIP", "d": "DONE"}),
        ([FILTERED, DONE], "DONE", {"f": "FILTERED", "d": "DONE"}),
        ([fails("x")], "FAIL", {"x": "FAIL"}),
        ([fails("x"), DONE], "FAIL", {"x": "FAIL", "d": "SKIP"}),
        ([DONE, fails("x")], "FAIL", {"d": "DONE", "x": "FAIL"}),
        ([fails("x", "continue"), DONE], "DONE", {"x": "FAIL", "d": "DONE"}),
        ([fails("x", "continue"), FILTERED], "DONE", {"x": "FAIL", "f": "FILTERED"}),
    ],
)
async def test_9_the_state_of_a_play_follows_from_its_steps(
    api: Api, steps: list[Json], state: str, layers: dict[str, str]
) -> None:
    flow = await api.create_flow("Mixed", *steps)
    play = await api.run(flow["id"], wait=60)
    seen = {ref: layer["state"] for ref, layer in (await api.layers_of(play["playId"])).items()}
    assert (play["state"], seen) == (state, layers)
    assert (await api.get(f"/api/plays/{play['playId']}"))["completedAt"] is not None


async def test_9_a_step_that_is_skipped_has_no_output_and_keeps_its_error(api: Api) -> None:
    flow = await api.create_flow("Skipped", SKIP, var("b", out="{{ $prev.s }}", why="{{ $prev.s.error }}"))
    play = await api.run(flow["id"], wait=60)
    layer = (await api.layers_of(play["playId"]))["s"]
    assert (layer["state"], layer["out"], layer["errorCode"]) == ("SKIP", None, "EXPRESSION_ERROR")
    assert play["out"] == {"out": None, "why": layer["error"]}


@pytest.mark.parametrize("steps", [[DONE], [FILTERED], [SKIP], [fails("x")]])
async def test_9_a_play_that_ended_does_not_change(api: Api, steps: list[Json]) -> None:
    flow = await api.create_flow("Ended", *steps)
    path = f"/api/plays/{(await api.run(flow['id'], wait=60))['playId']}"
    before = await api.get(path)
    decision = {"layerId": steps[0]["ref"], "decision": "approved"}
    for method, wish, body in (
        ("DELETE", "", None),
        ("POST", "/approve", decision),
        ("POST", "/hold", {}),
        ("POST", "/resume", {}),
    ):
        assert await api.refused(method, path + wish, body) == (409, "CONFLICT")
    assert await api.get(path) == before


# ── 13: KV entries ──────────────────────────────────────────────────────────────────────────────────

WIDE, MIDDLE, NARROW = {"a": 1, "l": [1]}, {"b": 2, "l": [2], "a": {"x": 1}}, {"c": 3, "l": [3], "a": 9}
MERGED = {"a": 9, "b": 2, "c": 3, "l": [1, 2, 3]}
READS = {
    "bare": '{{ $kv.get "k" }}',
    "dotted": "{{ $kv.k }}",
    "group": '{{ $kv.getScoped "flow_group" $prev.args.group "k" }}',
    "global": '{{ $kv.getGlobal "k" }}',
}


@pytest.mark.parametrize(
    ("settings", "written", "bare", "group"),
    [
        ({}, "gmf", NARROW, MIDDLE),
        ({}, "gm", MIDDLE, MIDDLE),
        ({}, "g", WIDE, WIDE),
        ({}, "", None, None),
        ({"kvConflict": "child"}, "gmf", NARROW, MIDDLE),
        ({"kvConflict": "parent"}, "gmf", WIDE, WIDE),
        ({"kvConflict": "parent"}, "mf", MIDDLE, MIDDLE),
        ({"kvConflict": "parent"}, "f", NARROW, None),
        ({"kvConflict": "merge"}, "gmf", MERGED, {**WIDE, **MIDDLE, "l": [1, 2]}),
        ({"kvInherit": "false"}, "gm", None, MIDDLE),
        ({"kvInherit": "false"}, "g", None, None),
        ({"kvInherit": "false", "kvConflict": "parent"}, "gmf", NARROW, MIDDLE),
        ({"kvInherit": "false", "kvConflict": "merge"}, "gmf", NARROW, MIDDLE),
    ],
)
async def test_13_scopes_are_read_from_flow_to_group_to_company(
    api: Api, settings: Json, written: str, bare: Json, group: Json
) -> None:
    gets = step("kv-get", "own", key="k"), step("kv-get", "grouped", key="k", scope="flow_group")
    seen = var("all", own="{{ $prev.own }}", grouped="{{ $prev.grouped }}", **READS)
    folder = await api.post("/api/groups", {"name": "Scopes"}, status=201)
    flow = await api.create_flow("Scopes", *gets, seen, groupId=folder["id"], **settings)
    places: dict[str, Json] = {
        "g": {"value": WIDE},
        "m": {"value": MIDDLE, "scope": "flow_group", "scopeKey": folder["id"]},
        "f": {"value": NARROW, "scope": "flow", "scopeKey": flow["id"]},
    }
    made = [(await api.call("POST", "/api/kv", {"key": "k", **places[place]})).json for place in written]
    out = (await api.run(flow["id"], {"group": folder["id"]}, wait=60))["out"]
    for entry in made:
        await api.delete(f"/api/kv/{entry['id']}")
    assert out == {
        "own": {"value": bare, "found": bare is not None},
        "grouped": {"value": group, "found": group is not None},
        "bare": bare,
        "dotted": bare,
        "group": group,
        "global": WIDE if "g" in written else None,
    }


async def test_13_an_entry_of_null_is_an_entry(api: Api) -> None:
    flow = await api.create_flow(
        "Null", step("kv-get", key="null"), var("b", it="{{ $prev.a }}", n="{{ $kv.null }}")
    )
    body = {"key": "null", "value": None, "scope": "flow", "scopeKey": flow["id"]}
    await api.post("/api/kv", body, status=201)
    assert (await api.run(flow["id"], wait=60))["out"] == {"it": {"value": None, "found": True}, "n": None}


async def test_13_a_flow_without_a_group_inherits_from_the_company(api: Api) -> None:
    await api.call("POST", "/api/kv", {"key": "smtp", "value": {"host": "mail"}})
    flow = await api.create_flow("No group", var("a", host="{{ $kv.smtp.host }}"))
    assert (await api.run(flow["id"], wait=60))["out"] == {"host": "mail"}


async def test_13_a_token_in_an_entry_makes_a_flow_run_once(api: Api) -> None:
    # The documented pattern: look first, and go on only when nothing was found.
    new = {"leftValue": "{{ $prev.seen.found }}", "operator": "eq", "rightValue": "false"}
    seen = step("kv-get", "seen", key="order {{ $prev.args.id }}")
    kept = {**step("kv-set", "kept", key="order {{ $prev.args.id }}", value="done"), "filters": [new]}
    work = {**var("work", id="{{ $prev.args.id }}"), "filters": [new]}
    flow = await api.create_flow("Once", seen, kept, work)

    async def works(order: int) -> str:
        play = await api.run(flow["id"], {"id": order}, wait=60)
        return str((await api.layers_of(play["playId"]))["work"]["state"])

    assert [await works(1), await works(1), await works(2)] == ["DONE", "FILTERED", "DONE"]


async def test_13_entries_outlive_plays_and_counters_start_from_nothing(api: Api) -> None:
    flow = await api.create_flow("Counter", step("kv-set", key="n", value="{{ add ($kv.get `n`) 1 }}"))
    assert [(await api.run(flow["id"], wait=60))["out"]["value"] for _ in range(3)] == ["1", "2", "3"]
    (entry,) = (await api.get(f"/api/kv?scope=flow&scopeKey={flow['id']}"))["data"]
    assert (entry["key"], entry["value"]) == ("n", "3")
