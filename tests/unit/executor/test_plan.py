"""Compiling a flow never fails: what cannot run is marked, and fails when it is reached."""

from libs.common.messages.flow import Retry
from services.executor.plan import RETRY_DELAY_MS_MAX, compile_plan, retry_delay_ms
from tests.builders import MODULES, a_flow, a_layer, a_plan


def test_steps_stand_in_groups_by_index_then_as_listed() -> None:
    plan = a_plan(a_layer("c", index=5), a_layer("a", index=1), a_layer("b", index=1))
    assert [[step.ref for step in group] for group in plan.groups] == [["a", "b"], ["c"]]
    assert {ref: (step.order, step.group) for ref, step in plan.steps.items()} == {
        "a": (0, 0), "b": (1, 0), "c": (2, 1),
    }  # fmt: skip


def test_an_unknown_module_breaks_its_step_only() -> None:
    plan = a_plan(a_layer("a", app_id="nowhere"), a_layer("b"))
    assert "nowhere" in (plan.steps["a"].broken or "")
    assert plan.steps["a"].broken_code == "MODULE_ERROR"
    assert plan.steps["b"].broken is None


def test_an_expression_that_does_not_parse_breaks_its_step() -> None:
    step = a_plan(a_layer("a", args={"value": "{{ $prev. }}"})).steps["a"]
    assert step.broken is not None
    assert step.broken_code == "EXPRESSION_ERROR"


def test_a_filter_without_an_operator_breaks_its_step() -> None:
    step = a_plan(a_layer("a", filters=({"leftValue": "x"},))).steps["a"]
    assert "operator" in (step.broken or "")


def test_a_step_handles_the_refs_whose_state_its_filters_ask_for() -> None:
    filters = (
        {"leftValue": "{{ $prev.x.state }}", "operator": "eq", "rightValue": "FAIL"},
        {"leftValue": "{{ $prev.y.amount }}", "operator": "gt", "rightValue": 1},
    )
    assert a_plan(a_layer("a", filters=filters)).steps["a"].handles == {"x"}


def test_modules_say_whether_a_step_is_pure() -> None:
    plan = a_plan(a_layer("a"), a_layer("b", app_id="touch"))
    assert (plan.steps["a"].pure, plan.steps["b"].pure) == (True, False)


def test_a_step_without_a_timeout_has_five_minutes() -> None:
    assert a_plan(a_layer("a")).steps["a"].timeout_s == 300
    assert a_plan(a_layer("a", timeout=7)).steps["a"].timeout_s == 7


def test_an_empty_flow_has_no_groups() -> None:
    assert compile_plan(a_flow(), definition=3, modules=MODULES).groups == ()


# ── retries ─────────────────────────────────────────────────────────────────────────────────────────


def test_each_wait_is_the_last_one_times_the_multiplier() -> None:
    retry = Retry(count=3, delay_ms=1000, backoff_multiplier=2.0)
    assert [retry_delay_ms(retry, attempt=n, chance=0.5) for n in (1, 2, 3)] == [1000, 2000, 4000]


def test_jitter_spreads_a_wait_from_eight_to_twelve_tenths() -> None:
    retry = Retry(count=1, delay_ms=1000, jitter=True)
    spread = [retry_delay_ms(retry, attempt=1, chance=chance) for chance in (0.0, 0.5, 0.999999)]
    assert spread == [800, 1000, 1199]


def test_a_wait_is_never_longer_than_its_limit() -> None:
    retry = Retry(count=9, delay_ms=1000, backoff_multiplier=10.0, max_delay_ms=5000)
    assert retry_delay_ms(retry, attempt=4, chance=0.5) == 5000


def test_a_wait_beyond_all_numbers_is_the_longest_there_is() -> None:
    retry = Retry(count=1000, delay_ms=1, backoff_multiplier=1e300)
    assert retry_delay_ms(retry, attempt=900, chance=0.5) == RETRY_DELAY_MS_MAX


def test_without_a_delay_there_is_no_wait() -> None:
    assert retry_delay_ms(Retry(count=9, backoff_multiplier=1e300), attempt=900, chance=0.5) == 0
