"""What the contract (flow8) states of flows, steps, groups and filters: sections 5 and 6, on one system."""

import asyncio

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.steps import var

GATE = {"ref": "gate", "appId": "var", "args": {"values": {}}, "needsApproval": True}


async def layers_of(api: Api, *steps: Json, args: Json = None) -> dict[str, Json]:
    """Run these steps as a flow and return its layers by ref."""
    flow = await api.create_flow("Stated", *steps)
    play = await api.run(flow["id"], args, wait=60)
    return await api.layers_of(play["playId"])


# ── 5.1: flows ──────────────────────────────────────────────────────────────────────────────────────


async def test_5_1_a_flow_gives_back_what_it_was_made_with(api: Api) -> None:
    group = await api.post("/api/groups", {"name": "Money"}, status=201)
    handler = await api.create_flow("Handler")
    fields = {
        "name": "Invoice Processing",
        "enabled": False,
        "category": "finance",
        "groupId": group["id"],
        "kvInherit": "false",
        "kvConflict": "merge",
        "execution": {"timeout": 60, "maxConcurrent": 2, "onFailFlowId": handler["id"]},
    }
    made = await api.post("/api/flows", fields, status=201)
    assert {name: made[name] for name in fields} == fields
    assert (made["permanentId"], made["version"]) == ("invoice-processing", 1)
    assert len(made["id"]) == 24
    assert {"companyId", "createdAt", "updatedAt"} < set(made)
    changed = await api.put(f"/api/flows/{made['id']}", {"enabled": True})
    assert {name: changed[name] for name in fields} == {**fields, "enabled": True}


async def test_5_1_settings_of_kv_have_defaults_and_are_strings(api: Api) -> None:
    flow = await api.create_flow("Settings")
    assert (flow["kvInherit"], flow["kvConflict"]) == ("true", "child")
    path = f"/api/flows/{flow['id']}"
    assert (await api.put(path, {"kvInherit": False}))["kvInherit"] == "false"
    for body in ({"kvInherit": "no"}, {"kvConflict": "oldest"}):
        assert await api.refused("PUT", path, body) == (400, "VALIDATION_ERROR")


async def test_5_1_fields_nobody_knows_and_fields_of_the_system_change_nothing(api: Api) -> None:
    body = {"name": "Odd", "colour": "red", "version": 9, "permanentId": "mine", "execution": {"queue": 1}}
    flow = await api.post("/api/flows", body, status=201)
    assert (flow["version"], flow["permanentId"], flow["execution"]) == (1, "odd", {})
    assert "colour" not in flow
    changed = await api.put(f"/api/flows/{flow['id']}", {"permanentId": "other", "version": 1})
    assert (changed["permanentId"], changed["version"]) == ("odd", 2)


async def test_5_1_a_permanent_id_stands_for_its_flow_everywhere(api: Api) -> None:
    flow = await api.create_flow("Known Outside", GATE)
    name = flow["permanentId"]
    await api.put(f"/api/flows/{name}", {"name": "Renamed"})
    play = await api.run(name, wait=60)
    assert (await api.get(f"/api/flows/{name}/layers"))[0]["ref"] == "gate"
    for path in (f"/api/flows/{name}/plays", f"/api/plays?flowId={name}"):
        assert [row["id"] for row in await api.rows(path, 1)] == [play["playId"]]
    schedule = await api.post("/api/schedules", {"flowId": name, "name": "s", "cron": "@daily"}, status=201)
    channel = await api.post("/api/channels", {"name": "c", "kind": "mcp", "enabled": False}, status=201)
    route = {"name": "r", "toolName": "known_outside", "targetFlowIds": [name]}
    route = await api.post(f"/api/channels/{channel['id']}/routes", route, status=201)
    body = {"key": "k", "value": 1, "scope": "flow", "scopeKey": name}
    entry = await api.post("/api/kv", body, status=201)
    assert (schedule["flowId"], *route["targetFlowIds"], entry["scopeKey"]) == (flow["id"],) * 3
    async with api.socket(f"?flowId={name}") as frames:
        await api.post(f"/api/plays/{play['playId']}/approve", {"layerId": "gate", "decision": "approved"})
        await frames.until("play:completed", play_id=play["playId"])


