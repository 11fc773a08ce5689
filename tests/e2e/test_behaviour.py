"""What the contract (flow8) states of steps and plays: a test a statement, named by its section, on one system."""

import asyncio
from datetime import datetime

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.e2e.api import Api, Json


def var(ref: str, index: Json = None, **values: Json) -> Json:
    return {"ref": ref, "appId": "var", "args": {"values": values}} | (
        {} if index is None else {"index": index}
    )


def fails(ref: str, **fields: Json) -> Json:
    """A step whose module fails with a sentence, and may be tried again."""
    return {
        "ref": ref,
        "appId": "curl",
        "args": {"url": "http://127.0.0.1:9/"},
        "onError": "fail",
    } | fields


def when(left: Json, operator: str, right: Json, **more: Json) -> Json:
    return {"leftValue": left, "operator": operator, "rightValue": right} | more


async def ended(api: Api, *steps: Json, args: Json = None, **flow: Json) -> tuple[Json, dict[str, Json]]:
    """Run these steps as a flow; return the play and its layers by ref."""
    made = await api.create_flow("Behaviour", *steps, **flow)
    play = await api.run(made["id"], args, wait=60)
    return play, await api.layers_of(play["playId"])


async def states(api: Api, *steps: Json, args: Json = None, **flow: Json) -> tuple[str, dict[str, str]]:
    play, layers = await ended(api, *steps, args=args, **flow)
    return play["state"], {ref: layer["state"] for ref, layer in layers.items()}


async def valued(api: Api, expression: Json, args: Json = None) -> Json:
    """Return what an expression is worth as a step's arg."""
    play, _ = await ended(api, var("a", it=expression), args=args)
    assert play["state"] == "DONE", play
    return play["out"]["it"]


# ── 6: filters ──────────────────────────────────────────────────────────────────────────────────────

GIVEN = {"n": 5, "text": "Hello", "flag": False, "list": [1, "b"], "map": {"k": 1}, "none": None, "empty": []}


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ([when("{{ $prev.args.flag }}", "eq", "false")], True),
        ([when("{{ $prev.args.n }}", "eq", "5")], True),
        ([when("{{ $prev.args.n }}", "neq", 5)], False),
        ([when("{{ $prev.args.n }}", "gt", "10")], False),
        ([when("{{ $prev.args.n }}", "gte", 5)], True),
        ([when("{{ $prev.args.n }}", "lt", 10)], True),
        ([when("{{ $prev.args.n }}", "lte", 4)], False),
        ([when("{{ $prev.args.n }}", "gt", "10", cast="string")], True),
        ([when("{{ $prev.args.text }}", "eq", 1, cast="number")], False),
        ([when("{{ $prev.args.n }}", "eq", "true", cast="boolean")], False),
        ([when("{{ $prev.args.text }}", "contains", "ell")], True),
        ([when("{{ $prev.args.list }}", "contains", "b")], True),
        ([when("{{ $prev.args.map }}", "contains", "k")], True),
        ([when("{{ $prev.args.text }}", "not_contains", "ell")], False),
        ([when("{{ $prev.args.none }}", "is_empty", "")], True),
        ([when("{{ $prev.args.empty }}", "is_empty", None)], True),
        ([when("{{ $prev.nobody.field }}", "not_empty", "")], False),
        ([when("{{ $prev.args.text }}", "regex", "^H.*o$")], True),
        ([when(5, "eq", "{{ $prev.args.n }}")], True),
        ([when(1, "eq", 1), when(1, "eq", 2)], False),
        ([when(1, "eq", 2, mode="or"), when(1, "eq", 1, mode="or")], True),
        ([when(1, "eq", 1), when(1, "eq", 2, mode="or")], False),
        ([when(1, "eq", 1), when(1, "eq", 2, mode="or"), when(2, "eq", 2, mode="or")], True),
        ([], True),
    ],
)
async def test_6_a_step_runs_when_its_filters_pass(api: Api, filters: Json, passes: bool) -> None:
    state, layers = await states(api, {**var("a", n=1), "filters": filters}, args=GIVEN)
    assert (state, layers["a"]) == (("DONE", "DONE") if passes else ("FILTERED", "FILTERED"))


async def test_6_a_pattern_that_is_none_fails_the_step(api: Api) -> None:
    play, _ = await ended(api, {**var("a"), "filters": [when("a", "regex", "(")]})
    assert (play["state"], play["errorCode"]) == ("FAIL", "EXPRESSION_ERROR")


