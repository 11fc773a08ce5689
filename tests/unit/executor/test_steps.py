"""Running one step: what a module's answer, its refusals and its mistakes become."""

from typing import Any, cast

import msgspec
import pytest

from libs.common.errors import Unavailable
from libs.common.messages import play as m
from libs.common.messages.flow import Retry
from services.executor import steps
from services.executor.modules.contract import (
    EffectModule,
    ModuleFailed,
    ModuleSkipped,
    PureModule,
    Services,
    Step,
    Wait,
)
from services.executor.modules.registry import Registry
from services.executor.plan import Traits, compile_plan
from services.executor.play_outcomes import chance_of
from tests.builders import AT, a_flow, a_layer
from tests.spec import Scene, given

BYTES_MAX = 1_000


class SayArgs(msgspec.Struct, frozen=True, kw_only=True):
    """Args of both modules."""

    value: Any = None


ANSWERS: dict[str, Any] = {
    "skip": ModuleSkipped(),
    "fail": ModuleFailed("it broke"),
    "final": ModuleFailed("it broke for good", code="NOPE", final=True),
    "away": Unavailable("nobody there"),
    "mistake": ZeroDivisionError("division by zero"),
    "wait": Wait(1500, {"later": True}),
    "large": "x" * BYTES_MAX,
    "no json": object(),
    "pair": (1, 2),
}


def answer(args: SayArgs) -> Any:
    out = ANSWERS.get(args.value, {"got": args.value}) if isinstance(args.value, str) else {"got": args.value}
    if isinstance(out, Exception):
        raise out
    return out


class Say(PureModule[SayArgs]):
    """Says what its args ask for."""

    app_id = "say"
    docs = "Says it."
    Args = SayArgs
    args_example = {}  # noqa: RUF012
    out_example = {}  # noqa: RUF012

    def evaluate(self, args: SayArgs, step: Step) -> Any:
        del step
        return answer(args)


class Act(EffectModule[SayArgs]):
    """The same, with effects."""

    app_id = "act"
    docs = "Does it."
    Args = SayArgs
    args_example = {}  # noqa: RUF012
    out_example = {}  # noqa: RUF012

    async def run(self, args: SayArgs, step: Step, services: Services) -> Any:
        del step, services
        return answer(args)


class Parts(msgspec.Struct, frozen=True):
    """What running a step needs."""

    registry: Registry
    services: Services
    output_bytes_max: int = BYTES_MAX


PARTS = Parts(Registry([Say, Act]), cast("Services", None))
TRAITS = {"say": Traits(True, frozenset()), "act": Traits(False, frozenset())}
CALL = Step(company_id="c", flow_id="f", play_id="p", ref="a", idempotency_key="p:a", attempt=1, now=AT)


def a_scene(**fields: Any) -> Scene:
    layer = a_layer("a", **{"app_id": "say", **fields})
    return given(compile_plan(a_flow(layer), definition=1, modules=TRAITS)).started()


def evaluated(value: Any) -> steps.Outcome:
    return steps.evaluate(PARTS, a_scene().plan.steps["a"], {"value": value}, CALL)


async def ran(value: Any) -> steps.Outcome:
    return await steps.run(PARTS, a_scene(app_id="act").plan.steps["a"], {"value": value}, CALL)


OUTCOMES = [
    (7, steps.Done({"got": 7}, 9)),
    ("skip", steps.Skipped()),
    ("fail", steps.Failed("it broke", "MODULE_ERROR", final=False)),
    ("final", steps.Failed("it broke for good", "NOPE", final=True)),
    ("away", steps.Failed("nobody there", "MODULE_ERROR", final=False)),
    ("mistake", steps.Failed("ZeroDivisionError: division by zero", "MODULE_ERROR", final=False)),
    ("pair", steps.Done([1, 2], 5)),
]