async def test_5_1_changes_to_steps_are_updates_of_the_flow(api: Api) -> None:
    flow = await api.create_flow("Counted")
    path = f"/api/flows/{flow['id']}"
    layer = await api.add_layer(flow["id"], **var("a"))
    await api.put(f"{path}/layers/{layer['id']}", {"timeout": 5})
    await api.delete(f"{path}/layers/{layer['id']}")
    after = await api.get(path)
    assert (after["version"], after["createdAt"]) == (4, flow["createdAt"])
    assert after["updatedAt"] >= flow["updatedAt"]


async def test_5_1_a_play_goes_on_with_the_flow_as_it_started(api: Api) -> None:
    flow = await api.create_flow("Snapshot", GATE, var("after", n=1))
    path = f"/api/flows/{flow['id']}"
    play = await api.run(flow["id"], wait=60)
    await api.put(f"{path}/layers/{flow['layers'][1]['id']}", {"args": {"values": {"n": 2}}})
    await api.add_layer(flow["id"], **var("more", n=3))
    await api.post(f"/api/plays/{play['playId']}/approve", {"layerId": "gate", "decision": "approved"})
    ended = await api.wait_for(play["playId"])
    assert (ended["out"], ended["flowVersion"]) == ({"n": 1}, flow["version"])
    assert set(await api.layers_of(play["playId"])) == {"gate", "after"}
    again = await api.run(flow["id"], wait=60)
    assert (await api.get(f"/api/plays/{again['playId']}"))["flowVersion"] == flow["version"] + 2


async def test_5_1_a_deleted_flow_stays_the_flow_of_a_play_that_waits(api: Api) -> None:
    flow = await api.create_flow("Deleted While Waiting", GATE)
    play = await api.run(flow["id"], wait=60)
    await api.delete(f"/api/flows/{flow['id']}")
    await api.post(f"/api/plays/{play['playId']}/approve", {"layerId": "gate", "decision": "approved"})
    assert (await api.wait_for(play["playId"]))["state"] == "DONE"


async def test_5_1_lists_begin_with_the_oldest(api: Api) -> None:
    made = [(await api.create_flow(f"Ordered {n}", category="ordered"))["id"] for n in range(5)]
    for n in (3, 1):
        await api.put(f"/api/flows/{made[n]}", {"name": "changed"})
    pages = [await api.get(f"/api/flows?category=ordered&size=2&page={n}") for n in range(3)]
    assert [flow["id"] for page in pages for flow in page["data"]] == made


async def test_5_1_flows_of_one_name_made_at_once_have_different_permanent_ids(api: Api) -> None:
    made = await asyncio.gather(*(api.post("/api/flows", {"name": "Twins"}, status=201) for _ in range(6)))
    assert {flow["permanentId"] for flow in made} == {"twins", *(f"twins-{n}" for n in range(2, 7))}


# ── 5.2: steps ──────────────────────────────────────────────────────────────────────────────────────

FULL = {
    "name": "All there is",
    "ref": "full",
    "appId": "var",
    "index": 3,
    "args": {"values": {"x": "{{ $prev.args.x }}"}},
    "timeout": 7,
    "retry": {"count": 2, "delayMs": 5, "backoffMultiplier": 1.5, "jitter": True, "maxDelayMs": 100},
    "filters": [{"leftValue": 1, "operator": "eq", "rightValue": "1", "cast": "number", "mode": "or"}],
    "needsApproval": True,
    "componentConfigIds": {"ai": "local"},
    "linkIdsByType": {"slack": "team"},
    "moduleVersion": 1,
    "onError": "continue",
    "deferAfterMs": 10,
}


