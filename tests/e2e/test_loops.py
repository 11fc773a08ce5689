"""Control flow over HTTP (spec flow8 section 17.1): router, enumeration, iterator, aggregator."""

import pytest

from tests.e2e.api import Api, Json
from tests.e2e.loops import ended, gather, loop, var


def states(steps: list[Json]) -> list[tuple[str, Json, str]]:
    return [(step["ref"], step["iteration"], step["state"]) for step in steps]


# ── router, enumeration ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("amount", "route"), [(2000, "large"), (500, "medium"), (3, "")])
async def test_section_17_1_router_takes_the_first_true_route(api: Api, amount: int, route: str) -> None:
    routes = [
        {"condition": f"{{{{ gt $prev.args.amount {above} }}}}", "label": label}
        for above, label in ((1000, "large"), (100, "medium"), (100, "never"))
    ]
    router = {"ref": "way", "appId": "router", "index": 0, "args": {"routes": routes}}
    play, steps = await ended(api, f"Router {amount}", router, amount=amount)
    assert (play["state"], steps[0]["out"]) == ("DONE", {"route": route})


async def test_section_17_1_router_literal_true_catches_all_and_later_steps_filter_on_the_route(
    api: Api,
) -> None:
    router = {
        "ref": "way",
        "appId": "router",
        "index": 0,
        "args": {"routes": [{"condition": "false", "label": "a"}, {"condition": "true", "label": "b"}]},
    }
    ways = [
        var(
            ref,
            1,
            n=ref,
            filters=[{"leftValue": "{{ $prev.way.route }}", "operator": "eq", "rightValue": ref}],
        )
        for ref in ("a", "b")
    ]
    _, steps = await ended(api, "Router ways", router, *ways)
    assert [(step["ref"], step["state"]) for step in steps] == [
        ("way", "DONE"),
        ("a", "FILTERED"),
        ("b", "DONE"),
    ]


@pytest.mark.parametrize(
    ("args", "items"),
    [
        ({"from": 1, "to": 10}, list(range(1, 11))),
        ({"from": 5, "to": 1, "step": -2}, [5, 3, 1]),
        ({"from": 1, "to": 0}, []),
    ],
)
async def test_section_17_1_enumeration_lists_numbers_both_ends_included(
    api: Api, args: Json, items: Json
) -> None:
    play, _ = await ended(
        api, f"Numbers {args}", {"ref": "n", "appId": "enumeration", "index": 0, "args": args}
    )
    assert (play["state"], play["out"]) == ("DONE", {"items": items, "count": len(items)})


async def test_section_17_1_enumeration_refuses_a_step_of_zero(api: Api) -> None:
    layer = {"ref": "n", "appId": "enumeration", "index": 0, "args": {"from": 1, "to": 2, "step": 0}}
    play, _ = await ended(api, "No step", layer)
    assert (play["state"], play["errorCode"]) == ("FAIL", "MODULE_ERROR")


# ── iterator ────────────────────────────────────────────────────────────────────────────────────────


async def test_section_17_1_iterator_runs_later_steps_per_item_with_item_index_total_and_is_last(
    api: Api,
) -> None:
    seen = "{{ $prev.loop.item }}/{{ $prev.loop.index }}/{{ $prev.loop.total }}/{{ $prev.loop.isLast }}"
    play, steps = await ended(
        api, "Each item", loop(), var("body", 2, n=seen), gather(3, field="n"), items=["a", "b", "c"]
    )
    assert play["out"] == {"items": ["a/0/3/false", "b/1/3/false", "c/2/3/true"], "count": 3}
    assert states(steps) == [
        ("loop", None, "DONE"),
        ("body", 0, "DONE"),
        ("body", 1, "DONE"),
        ("body", 2, "DONE"),
        ("all", None, "DONE"),
    ]
    assert len({step["id"] for step in steps}) == 5


async def test_section_17_1_iterator_without_an_aggregator_runs_to_the_end_of_the_flow(api: Api) -> None:
    play, steps = await ended(api, "To the end", loop(), var("b", 2), var("c", 3), items=[1, 2])
    assert states(steps)[1:] == [("b", 0, "DONE"), ("b", 1, "DONE"), ("c", 0, "DONE"), ("c", 1, "DONE")]
    assert play["out"] == {"n": 2}