async def test_6_a_filtered_step_reads_as_its_state_and_nothing_else(api: Api) -> None:
    step = {**var("a", n=1), "filters": [when(1, "eq", 2)]}
    play, _ = await ended(api, step, var("b", whole="{{ $prev.a }}", field="{{ $prev.a.n }}"))
    assert play["out"] == {"whole": {"state": "FILTERED"}, "field": None}


async def test_6_filters_come_before_the_approval(api: Api) -> None:
    gate = {**var("a"), "filters": [when(1, "eq", 2)], "needsApproval": True}
    assert await states(api, gate) == ("FILTERED", {"a": "FILTERED"})


# ── 7: expressions ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("{{ $prev.args.n }}", 5),
        ("{{ $prev.input.n }}", 5),
        ("n is {{ $prev.args.n }}", "n is 5"),
        ("{{ $prev.args.list[1] }}", "b"),
        ("{{ $prev.args.map }}", {"k": 1}),
        ("map: {{ $prev.args.map }}", 'map: {"k":1}'),
        ("<{{ $prev.args.none }}>", "<>"),
        ("{{ $prev.nobody.at.all }}", None),
        ("{{ add 1 (mul 2 3) }}", 7),
        ('{{ add "41" 1 }}', 42),
        ("{{ div 7 2 }}", 3.5),
        ("{{ div 6 2 }}", 3),
        ("{{ upper 'abc' }}", "ABC"),
        ('{{ replace "a-b" "-" "+" }}', "a+b"),
        ('{{ join (split "a,b" ",") ";" }}', "a;b"),
        ('{{ hasPrefix "headrace" "head" }}', True),
        ("{{ and (gt 2 1) (eq 1 1) }}", True),
        ('{{ default $prev.args.none "x" }}', "x"),
        ('{{ ternary $prev.args.flag "yes" "no" }}', "no"),
        ("{{ $prev.args.list | len }}", 2),
        ('{{ $q.urlencode "a b" }}', "a+b"),
        ('{{ $q.base64 "ink" }}', "aW5r"),
        ('{{ ($q.jsonParse `{"a":[1]}`).a[0] }}', 1),
        ('{{ xpathFirst "<a><b>1</b></a>" "//b" }}', "1"),
        ("{{ len $rand.uuid }}", 36),
        ({"deep": ["{{ $prev.args.n }}"]}, {"deep": [5]}),
    ],
)
async def test_7_an_expression_has_a_value_with_its_type(api: Api, expression: Json, value: Json) -> None:
    made = await valued(api, expression, GIVEN)
    assert (made, type(made)) == (value, type(value))


async def test_7_names_of_the_play_and_its_moment(api: Api) -> None:
    flow = await api.create_flow(
        "Names", var("a", play="{{ $playId }}", flow="{{ $flowId }}", company="{{ $companyId }}", now="{{ $now }}",
                     day='{{ $date.format "2006-01-02" }}'),
    )  # fmt: skip
    play = await api.run(flow["id"], wait=60)
    assert (play["out"]["play"], play["out"]["flow"]) == (play["playId"], flow["id"])
    assert play["out"]["company"] == flow["companyId"]
    assert datetime.fromisoformat(play["out"]["now"]).date().isoformat() == play["out"]["day"]


@pytest.mark.parametrize("expression", ["{{ nothing 1 }}", "{{ add 1 }}", "{{ $prev.", "{{ }}"])
async def test_7_text_that_is_no_expression_is_refused_when_it_is_written(api: Api, expression: str) -> None:
    flow = await api.create_flow("No expression")
    answer = await api.call(
        "POST", f"/api/flows/{flow['id']}/layers", {"name": "a", **var("a", it=expression)}
    )
    assert (answer.status, answer.json["error"]) == (400, "VALIDATION_ERROR")
    assert "at position" in answer.json["message"]


@pytest.mark.parametrize(
    "expression", ["{{ div 1 0 }}", '{{ add 1 "x" }}', '{{ $date.format "2006" "never" }}']
)
async def test_7_an_expression_without_a_value_fails_its_step_without_retry(
    api: Api, expression: str
) -> None:
    play, layers = await ended(api, {**var("a", it=expression), "retry": {"count": 3}})
    assert (play["state"], play["errorCode"]) == ("FAIL", "EXPRESSION_ERROR")
    assert layers["a"]["attempts"] == 1
    assert "at position" in play["error"]


