"""What follows by itself: order, waits, failures and ends (spec flow8 sections 9 to 12)."""

from datetime import timedelta

import pytest

from libs.common.messages import play as m
from libs.common.messages.flow import Execution, Layer, OnError, Retry
from services.executor import steps
from services.executor.plan import Plan
from services.executor.play_outcomes import skipped
from tests.builders import AT, a_layer, a_plan, an_approval
from tests.spec import FAILED, Scene, given, names


def looks_at(ref: str, state: str = "FAIL") -> tuple[dict[str, str], ...]:
    return ({"leftValue": f"{{{{ $prev.{ref}.state }}}}", "operator": "eq", "rightValue": state},)


def ready(scene: Scene) -> list[str]:
    return [step.ref for step in scene.look().ready]


def states(scene: Scene) -> dict[str, str]:
    return {ref: run.state for ref, run in scene.play.layers.items()}


def end_of(scene: Scene) -> m.PlayCompleted | m.PlayFailed:
    event = scene.commits[-1].events[-1]
    assert isinstance(event, m.PlayCompleted | m.PlayFailed)
    return event


# ── groups ──────────────────────────────────────────────────────────────────────────────────────────


def test_steps_of_one_index_are_ready_together() -> None:
    scene = given(a_plan(a_layer("a"), a_layer("b"), a_layer("c", index=1))).started()
    assert ready(scene) == ["a", "b"]


def test_the_next_group_waits_for_the_whole_group() -> None:
    scene = given(a_plan(a_layer("a"), a_layer("b"), a_layer("c", index=1))).started().ended("a")
    assert ready(scene) == ["b"]
    assert ready(scene.ended("b")) == ["c"]


def test_groups_run_by_index_whatever_their_place_in_the_list() -> None:
    scene = given(a_plan(a_layer("late", index=7), a_layer("early", index=-1))).started()
    assert ready(scene) == ["early"]


def test_a_running_step_stays_ready_for_its_driver_to_know() -> None:
    scene = given(a_plan(a_layer("a", app_id="touch"))).started().running("a")
    assert ready(scene) == ["a"]


# ── failures ────────────────────────────────────────────────────────────────────────────────────────


def test_siblings_of_a_failed_step_finish_before_anything_follows() -> None:
    scene = given(a_plan(a_layer("a"), a_layer("b"), a_layer("c", index=1))).started().ended("a", FAILED)
    assert ready(scene) == ["b"]
    assert scene.look().events == []


def test_after_a_failure_only_steps_that_look_at_it_run() -> None:
    handler = a_layer("handler", index=1, filters=looks_at("a"))
    scene = given(a_plan(a_layer("a"), handler, a_layer("c", index=1))).started().ended("a", FAILED)
    todo = scene.follow()
    assert [step.ref for step in todo.ready] == ["handler"]
    assert states(scene)["c"] == "SKIP"


def test_a_handled_failure_still_fails_the_play() -> None:
    handler = a_layer("handler", index=1, filters=looks_at("a"))
    scene = given(a_plan(a_layer("a"), handler)).started().ended("a", FAILED).settled()
    assert states(scene) == {"a": "FAIL", "handler": "DONE"}
    assert scene.play.status == "FAIL"


def test_the_plays_failure_names_the_step_and_its_error() -> None:
    scene = given(a_plan(a_layer("a"), a_layer("b", index=1))).started().ended("a", FAILED).settled()
    end = end_of(scene)
    assert isinstance(end, m.PlayFailed)
    assert (end.ref, end.layer_id, end.error, end.error_code) == ("a", "id-a", "it broke", "MODULE_ERROR")


def test_a_handler_of_another_step_does_not_run() -> None:
    layers = (a_layer("a"), a_layer("b"), a_layer("h", index=1, filters=looks_at("b")))
    scene = given(a_plan(*layers)).started().ended("a", FAILED).ended("b").settled()
    assert states(scene)["h"] == "SKIP"


def test_a_step_that_may_fail_stops_nothing() -> None:
    layers = (a_layer("a", on_error="continue"), a_layer("b", index=1))
    scene = given(a_plan(*layers)).started().ended("a", FAILED).settled()
    assert states(scene) == {"a": "FAIL", "b": "DONE"}
    assert scene.play.status == "DONE"


def test_a_step_that_is_skipped_on_failure_keeps_its_error() -> None:
    scene = given(a_plan(a_layer("a", on_error="skip"), a_layer("b", index=1))).started().ended("a", FAILED)
    run = scene.play.layers["a"]
    assert (run.state, run.error, run.error_code) == ("SKIP", "it broke", "MODULE_ERROR")
    assert scene.settled().play.status == "DONE"


# ── waits ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_delay_ends_by_itself_when_its_time_has_come() -> None:
    until = AT + timedelta(seconds=5)
    scene = given(a_plan(a_layer("a"))).started().waiting("a", "delay", until=until)
    assert scene.look().until == until
    assert not scene.look().events
    assert names(scene.later(5).follow().events) == ["LayerCompleted"]