async def test_section_17_1_iterator_index_groups_keep_their_order_per_item(api: Api) -> None:
    later = var("later", 3, n="{{ add $prev.body.n 1 }}")
    play, _ = await ended(
        api,
        "Groups",
        loop(batchSize=3),
        var("body", 2),
        later,
        gather(4, "later", field="n"),
        items=[10, 20, 30],
    )
    assert play["out"]["items"] == [11, 21, 31]


async def test_section_17_1_after_the_loop_the_last_items_values_are_seen(api: Api) -> None:
    after = var("after", 4, n="{{ $prev.body.n }} {{ $prev.loop.index }} of {{ $prev.loop.total }}")
    play, _ = await ended(api, "After", loop(), var("body", 2), gather(3), after, items=["x", "y"])
    assert play["out"] == {"n": "y 1 of 2"}


@pytest.mark.parametrize("given", ["{{ $prev.args.text }}", "[7, 8]"])
async def test_section_17_1_items_may_be_json_text_of_a_list(api: Api, given: str) -> None:
    layers = loop(items=given), var("body", 2), gather(3, field="n")
    play, _ = await ended(api, f"Text {len(given)}", *layers, text="[7, 8]")
    assert play["out"]["items"] == [7, 8]


@pytest.mark.parametrize("given", ["{{ $prev.args.text }}", {"a": 1}, 5])
async def test_section_17_1_items_that_are_no_list_fail_the_step(api: Api, given: Json) -> None:
    play, steps = await ended(api, f"No list {given}", loop(items=given), var("body", 2), text="no list")
    assert (play["state"], play["errorCode"]) == ("FAIL", "MODULE_ERROR")
    assert "items" in play["error"]
    assert states(steps) == [("loop", None, "FAIL"), ("body", None, "SKIP")]


async def test_section_17_1_empty_items_skip_the_body_and_aggregate_to_nothing(api: Api) -> None:
    play, steps = await ended(api, "Nothing", loop(), var("body", 2), gather(3))
    assert play["out"] == {"items": [], "count": 0}
    assert states(steps) == [("loop", None, "DONE"), ("body", None, "SKIP"), ("all", None, "DONE")]


async def test_section_17_1_a_batch_runs_at_once_and_batches_run_in_sequence(api: Api) -> None:
    pause = {"ref": "pause", "appId": "delay", "index": 2, "args": {"ms": 300}}
    play, steps = await ended(
        api, "Batches", loop(batchSize=2), pause, gather(3, "loop", field="index"), items=[0, 0, 0, 0]
    )
    assert play["out"]["items"] == [0, 1, 2, 3]
    pauses = [step for step in steps if step["ref"] == "pause"]
    assert {step["duration"] >= 300 for step in pauses} == {True}
    assert 600 <= play["duration"] < sum(step["duration"] for step in pauses)


async def test_section_17_1_a_failing_item_finishes_its_batch_and_then_fails_the_play(api: Api) -> None:
    body = var("body", 2, n="{{ div 10 $prev.loop.item }}")
    play, steps = await ended(api, "Failing item", loop(batchSize=2), body, gather(3), items=[0, 5, 2, 1])
    assert (play["state"], play["errorCode"]) == ("FAIL", "EXPRESSION_ERROR")
    assert states(steps) == [
        ("loop", None, "DONE"),
        ("body", 0, "FAIL"),
        ("body", 1, "DONE"),
        ("all", None, "SKIP"),
    ]
    shown = await api.get(f"/api/plays/{play['playId']}")
    assert shown["failedRef"] == "body"


@pytest.mark.parametrize("on_error", ["continue", "skip"])
async def test_section_17_1_a_failing_item_stops_nothing_when_its_step_may_fail(
    api: Api, on_error: str
) -> None:
    body = var("body", 2, n="{{ div 10 $prev.loop.item }}", onError=on_error)
    play, _ = await ended(api, f"May fail {on_error}", loop(), body, gather(3, field="n"), items=[0, 5, 2])
    assert (play["state"], play["out"]) == ("DONE", {"items": [2, 5], "count": 2})