async def test_7_an_output_field_wins_over_the_state_of_its_step(api: Api) -> None:
    seen = {"own": "{{ $prev.a.state }}", "virtual": "{{ $prev.b.state }}"}
    play, _ = await ended(api, var("a", state="mine"), var("b", n=1), var("c", **seen))
    assert play["out"] == {"own": "mine", "virtual": "DONE"}


async def test_7_args_are_evaluated_once_for_all_attempts(api: Api) -> None:
    asked: list[str] = []

    async def hang_up(request: web.Request) -> web.Response:
        asked.append(request.query["n"])
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", hang_up)
    async with TestServer(app, host="127.0.0.1") as server:
        args = {"url": f"{server.make_url('/')}?n={{{{ $rand.string 20 }}}}", "method": "POST"}
        await ended(api, {"ref": "a", "appId": "curl", "args": args, "retry": {"count": 2}})
    assert len(asked) == 3
    assert len(set(asked)) == 1


# ── 8 and 9: running, states ────────────────────────────────────────────────────────────────────────


async def test_8_a_disabled_flow_runs_only_by_force(api: Api) -> None:
    flow = await api.create_flow("Off", var("a", n=1), enabled=False)
    assert await api.refused("POST", f"/api/flows/{flow['id']}/run", {}) == (409, "FLOW_DISABLED")
    assert (await api.run(flow["id"], wait=60, force=True))["state"] == "DONE"


@pytest.mark.parametrize("body", [{"args": [1]}, {"args": "x"}, [], "x"])
async def test_8_args_that_are_no_object_are_refused(api: Api, body: Json) -> None:
    flow = await api.create_flow("Args", var("a"))
    assert await api.refused("POST", f"/api/flows/{flow['id']}/run", body) == (400, "VALIDATION_ERROR")


async def test_8_a_cancel_reaches_a_running_module_at_once(api: Api) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()
        return web.Response()

    app = web.Application()
    app.router.add_get("/", never)
    async with TestServer(app, host="127.0.0.1", handler_cancellation=True) as server, asyncio.timeout(60):
        flow = await api.create_flow(
            "Running", {"ref": "a", "appId": "curl", "args": {"url": str(server.make_url("/"))}}
        )
        play = (await api.run(flow["id"]))["playId"]
        await asked.wait()
        assert await api.delete(f"/api/plays/{play}") == {"playId": play, "state": "FAIL"}
        await gone.wait()
    layer = (await api.layers_of(play))["a"]
    assert (layer["state"], layer["errorCode"]) == ("FAIL", "CANCELLED")


async def test_9_a_flow_without_steps_is_done(api: Api) -> None:
    assert await states(api) == ("DONE", {})


async def test_9_a_play_is_skip_when_nothing_was_done_and_something_skipped(api: Api) -> None:
    skip = fails("a", onError="skip")
    filtered = {**var("b"), "filters": [when(1, "eq", 2)]}
    assert await states(api, skip, filtered) == ("SKIP", {"a": "SKIP", "b": "FILTERED"})


# ── 10: order, timeout, retry ───────────────────────────────────────────────────────────────────────


async def test_10_a_higher_index_waits_for_all_of_a_lower_one(api: Api) -> None:
    slow = {"ref": "slow", "appId": "delay", "args": {"ms": 150}, "index": 0}
    seen = {"slow": "{{ $prev.slow.state }}", "fast": "{{ $prev.fast.n }}", "peer": "{{ $prev.peer.n }}"}
    play, _ = await ended(
        api, {**var("after", **seen), "index": 7}, slow, var("fast", 0, n=1), var("peer", 7, n=2)
    )
    assert play["state"] == "DONE"
    layers = await api.layers_of(play["playId"])
    assert layers["after"]["out"] == {"slow": "DONE", "fast": 1, "peer": None}


async def test_10_siblings_of_a_failed_step_finish(api: Api) -> None:
    slow = {"ref": "slow", "appId": "delay", "args": {"ms": 100}, "index": 0}
    state, layers = await states(api, fails("bad", index=0), slow, var("later", 1))
    assert (state, layers) == ("FAIL", {"bad": "FAIL", "slow": "DONE", "later": "SKIP"})