async def test_5_2_a_step_gives_back_what_it_was_made_with(api: Api) -> None:
    flow = await api.create_flow("Full")
    made = await api.add_layer(flow["id"], **FULL)
    assert {name: made[name] for name in FULL} == FULL
    assert made["flowId"] == flow["id"]
    path = f"/api/flows/{flow['id']}/layers/{made['id']}"
    changed = await api.put(path, {"args": {"values": {"y": 1}}, "retry": {"count": 1}})
    kept = {name: FULL[name] for name in FULL.keys() - {"args", "retry"}}
    assert {name: changed[name] for name in kept} == kept
    # What is sent replaces what was there, whole.
    assert changed["args"] == {"values": {"y": 1}}
    assert changed["retry"] == {
        "count": 1, "delayMs": 0, "backoffMultiplier": 1.0, "jitter": False, "maxDelayMs": None,
    }  # fmt: skip


async def test_5_2_a_step_has_defaults(api: Api) -> None:
    flow = await api.create_flow("Defaults")
    made = await api.add_layer(flow["id"], name="Only", appId="var")
    defaults = {"ref": "only", "index": 0, "args": {}, "filters": [], "needsApproval": False, "retry": None}
    assert {name: made[name] for name in defaults} == defaults
    assert (made["onError"], made["deferAfterMs"], made["moduleVersion"]) == ("fail", 0, 1)


async def test_5_2_a_ref_is_made_of_the_name_when_none_is_given(api: Api) -> None:
    flow = await api.create_flow("Refs")
    names = ("Fetch the mail", "Fetch the mail", "Größe prüfen", "1st", "args", "input", "!")
    made = [(await api.add_layer(flow["id"], name=name, appId="var"))["ref"] for name in names]
    assert made == [
        "fetchTheMail", "fetchTheMail2", "grossePrufen", "step1st", "args2", "input2", "step",
    ]  # fmt: skip


@pytest.mark.parametrize("ref", ["args", "input", "taken", "1st", "with-hyphen", "ä b", "a.b"])
async def test_5_2_a_ref_that_cannot_be_one_is_refused(api: Api, ref: str) -> None:
    flow = await api.create_flow("Bad refs", var("taken"))
    answer = await api.call("POST", f"/api/flows/{flow['id']}/layers", {**var(ref), "name": "x"})
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert answer.json["message"].startswith("ref")


async def test_5_2_an_update_cannot_take_anothers_ref(api: Api) -> None:
    flow = await api.create_flow("Taken refs", var("a"), var("b"))
    path = f"/api/flows/{flow['id']}/layers/{flow['layers'][1]['id']}"
    assert await api.refused("PUT", path, {"ref": "a"}) == (400, "VALIDATION_ERROR")
    assert (await api.put(path, {"ref": "b", "name": "same"}))["ref"] == "b"


async def test_5_2_steps_lie_by_index_and_then_as_they_were_made(api: Api) -> None:
    flow = await api.create_flow("Gaps")
    for ref, index in (("late", 40), ("first", 0), ("second", 0), ("middle", 7)):
        await api.add_layer(flow["id"], **var(ref), index=index)
    last = await api.add_layer(flow["id"], **var("last"))
    assert last["index"] == 41
    layers = await api.get(f"/api/flows/{flow['id']}/layers")
    assert [layer["ref"] for layer in layers] == ["first", "second", "middle", "late", "last"]
    assert (await api.get(f"/api/flows/{flow['id']}"))["layers"] == layers
    play = await api.run(flow["id"], wait=60)
    shown = await api.get(f"/api/plays/{play['playId']}/layers")
    assert [layer["ref"] for layer in shown] == ["first", "second", "middle", "late", "last"]


async def test_5_2_a_step_can_be_started_later_than_it_could(api: Api) -> None:
    flow = await api.create_flow("Deferred step", {**var("a", n=1), "deferAfterMs": 120})
    play = await api.run(flow["id"], wait=60)
    assert (await api.wait_for(play["playId"]))["duration"] >= 120