async def test_section_11_a_handler_inside_the_body_sees_the_failure_of_its_item(api: Api) -> None:
    failed = {"leftValue": "{{ $prev.body.state }}", "operator": "eq", "rightValue": "FAIL"}
    handler = var("handler", 3, n="{{ $prev.body.error }}", filters=[failed])
    play, steps = await ended(
        api,
        "Handler inside",
        loop(),
        var("body", 2, n="{{ div 10 $prev.loop.item }}"),
        handler,
        items=[5, 0, 2],
    )
    assert play["state"] == "FAIL"
    assert states(steps)[3:] == [("handler", 0, "FILTERED"), ("handler", 1, "DONE")]


async def test_section_11_a_handler_after_the_loop_sees_the_item_that_failed(api: Api) -> None:
    failed = {"leftValue": "{{ $prev.body.state }}", "operator": "eq", "rightValue": "FAIL"}
    body = var("body", 2, n="{{ div 10 $prev.loop.item }}")
    handler = var("handler", 4, n="item {{ $prev.loop.index }}", filters=[failed])
    play, steps = await ended(
        api, "Handler after", loop(batchSize=3), body, gather(3), handler, items=[5, 0, 2]
    )
    assert play["state"] == "FAIL"
    assert (steps[-1]["ref"], steps[-1]["state"], steps[-1]["out"]) == ("handler", "DONE", {"n": "item 1"})


async def test_section_6_a_filter_in_the_body_decides_per_item(api: Api) -> None:
    odd = {"leftValue": "{{ mod $prev.loop.item 2 }}", "operator": "eq", "rightValue": 1}
    play, _ = await ended(
        api, "Odd", loop(), var("body", 2, filters=[odd]), gather(3, field="n"), items=[1, 2, 3]
    )
    assert play["out"] == {"items": [1, 3], "count": 2}


async def test_section_12_an_approval_in_the_body_is_decided_per_item(api: Api) -> None:
    flow = await api.create_flow(
        "Gates", loop(batchSize=2), var("body", 2, needsApproval=True), gather(3, field="n")
    )
    play_id = (await api.run(flow["id"], {"items": ["a", "b"]}))["playId"]
    await api.wait_for(play_id, "WAIT")
    gates = [step for step in await api.get(f"/api/plays/{play_id}/layers") if step["ref"] == "body"]
    assert [(gate["iteration"], gate["state"]) for gate in gates] == [(0, "WAIT"), (1, "WAIT")]
    second = {"layerId": gates[1]["id"], "decision": "approved", "note": "the second"}
    await api.post(f"/api/plays/{play_id}/approve", second)
    assert await api.refused("POST", f"/api/plays/{play_id}/approve", second) == (409, "CONFLICT")
    await api.post(f"/api/plays/{play_id}/approve", {"layerId": "body", "decision": "approved"})
    play = await api.wait_for(play_id)
    assert play["out"] == {"items": ["a", "b"], "count": 2}
    shown = await api.get(f"/api/plays/{play_id}/layers?ref=body")
    assert [step["approval"]["note"] for step in shown] == ["", "the second"]


async def test_section_10_a_long_wait_in_the_body_parks_the_play(api: Api) -> None:
    pause = {"ref": "pause", "appId": "delay", "index": 2, "args": {"ms": 2_200}}
    flow = await api.create_flow("Parked", loop(batchSize=5), pause, gather(3, "loop", field="item"))
    play_id = (await api.run(flow["id"], {"items": [1, 2, 3]}))["playId"]
    await api.wait_for(play_id, "WAIT")
    assert (await api.wait_for(play_id))["out"] == {"items": [1, 2, 3], "count": 3}


async def test_section_17_1_loops_lie_in_each_other(api: Api) -> None:
    inner = loop(2, items="{{ $prev.loop.item }}", ref="inner")
    body = var("body", 3, n="{{ $prev.loop.index }}.{{ $prev.inner.index }}:{{ $prev.inner.item }}")
    play, steps = await ended(
        api,
        "Nested",
        loop(batchSize=2),
        inner,
        body,
        gather(4, field="n", ref="row"),
        gather(5, "row", field="items"),
        items=[["a", "b"], [], ["c"]],
    )
    assert play["out"] == {"items": [["0.0:a", "0.1:b"], [], ["2.0:c"]], "count": 3}
    assert [step["iteration"] for step in steps if step["ref"] == "body"] == [[0, 0], [0, 1], 1, [2, 0]]


