"""Which steps an iterator repeats, and how a loop goes (spec flow8 section 17.1, Q17)."""

from typing import Any

import pytest

from libs.common.messages import play as m
from libs.common.messages.flow import Layer
from services.executor import steps
from services.executor.loops import LOOPS_NESTED_MAX
from services.executor.modules.contract import Loop, ModuleFailed
from services.executor.modules.control import BATCH_SIZE_MAX, ITEMS_MAX, Aggregator, AggregatorArgs
from services.executor.plan import Plan
from services.executor.play_levels import collected_at, runs
from tests.builders import AT, a_layer, a_plan, an_approval
from tests.fixtures.modules import a_step, evaluated
from tests.spec import FAILED, Scene, given


def an_iterator(ref: str = "it", index: int = 1, **fields: Any) -> Layer:
    return a_layer(ref, app_id="iterator", index=index, **fields)


def an_aggregator(source: Any, index: int, ref: str = "agg", **args: Any) -> Layer:
    return a_layer(ref, app_id="aggregator", index=index, args={"sourceRef": source, **args})


def loops(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {ref: step.place.loops for ref, step in plan.steps.items()}


def opened(
    scene: Scene, *items: Any, ref: str = "it", at: tuple[int, ...] = (), batch_size: int = 1
) -> Scene:
    """Let an iterator have begun to hand out these items."""
    return scene.ended(ref, steps.Iterates(list(items), batch_size, 2), at=at)


def ready(scene: Scene) -> list[tuple[str, tuple[int, ...]]]:
    return [(step.ref, step.iteration) for step in scene.look().ready]


# ── the nesting of a flow ───────────────────────────────────────────────────────────────────────────


def test_a_body_goes_up_to_the_aggregator_that_collects_from_it() -> None:
    plan = a_plan(a_layer("before"), an_iterator(), a_layer("b", index=2), a_layer("c", index=3),
                  an_aggregator("b", 4), a_layer("after", index=5))  # fmt: skip
    assert loops(plan) == {"before": (), "it": (), "b": ("it",), "c": ("it",), "agg": (), "after": ()}
    assert (plan.steps["it"].place.body_end, plan.steps["it"].place.collects) == (4, ("b",))


def test_without_an_aggregator_a_body_goes_to_the_end_of_the_flow() -> None:
    plan = a_plan(an_iterator(), a_layer("b", index=2), a_layer("c", index=9))
    assert loops(plan) == {"it": (), "b": ("it",), "c": ("it",)}


def test_an_aggregator_of_other_steps_is_a_step_of_the_body() -> None:
    plan = a_plan(a_layer("before"), an_iterator(), a_layer("b", index=2), an_aggregator("before", 3))
    assert loops(plan)["agg"] == ("it",)
    assert plan.steps["it"].place.collects == ()


def test_an_aggregator_may_name_the_iterator_itself() -> None:
    plan = a_plan(an_iterator(), a_layer("b", index=2), an_aggregator("it", 3, field="index"))
    assert loops(plan)["agg"] == ()
    assert plan.steps["it"].place.collects == ("it.index",)


def test_what_stands_beside_the_iterator_or_the_aggregator_is_not_repeated() -> None:
    plan = a_plan(an_iterator(), a_layer("side", index=1), a_layer("b", index=2),
                  an_aggregator("b", 3), a_layer("next", index=3))  # fmt: skip
    assert [ref for ref, around in loops(plan).items() if around] == ["b"]


def test_each_aggregator_closes_the_loop_that_it_collects_from() -> None:
    plan = a_plan(an_iterator("outer"), an_iterator("inner", 2), a_layer("b", index=3),
                  an_aggregator("b", 4, "row"), an_aggregator("row", 5, "all"), a_layer("after", index=6))  # fmt: skip
    assert loops(plan) == {
        "outer": (), "inner": ("outer",), "b": ("outer", "inner"), "row": ("outer",), "all": (), "after": (),
    }  # fmt: skip


def test_a_second_aggregator_of_a_closed_loop_closes_nothing_else() -> None:
    plan = a_plan(an_iterator("outer"), an_iterator("inner", 2), a_layer("b", index=3),
                  an_aggregator("b", 4, "row", field="x"), an_aggregator("b", 5, "again", field="y"))  # fmt: skip
    assert loops(plan)["again"] == ("outer",)
    assert plan.steps["inner"].place.collects == ("b.x", "b.y")


def test_who_closes_a_loop_closes_those_inside_it() -> None:
    plan = a_plan(an_iterator("outer"), a_layer("d", index=2), an_iterator("inner", 3), a_layer("b", index=4),
                  an_aggregator("d", 5))  # fmt: skip
    assert (loops(plan)["b"], loops(plan)["agg"]) == (("outer", "inner"), ())


def test_an_aggregator_outside_of_all_loops_makes_every_loop_keep_what_it_asks_for() -> None:
    plan = a_plan(an_iterator("outer"), an_iterator("inner", 2), a_layer("b", index=3),
                  an_aggregator(["outer", "b"], 4))  # fmt: skip
    assert plan.steps["outer"].place.collects == ("outer", "b")
    assert plan.steps["inner"].place.collects == ("b",)


def test_loops_may_follow_each_other() -> None:
    plan = a_plan(an_iterator("x"), a_layer("b", index=2), an_aggregator("b", 3, "all"),
                  an_iterator("y", 3), a_layer("c", index=4))  # fmt: skip
    assert (loops(plan)["b"], loops(plan)["c"]) == (("x",), ("y",))


def test_a_second_iterator_at_one_index_is_broken() -> None:
    plan = a_plan(an_iterator("x"), an_iterator("y"), a_layer("b", index=2))
    assert "'x' iterates at this index already" in (plan.steps["y"].broken or "")
    assert loops(plan)["b"] == ("x",)


def test_loops_lie_only_so_deep_in_each_other() -> None:
    plan = a_plan(*(an_iterator(f"i{n}", n) for n in range(LOOPS_NESTED_MAX + 1)))
    assert [ref for ref, step in plan.steps.items() if step.broken] == [f"i{LOOPS_NESTED_MAX}"]


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ({}, "arg sourceRef"),
        ({"sourceRef": "nobody"}, "there is no step 'nobody'"),
        ({"sourceRef": "{{ $prev.args.ref }}"}, "not by an expression"),
        ({"sourceRef": '["b", '}, "this is no list"),
        ({"sourceRef": ["b"] * 101}, "at most 100 refs"),
        ({"sourceRef": "b", "field": "{{ $prev.args.field }}"}, "arg field"),
    ],
)
def test_an_aggregator_that_names_no_step_is_broken(args: dict[str, Any], reason: str) -> None:
    step = a_plan(a_layer("b"), a_layer("agg", app_id="aggregator", index=1, args=args)).steps["agg"]
    assert reason in (step.broken or "")