async def test_5_2_a_module_nobody_has_is_refused_and_the_nearest_named(api: Api) -> None:
    flow = await api.create_flow("Unknown module")
    answer = await api.call("POST", f"/api/flows/{flow['id']}/layers", {"name": "x", "appId": "templat"})
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert answer.json["message"].startswith("appId")


# ── 5.3: groups ─────────────────────────────────────────────────────────────────────────────────────


async def test_5_3_groups_may_share_a_name_and_change_in_part(api: Api) -> None:
    first, second = [await api.post("/api/groups", {"name": "Same"}, status=201) for _ in range(2)]
    changed = await api.put(f"/api/groups/{second['id']}", {"name": "Other"})
    assert (changed["name"], changed["index"]) == ("Other", second["index"])
    assert (await api.get(f"/api/groups/{first['id']}"))["name"] == "Same"


# ── 6: filters ──────────────────────────────────────────────────────────────────────────────────────

# What the filters below compare, left and right; a column of the table each.
PAIRS: list[tuple[Json, Json]] = [
    (5, "5"), (5, "10"), (5, "5.0"), ("abc", "b"), (None, ""), (None, 0), (True, "true"), (True, "yes"),
    ([1, "b"], "1"), ({"k": 1}, "k"), ([], ""), ("x", "(x|y)$"),
]  # fmt: skip
# Which of them pass (1) without a cast, as strings, as numbers and as booleans.
PASSES = {
    "eq": ("1...1.1.....", "1...1.1.....", "1.1.........", "....111....."),
    "neq": (".111.1.11111", ".111.1.11111", ".1..........", "............"),
    "gt": ("........1111", ".1......1111", "............", "............"),
    "gte": ("1.1.1.1.1111", "11..1.1.1111", "1.1.........", "....111....."),
    "lt": (".1.1.1.1....", "..11.1.1....", ".1..........", "............"),
    "lte": ("11111111....", "1.111111....", "111.........", "....111....."),
    "contains": ("1..1..1.11..", "1..11.1.11..", "1.1.....1...", "....111.1..."),
    "not_contains": (".11.11.1..11", ".11..1.1..11", ".1..........", "..........1."),
    "is_empty": ("....11....1.", "....11....1.", "....11....1.", "....11....1."),
    "not_empty": ("1111..1111.1", "1111..1111.1", "1111..1111.1", "1111..1111.1"),
    "regex": ("1..11.1.1111", "1..11.1.1111", "1..11.1.1111", "1..11.1.1111"),
}
CASTS = (None, "string", "number", "boolean")


def compared(operator: str, cast: str | None, columns: list[int], **more: Json) -> list[Json]:
    """A filter for each column; each side is an expression every other time."""
    filters = []
    for n in columns:
        sides = {"leftValue": PAIRS[n][0], "rightValue": PAIRS[n][1]}
        named = {side: f"{{{{ $prev.args.{side}[{n}] }}}}" for side in sides}
        shown = {**sides, **({} if n % 4 == 0 else {"leftValue": named["leftValue"]})}
        shown |= {} if n % 2 else {"rightValue": named["rightValue"]}
        filters.append({**shown, "operator": operator, **({"cast": cast} if cast else {}), **more})
    return filters


@pytest.mark.parametrize("operator", PASSES)
async def test_6_every_operator_with_every_cast(api: Api, operator: str) -> None:
    # All that must pass are `and` filters of one step, all that must not are `or` filters of another.
    steps = []
    for cast, row in zip(CASTS, PASSES[operator], strict=True):
        passing, failing = ([n for n, cell in enumerate(row) if cell == wanted] for wanted in "1.")
        steps.append({**var(f"pass_{cast}"), "filters": compared(operator, cast, passing)})
        if failing:
            steps.append({**var(f"fail_{cast}"), "filters": compared(operator, cast, failing, mode="or")})
    sides = {"leftValue": [left for left, _ in PAIRS], "rightValue": [right for _, right in PAIRS]}
    layers = await layers_of(api, *steps, args=sides)
    wanted = {step["ref"]: "DONE" if step["ref"].startswith("pass") else "FILTERED" for step in steps}
    assert {ref: layer["state"] for ref, layer in layers.items()} == wanted