def test_the_earliest_of_several_waits_is_the_next_look() -> None:
    scene = given(a_plan(a_layer("a"), a_layer("b"))).started()
    scene.waiting("a", "delay", until=AT + timedelta(seconds=9))
    scene.waiting("b", "defer", until=AT + timedelta(seconds=3))
    assert scene.look().until == AT + timedelta(seconds=3)
    assert ready(scene.later(3)) == ["b"]


def test_an_approved_step_runs() -> None:
    scene = given(a_plan(a_layer("a", needs_approval=True))).started().waiting("a", "approval")
    assert ready(scene) == []
    scene.send(an_approval("a"))
    assert ready(scene) == ["a"]


def test_a_declined_step_fails_and_is_never_retried() -> None:
    layer = a_layer("a", needs_approval=True, retry=Retry(3))
    scene = given(a_plan(layer)).started().waiting("a", "approval")
    scene.send(an_approval("a", "declined", note="not today"))
    scene.settled()
    end = end_of(scene)
    assert isinstance(end, m.PlayFailed)
    assert (end.error, end.error_code) == ("approval declined: not today", "APPROVAL_DECLINED")


@pytest.mark.parametrize(("on_error", "status"), [("continue", "DONE"), ("skip", "SKIP"), ("fail", "FAIL")])
def test_what_a_declined_step_does_to_its_play_is_up_to_its_on_error(on_error: OnError, status: str) -> None:
    scene = given(a_plan(a_layer("a", needs_approval=True, on_error=on_error))).started()
    scene.waiting("a", "approval").send(an_approval("a", "declined"))
    assert scene.settled().play.status == status


# ── the end ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_flow_without_steps_is_done() -> None:
    assert given(a_plan()).started().settled().play.status == "DONE"


MIXES = [
    (("DONE",), "DONE"),
    (("DONE", "SKIP", "FILTERED"), "DONE"),
    (("FILTERED", "FILTERED"), "FILTERED"),
    (("SKIP", "FILTERED"), "SKIP"),
    (("SKIP", "SKIP"), "SKIP"),
    (("DONE", "FAIL"), "FAIL"),
    (("SKIP", "FAIL"), "FAIL"),
]


@pytest.mark.parametrize(
    ("mix", "status"), MIXES, ids=lambda value: "+".join(value) if isinstance(value, tuple) else value
)
def test_the_plays_state_follows_from_its_steps(mix: tuple[str, ...], status: str) -> None:
    scene = given(a_plan(*(a_layer(f"s{n}") for n in range(len(mix))))).started()
    for n, state in enumerate(mix):
        _end_in(scene, f"s{n}", state)
    assert scene.settled().play.status == status


def _end_in(scene: Scene, ref: str, state: str) -> None:
    match state:
        case "DONE":
            scene.ended(ref)
        case "SKIP":
            scene.ended(ref, steps.Skipped())
        case "FILTERED":
            scene.commit((skipped(scene.plan.steps[ref], AT, state="FILTERED"),))
        case _:
            scene.ended(ref, FAILED)


def test_the_last_step_that_is_done_gives_the_flow_its_output() -> None:
    layers: list[Layer] = [a_layer("a"), a_layer("b", index=1), a_layer("c", index=1)]
    scene = given(a_plan(*layers)).started().ended("a", steps.Done({"n": 1}, 7))
    scene.ended("b", steps.Done({"n": 2}, 7)).ended("c", steps.Skipped()).settled()
    end = end_of(scene)
    assert isinstance(end, m.PlayCompleted)
    assert end.out == {"n": 2}


# ── cancel and timeout ──────────────────────────────────────────────────────────────────────────────


def a_timed_plan() -> Plan:
    return a_plan(a_layer("a", app_id="touch"), a_layer("b", index=1), execution=Execution(timeout=30))


def test_a_cancel_fails_what_runs_and_skips_what_has_not_run() -> None:
    scene = given(a_timed_plan()).started().running("a")
    scene.send(m.CancelPlay(at=AT, by="somebody"))
    todo = scene.follow()
    assert todo.ended
    assert states(scene) == {"a": "FAIL", "b": "SKIP"}
    end = end_of(scene)
    assert isinstance(end, m.PlayFailed)
    assert (end.error, end.error_code) == ("CANCELLED", "CANCELLED")


def test_a_cancel_counts_even_when_nothing_is_left_to_do() -> None:
    scene = given(a_plan(a_layer("a"))).started().ended("a")
    scene.send(m.CancelPlay(at=AT))
    assert scene.follow().ended
    assert scene.play.status == "FAIL"


def test_a_flow_that_runs_too_long_fails() -> None:
    scene = given(a_timed_plan()).started().running("a")
    assert scene.look().until == AT + timedelta(seconds=30)
    scene.later(30).follow()
    end = end_of(scene)
    assert isinstance(end, m.PlayFailed)
    assert end.error_code == "TIMEOUT"
    assert states(scene) == {"a": "FAIL", "b": "SKIP"}


def test_a_play_that_only_waits_for_a_decision_has_no_next_look() -> None:
    scene = given(a_plan(a_layer("a", needs_approval=True))).started().waiting("a", "approval")
    assert scene.look().until is None