# ── how a loop goes ─────────────────────────────────────────────────────────────────────────────────


def a_loop(**body: Any) -> Plan:
    return a_plan(an_iterator(), a_layer("b", index=2, **body), a_layer("c", index=3), an_aggregator("b", 4))


def test_items_run_one_after_the_other_and_their_groups_in_order() -> None:
    scene = opened(given(a_loop()).started(), "x", "y")
    assert ready(scene) == [("b", (0,))]
    assert ready(scene.ended("b", at=(0,))) == [("c", (0,))]
    scene.ended("c", at=(0,)).follow()
    assert ready(scene) == [("b", (1,))]


def test_a_batch_runs_at_once_and_the_next_waits_for_all_of_it() -> None:
    scene = opened(given(a_loop()).started(), *"vwxyz", batch_size=2)
    assert ready(scene) == [("b", (0,)), ("b", (1,))]
    scene.ended("b", at=(1,)).ended("c", at=(1,)).follow()
    assert ready(scene) == [("b", (0,))]
    scene.ended("b", at=(0,)).ended("c", at=(0,)).follow()
    assert ready(scene) == [("b", (2,)), ("b", (3,))]


def test_the_body_waits_for_what_stands_beside_its_iterator() -> None:
    scene = given(a_plan(an_iterator(), a_layer("side", index=1), a_layer("b", index=2))).started()
    assert ready(opened(scene, "x")) == [("side", ())]
    assert ready(scene.ended("side")) == [("b", (0,))]


def test_an_ended_item_leaves_nothing_but_what_is_asked_for() -> None:
    scene = opened(given(a_loop()).started(), *range(50))
    for index in range(40):
        scene.ended("b", steps.Done({"n": index}, 7), at=(index,)).ended("c", at=(index,)).follow()
    loop = scene.play.loop
    assert loop is not None
    assert (loop.open, loop.ended, loop.start) == ({}, {}, 40)
    assert [ref for ref, _, _ in runs(scene.play)] == []
    assert loop.collected == {"b": [{"n": index} for index in range(40)]}


def test_what_is_collected_stands_in_the_order_of_the_items() -> None:
    scene = opened(given(a_loop()).started(), *"xyz", batch_size=3)
    for index in (2, 0, 1):
        scene.ended("b", steps.Done(index, 1), at=(index,)).ended("c", at=(index,)).follow()
    scene.follow()
    assert collected_at(scene.play, (), ("b",)) == [0, 1, 2]