async def test_10_a_failed_step_is_tried_again_so_often(api: Api) -> None:
    _, layers = await ended(api, fails("a", retry={"count": 2, "delayMs": 10, "backoffMultiplier": 2}))
    assert (layers["a"]["state"], layers["a"]["attempts"]) == ("FAIL", 3)


async def test_10_a_long_delay_parks_the_play(api: Api) -> None:
    flow = await api.create_flow("Long", {"ref": "a", "appId": "delay", "args": {"ms": 2_500}})
    play = await api.run(flow["id"], wait=60)
    assert play["state"] == "WAIT"
    assert (await api.wait_for(play["playId"]))["out"] == {"ms": 2_500}


async def test_10_a_flow_that_takes_too_long_fails(api: Api) -> None:
    slow = {"ref": "a", "appId": "delay", "args": {"ms": 60_000}}
    flow = await api.create_flow("Too long", slow, execution={"timeout": 1})
    play = await api.finished(flow["id"])
    assert (play["state"], play["errorCode"]) == ("FAIL", "TIMEOUT")
    assert "execution timeout" in play["error"]


# ── 11: errors ──────────────────────────────────────────────────────────────────────────────────────


async def test_11_a_handler_runs_after_a_failure_and_the_rest_does_not(api: Api) -> None:
    failed, done = (when("{{ $prev.bad.state }}", "eq", state) for state in ("FAIL", "DONE"))
    handler = {**var("handler", 1, why="{{ $prev.bad.error }}"), "filters": [failed]}
    success = {**var("success", 1), "filters": [done]}
    play, layers = await ended(api, fails("bad", index=0), handler, success, var("plain", 2))
    assert play["state"] == "FAIL"
    assert {ref: layer["state"] for ref, layer in layers.items()} == {
        "bad": "FAIL",
        "handler": "DONE",
        "success": "FILTERED",
        "plain": "SKIP",
    }
    assert layers["handler"]["out"]["why"] == layers["bad"]["error"]


@pytest.mark.parametrize(("on_error", "state"), [("continue", "FAIL"), ("skip", "SKIP")])
async def test_11_a_step_may_say_that_its_failure_does_not_matter(
    api: Api, on_error: str, state: str
) -> None:
    play, layers = await ended(api, fails("bad", onError=on_error), var("after", n=1))
    assert (play["state"], play["out"]) == ("DONE", {"n": 1})
    assert layers["bad"]["state"] == state
    assert layers["bad"]["error"]


# ── 17: modules of its lists ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("app_id", "args", "out"),
    [
        ("router", {"routes": [{"condition": "{{ gt 2 1 }}", "label": "a"}]}, {"route": "a"}),
        ("enumeration", {"from": 3, "to": 1, "step": -1}, {"items": [3, 2, 1], "count": 3}),
        ("template", {"template": "Hi {{ .name }}", "data": {"name": "Ada"}}, {"result": "Hi Ada"}),
        ("base64-encode", {"input": "ink"}, {"result": "aW5r"}),
        ("base64-decode", {"input": "aW5r"}, {"result": "ink"}),
        ("url-encode", {"input": "a b&c"}, {"result": "a+b%26c"}),
        ("url-decode", {"input": "a+b%26c"}, {"result": "a b&c"}),
        (
            "regex",
            {"input": "a1b2", "pattern": "\\d", "operation": "findAll"},
            {"matches": ["1", "2"], "found": True, "count": 2},
        ),
        ("array-filter", {"items": [1, 5], "condition": "{{ gt . 2 }}"}, {"items": [5], "count": 1}),
        ("array-map", {"items": [1, 5], "expression": "{{ mul . 2 }}"}, {"items": [2, 10], "count": 2}),
        ("json-parse", {"input": '{"a":1}'}, {"result": {"a": 1}}),
        ("xpath", {"input": "<a>1</a>", "expression": "/a"}, {"matches": ["1"], "first": "1", "count": 1}),
        ("delay", {"ms": 1}, {"ms": 1}),
        ("log", {"message": "seen"}, {"message": "seen", "level": "info"}),
    ],
)
async def test_17_a_module_gives_what_the_contract_says(api: Api, app_id: str, args: Json, out: Json) -> None:
    play, _ = await ended(api, {"ref": "a", "appId": app_id, "args": args})
    assert (play["state"], play["out"]) == ("DONE", out)