def when(*passes: bool, mode: str = "") -> list[Json]:
    fields = {"mode": mode} if mode else {}
    return [{"leftValue": one, "operator": "eq", "rightValue": "true", **fields} for one in passes]


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([], True),
        (when(True, True), True),
        (when(True, False), False),
        (when(False, True, mode="or"), True),
        (when(False, False, mode="or"), False),
        ([*when(True), *when(False, True, mode="or")], True),
        ([*when(True), *when(False, False, mode="or")], False),
        ([*when(False, mode="and"), *when(True, mode="or")], False),
    ],
)
async def test_6_all_of_the_and_filters_and_one_of_the_or_filters(
    api: Api, filters: Json, passes: bool
) -> None:
    layers = await layers_of(api, {**var("a"), "filters": filters})
    assert layers["a"]["state"] == ("DONE" if passes else "FILTERED")


async def test_6_a_filtered_step_runs_nothing_and_evaluates_no_args(api: Api) -> None:
    broken = {**var("a", n="{{ div 1 0 }}"), "filters": when(False), "retry": {"count": 2}}
    layers = await layers_of(api, broken, var("b", n="{{ $prev.a.n }}", state="{{ $prev.a.state }}"))
    assert (layers["a"]["state"], layers["a"]["out"], layers["a"]["error"]) == ("FILTERED", None, None)
    assert layers["b"]["out"] == {"n": None, "state": "FILTERED"}


@pytest.mark.parametrize(
    ("side", "error"),
    [
        ({"leftValue": "{{ div 1 0 }}", "operator": "eq", "rightValue": 1}, "division by zero"),
        ({"leftValue": 1, "operator": "eq", "rightValue": "{{ add 1 `x` }}"}, "add needs numbers"),
        ({"leftValue": "a", "operator": "regex", "rightValue": "(a"}, "not a valid regular expression"),
        ({"leftValue": "a", "operator": "regex", "rightValue": "(?=a)"}, "not a valid regular expression"),
        ({"leftValue": "a", "operator": "regex", "rightValue": "{{ $prev.args.p }}"}, "at most 4096"),
    ],
)
async def test_6_a_filter_that_cannot_be_answered_fails_its_step_once(
    api: Api, side: Json, error: str
) -> None:
    step = {**var("a"), "filters": [side], "retry": {"count": 3}}
    layer = (await layers_of(api, step, args={"p": "x" * 5_000}))["a"]
    assert (layer["state"], layer["errorCode"]) == ("FAIL", "EXPRESSION_ERROR")
    assert error in layer["error"]
    assert "filters[0]" in layer["error"]


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ([{"leftValue": 1, "operator": "equals", "rightValue": 1}], "filters[0].operator"),
        ([{"leftValue": 1, "rightValue": 1}], "filters[0].operator"),
        ([*when(True), {"leftValue": 1, "operator": "eq", "cast": "int"}], "filters[1].cast"),
        ([{"leftValue": 1, "operator": "eq", "mode": "xor"}], "filters[0].mode"),
        ([{"leftValue": "{{ nothing 1 }}", "operator": "eq"}], "filters[0].leftValue"),
        (["eq"], "filters"),
        (when(*[True] * 101), "filters"),
    ],
)
async def test_6_a_filter_that_is_none_is_refused_by_name(api: Api, filters: Json, field: str) -> None:
    flow = await api.create_flow("No filter")
    step = {**var("a"), "name": "a", "filters": filters}
    answer = await api.call("POST", f"/api/flows/{flow['id']}/layers", step)
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert field in answer.json["message"]