def test_inside_a_loop_prev_is_the_items_and_after_it_the_last_items() -> None:
    scene = opened(given(a_loop()).started(args={"n": 7}), "x", "y", batch_size=2)
    scene.ended("b", steps.Done("of x", 6), at=(0,)).ended("b", steps.Done("of y", 6), at=(1,))
    step = scene.plan.steps["c"].at((0,))
    prev = steps.scope_of(scene.play, scene.plan, "p", step, AT, kv={}).prev
    assert (prev["b"].out, prev["args"]) == ("of x", {"n": 7})
    assert prev["it"].out == {"item": "x", "index": 0, "total": 2, "isLast": False}
    scene.ended("c", at=(1,)).ended("c", at=(0,)).settled()
    assert scene.play.prev["b"].out == "of y"
    assert scene.play.prev["it"].out == {"item": "y", "index": 1, "total": 2, "isLast": True}


def test_a_failing_item_lets_its_batch_finish_and_no_further_batch_begin() -> None:
    scene = opened(given(a_loop()).started(), *"wxyz", batch_size=2)
    scene.ended("b", FAILED, at=(0,)).follow()
    assert ready(scene) == [("b", (1,))]
    scene.settled()
    ended = [event for commit in scene.commits for event in commit.events if isinstance(event, m.ItemEnded)]
    assert [(event.iteration, event.failed) for event in ended] == [((0,), True), ((1,), False)]
    assert (scene.play.status, scene.play.layers["agg"].state) == ("FAIL", "SKIP")
    end = scene.commits[-1].events[-1]
    assert (end.ref, end.error) == ("b", "it broke")


def test_after_a_failed_loop_the_first_item_that_failed_is_seen() -> None:
    scene = opened(given(a_loop()).started(), *"wxyz", batch_size=4)
    scene.ended("b", FAILED, at=(2,)).ended("b", FAILED, at=(1,)).settled()
    assert scene.play.prev["it"].out["index"] == 1
    assert scene.play.prev["b"].state == "FAIL"


def test_a_failure_that_may_be_stops_no_loop() -> None:
    scene = opened(given(a_loop(on_error="continue")).started(), *"xyz")
    scene.ended("b", FAILED, at=(0,)).settled()
    assert (scene.play.status, scene.play.layers["c"].state) == ("DONE", "DONE")


def test_no_item_runs_after_a_failure_beside_the_iterator() -> None:
    scene = given(a_plan(an_iterator(), a_layer("side", index=1), a_layer("b", index=2))).started()
    opened(scene, "x").ended("side", FAILED).settled()
    assert {ref: run.state for ref, run in scene.play.layers.items()} == {
        "it": "DONE", "side": "FAIL", "b": "SKIP",
    }  # fmt: skip


def test_without_items_the_body_is_skipped_once() -> None:
    scene = opened(given(a_loop()).started()).settled()
    assert {ref: run.state for ref, run in scene.play.layers.items()} == {
        "it": "DONE", "b": "SKIP", "c": "SKIP", "agg": "DONE",
    }  # fmt: skip
    assert collected_at(scene.play, (), ("b",)) == []


def test_the_body_of_an_iterator_that_is_filtered_is_skipped_for_it_has_no_items() -> None:
    scene = given(a_loop()).started().ended("it", steps.Skipped()).settled()
    assert (scene.play.layers["b"].state, scene.play.layers["c"].state) == ("SKIP", "SKIP")


def test_what_a_loop_has_gathered_is_forgotten_when_a_retry_begins_it_anew() -> None:
    scene = opened(given(a_loop()).started(), "x", "y", batch_size=2)
    scene.ended("b", steps.Done({"n": 1}, 7), at=(0,)).ended("b", FAILED, at=(1,)).settled()
    assert scene.play.status == "FAIL"
    assert collected_at(scene.play, (), ("b",)) == [{"n": 1}]
    scene.retry("again", sequence=800)
    # Its filters may not let it run this time.
    scene.ended("it", steps.Skipped()).settled()
    assert collected_at(scene.play, (), ("b",)) == []


def test_a_handler_in_the_body_runs_once_when_the_loop_did_not_begin() -> None:
    looks = ({"leftValue": "{{ $prev.it.state }}", "operator": "eq", "rightValue": "FAIL"},)
    plan = a_plan(an_iterator(), a_layer("b", index=2), a_layer("h", index=3, filters=looks))
    scene = given(plan).started().ended("it", FAILED)
    scene.follow()
    assert ready(scene) == [("h", ())]