# ── aggregator ──────────────────────────────────────────────────────────────────────────────────────


async def test_section_17_1_aggregator_without_a_field_collects_whole_outputs(api: Api) -> None:
    play, _ = await ended(api, "Whole", loop(), var("body", 2), gather(3), items=[1, 2])
    assert play["out"] == {"items": [{"n": 1}, {"n": 2}], "count": 2}


async def test_section_17_1_aggregator_collects_from_parallel_branches(api: Api) -> None:
    skipped = {"leftValue": "a", "operator": "eq", "rightValue": "b"}
    play, _ = await ended(
        api,
        "Branches",
        var("x", 1, n="left"),
        var("y", 1, n="never", filters=[skipped]),
        var("z", 1, n="right"),
        gather(2, ["z", "y", "x"], field="n"),
    )
    assert play["out"] == {"items": ["right", "left"], "count": 2}


async def test_section_17_1_aggregator_collects_a_field_by_its_path(api: Api) -> None:
    body = var("body", 2, n={"deep": [{"k": "{{ $prev.loop.item }}"}]})
    play, _ = await ended(api, "Path", loop(), body, gather(3, field="n.deep[0].k"), items=[1, 2])
    assert play["out"] == {"items": [1, 2], "count": 2}


async def test_section_17_1_more_items_than_a_loop_takes_fail_it(api: Api) -> None:
    many = {"ref": "many", "appId": "enumeration", "index": 0, "args": {"from": 1, "to": 60_000}}
    flow_items = "[{{ join $prev.many.items ',' }},{{ join $prev.many.items ',' }}]"
    play, _ = await ended(api, "Too many", many, loop(items=flow_items), var("body", 2))
    assert (play["state"], play["errorCode"]) == ("FAIL", "MODULE_ERROR")
    assert "100,000" in play["error"]


@pytest.mark.parametrize("source", ["nobody", "{{ $prev.args.ref }}", [], 5])
async def test_section_17_1_aggregator_names_steps_of_its_flow(api: Api, source: Json) -> None:
    play, _ = await ended(api, f"Source {source}", var("x", 1, n=1), gather(2, source))
    assert (play["state"], play["errorCode"]) == ("FAIL", "MODULE_ERROR")
    assert "sourceRef" in play["error"]


# ── how loops are shown ─────────────────────────────────────────────────────────────────────────────


async def test_section_8_a_long_list_of_steps_is_answered_page_by_page(api: Api) -> None:
    play, _ = await ended(api, "Pages", loop(batchSize=50), var("body", 2), items=list(range(150)))
    path = f"/api/plays/{play['playId']}/layers"
    whole = await api.call("GET", path)
    assert (len(whole.json), whole.headers["X-Total-Count"]) == (151, "151")
    page = await api.call("GET", f"{path}?ref=body&page=1&size=100")
    assert [step["iteration"] for step in page.json] == list(range(100, 150))
    assert page.headers["X-Total-Count"] == "150"
    assert await api.refused("GET", f"{path}?page=x") == (400, "VALIDATION_ERROR")


async def test_section_16_frames_of_steps_in_loops_name_their_item(api: Api) -> None:
    flow = await api.create_flow("Frames", loop(), var("body", 2), gather(3))
    async with api.socket(f"?flowId={flow['id']}") as frames:
        play_id = (await api.run(flow["id"], {"items": [1, 2]}))["playId"]
        seen = await frames.until("play:completed", play_id=play_id)
    named = [(f["type"].rpartition(":")[2], f.get("ref"), f.get("iteration")) for f in seen if "ref" in f]
    assert named == [
        ("started", "loop", None),
        ("started", "body", 0),
        ("completed", "body", 0),
        ("started", "body", 1),
        ("completed", "body", 1),
        ("completed", "loop", None),
        ("started", "all", None),
        ("completed", "all", None),
    ]