@pytest.mark.parametrize(
    ("value", "outcome"), OUTCOMES, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_module_answers_the_same_with_effects_and_without(value: Any, outcome: steps.Outcome) -> None:
    assert evaluated(value) == outcome
    assert await ran(value) == outcome


def test_a_pure_module_may_wait() -> None:
    assert evaluated("wait") == steps.Waits(1500, {"later": True})


async def test_an_output_above_the_limit_fails_the_step_for_good() -> None:
    outcome = await ran("large")
    assert isinstance(outcome, steps.Failed)
    assert (outcome.code, outcome.final) == ("OUTPUT_TOO_LARGE", True)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def evaluated_at_length(value: Any) -> steps.Outcome:
    parts = msgspec.structs.replace(PARTS, output_bytes_max=100_000)
    return steps.evaluate(parts, a_scene().plan.steps["a"], {"value": value}, CALL)


@pytest.mark.parametrize("levels", [steps.OUTPUT_NESTING_MAX, 900, 5_000])
def test_an_output_that_nests_deeper_than_an_event_can_hold_fails_the_step_for_good(levels: int) -> None:
    outcome = evaluated_at_length(nested(levels))
    assert isinstance(outcome, steps.Failed)
    assert outcome.final


@pytest.mark.parametrize("value", [nested(steps.OUTPUT_NESTING_MAX - 1), [nested(1)] * 2_000])
def test_an_output_may_nest_as_deep_as_the_limit_and_hold_any_number_of_lists(value: Any) -> None:
    assert isinstance(evaluated_at_length(value), steps.Done)


async def test_an_output_that_is_not_json_fails_the_step_for_good() -> None:
    outcome = await ran("no json")
    assert isinstance(outcome, steps.Failed)
    assert (outcome.code, outcome.final) == ("MODULE_ERROR", True)


async def test_a_pure_module_is_not_run_as_one_with_effects_or_the_other_way_round() -> None:
    pure, acting = a_scene().plan.steps["a"], a_scene(app_id="act").plan.steps["a"]
    assert isinstance(await steps.run(PARTS, pure, {}, CALL), steps.Failed)
    assert isinstance(steps.evaluate(PARTS, acting, {}, CALL), steps.Failed)


# ── what an attempt becomes ─────────────────────────────────────────────────────────────────────────


def event_of(scene: Scene, outcome: steps.Outcome) -> m.PlayEvent:
    return steps.event_of(outcome, scene.plan.steps["a"], scene.play, scene.now)


BROKEN = steps.Failed("it broke", "MODULE_ERROR", final=False)


def test_a_failed_attempt_is_retried_as_often_as_its_layer_says() -> None:
    scene = a_scene(retry=Retry(2, 1000))
    kinds = []
    for _ in range(3):
        kinds.append(type(event_of(scene, BROKEN)).__name__)
        scene.ended("a", BROKEN)
    assert kinds == ["LayerRetrying", "LayerRetrying", "LayerFailed"]
    assert scene.play.layers["a"].state == "FAIL"


def test_a_retry_waits_its_delay() -> None:
    event = event_of(a_scene(retry=Retry(1, 1500)), BROKEN)
    assert isinstance(event, m.LayerRetrying)
    assert (event.attempt, (event.until - AT).total_seconds()) == (1, 1.5)


def test_a_final_failure_is_not_retried() -> None:
    final = steps.Failed("no", "EXPRESSION_ERROR", final=True)
    assert isinstance(event_of(a_scene(retry=Retry(5)), final), m.LayerFailed)


def test_the_attempts_of_a_step_are_counted_in_its_end() -> None:
    scene = a_scene(retry=Retry(5)).ended("a", BROKEN).ended("a", BROKEN)
    event = event_of(scene, steps.Done(1, 1))
    assert isinstance(event, m.LayerCompleted)
    assert event.attempts == 3


def test_a_wait_becomes_a_delay_that_ends_with_its_output() -> None:
    scene = a_scene().ended("a", steps.Waits(5_000, {"n": 1}))
    assert (scene.play.layers["a"].state, scene.look().until) == ("WAIT", scene.now.replace(second=5))
    scene.later(5).follow()
    assert (scene.play.layers["a"].state, scene.play.layers["a"].out) == ("DONE", {"n": 1})


def test_chance_derives_from_seed_step_and_attempt() -> None:
    draws = [chance_of("s", "a", 1), chance_of("s", "a", 2), chance_of("t", "a", 1)]
    assert draws[0] == chance_of("s", "a", 1)
    assert len(set(draws)) == 3
    assert all(0 <= draw < 1 for draw in draws)


# ── filters and args ────────────────────────────────────────────────────────────────────────────────


def scope(scene: Scene) -> Any:
    return steps.scope_of(scene.play, scene.plan, "p", scene.plan.steps["a"], AT, kv={})


def test_a_filter_that_cannot_be_evaluated_fails_the_step_for_good() -> None:
    broken = {"leftValue": "x", "operator": "regex", "rightValue": "("}
    scene = a_scene(filters=(broken,))
    outcome = steps.passes_filters(scene.plan.steps["a"], scope(scene))
    assert isinstance(outcome, steps.Failed)
    assert (outcome.code, outcome.final) == ("EXPRESSION_ERROR", True)


def test_an_arg_that_could_not_be_put_out_again_is_refused_before_the_module_runs() -> None:
    scene = a_scene(app_id="act", args={"value": "{{ $prev.args.n }}", "other": 1})
    step = scene.plan.steps["a"]
    assert not step.pure
    scene.play.prev["args"] = {"n": nested(steps.ARG_NESTING_MAX)}
    assert isinstance(steps.evaluate_args(step, scope(scene)), dict)
    scene.play.prev["args"] = {"n": nested(steps.ARG_NESTING_MAX + 1)}
    outcome = steps.evaluate_args(step, scope(scene))
    assert isinstance(outcome, steps.Failed)
    assert outcome.error == f"act: arg value: nests more than {steps.ARG_NESTING_MAX} deep"
    assert outcome.final


def test_an_arg_of_a_pure_module_may_be_as_deep_as_it_likes() -> None:
    scene = a_scene(args={"value": "{{ $prev.args.n }}"})
    scene.play.prev["args"] = {"n": nested(steps.OUTPUT_NESTING_MAX)}
    assert isinstance(steps.evaluate_args(scene.plan.steps["a"], scope(scene)), dict)


def test_args_see_what_the_play_was_started_with() -> None:
    scene = a_scene(args={"value": "{{ $prev.args.n }}"})
    scene.play.prev["args"] = {"n": 3}
    assert steps.evaluate_args(scene.plan.steps["a"], scope(scene)) == {"value": 3}