def test_the_state_of_a_play_counts_every_item() -> None:
    plan = a_plan(an_iterator(), a_layer("b", index=2))
    scene = opened(given(plan).started(), "x", "y")
    scene.ended("b", at=(0,)).follow()
    scene.ended("b", steps.Skipped(), at=(1,)).settled()
    assert (scene.play.layers["b"].state, scene.play.prev["b"].state) == ("DONE", "SKIP")


def test_an_approval_of_one_item_leaves_the_others_waiting() -> None:
    scene = opened(given(a_loop(needs_approval=True)).started(), "x", "y", batch_size=2)
    scene.waiting("b", "approval", at=(0,)).waiting("b", "approval", at=(1,))
    scene.send(an_approval("b", iteration=(1,)), id="first")
    assert ready(scene) == [("b", (1,))]
    scene.send(an_approval("b"), id="second")
    assert ready(scene) == [("b", (0,)), ("b", (1,))]


def test_a_cancel_ends_what_runs_in_every_item_and_nothing_else() -> None:
    scene = (
        opened(given(a_loop()).started(), *"xyz", batch_size=2).running("b", at=(0,)).running("b", at=(1,))
    )
    scene.send(m.CancelPlay(at=AT), id="cancel")
    assert scene.follow().ended
    ends = [event for event in scene.commits[-1].events if isinstance(event, m.LayerEvent)]
    assert [(type(event).__name__, event.ref, event.iteration) for event in ends] == [
        ("LayerFailed", "b", (1,)),
        ("LayerFailed", "b", (0,)),
        ("LayerFailed", "it", ()),
        ("LayerCompleted", "agg", ()),
    ]


def test_a_third_lost_executor_fails_the_items_that_ran_and_not_their_iterator() -> None:
    scene = opened(given(a_loop()).started(), *"xyz", batch_size=2).running("b", at=(1,))
    for delivery in (2, 3, 4, 5):
        scene.send(m.WakePlay(at=AT, wait_id=""), id="again", sequence=1, delivery=delivery)
    ends = [e for e in scene.commits[-1].events if isinstance(e, m.LayerFailed)]
    assert [(event.ref, event.iteration, event.error_code) for event in ends] == [
        ("b", (1,), "EXECUTOR_LOST")
    ]


# ── names, seeds, limits ────────────────────────────────────────────────────────────────────────────


def test_each_run_in_a_loop_has_a_name_of_its_own() -> None:
    step = a_loop().steps["b"]
    assert [step.at(at).name for at in ((), (3,), (3, 0))] == ["b", "b:3", "b:3.0"]


def test_each_item_draws_other_random_values() -> None:
    scene = given(a_loop()).started(seed="s")
    step = scene.plan.steps["b"]
    assert len({steps.seed_of(scene.play, step.at(at)) for at in ((), (0,), (1,), (0, 1))}) == 4


def test_nested_batches_together_are_limited() -> None:
    plan = a_plan(an_iterator("outer"), an_iterator("inner", 2), a_layer("b", index=3))
    scene = opened(given(plan).started(), *range(50), ref="outer", batch_size=50)
    opened(scene, *range(21), ref="inner", at=(0,), batch_size=21)
    failed = scene.commits[-1].events[-1]
    assert isinstance(failed, m.LayerFailed)
    assert "1,050 items at once" in failed.error


def test_the_iterator_hands_out_what_it_was_given() -> None:
    assert evaluated("iterator", {"items": [1, 2]}, args={}) == Loop([1, 2], 1)
    assert evaluated("iterator", {"items": "[1, 2]", "batchSize": "2"}, args={}) == Loop([1, 2], 2)


@pytest.mark.parametrize(
    "args",
    [{"items": [1], "batchSize": 0}, {"items": [1], "batchSize": BATCH_SIZE_MAX + 1}, {"items": "x"}, {}],
)
def test_the_iterator_refuses_what_it_cannot_hand_out(args: dict[str, Any]) -> None:
    with pytest.raises(ModuleFailed):
        evaluated("iterator", args, args={})


def test_the_iterator_takes_only_so_many_items() -> None:
    with pytest.raises(ModuleFailed, match="100,001 items are more than 100,000"):
        evaluated("iterator", {"items": [0] * (ITEMS_MAX + 1)}, args={})


def test_the_aggregator_lists_what_was_collected() -> None:
    out = Aggregator().evaluate(AggregatorArgs(source_ref="b"), a_step(collected=[1, None, 3]))
    assert out == {"items": [1, None, 3], "count": 3}
