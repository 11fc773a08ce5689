"""Worlds written by hand of plays that wait: for other plays, and for a slot."""

from typing import Any

import msgspec
import pytest

from libs.common.messages import play as m
from libs.common.messages.flow import Execution, Layer, Retry
from tests.builders import a_flow, a_layer
from tests.simulation.flows import COMPANY
from tests.simulation.plans import Plan
from tests.simulation.test_stories import a_touch, resumes, the_flow, the_play
from tests.simulation.truth import Truth
from tests.simulation.world import World

pytestmark = pytest.mark.usefixtures("quiet_log")


# ── child plays ─────────────────────────────────────────────────────────────────────────────────────

CHILD = f"{1:024x}"


def with_child(
    *steps: Layer, calls: dict[str, Any] | None = None, layer: dict[str, Any] | None = None, **plan: Any
) -> World:
    parent = the_flow(
        a_layer("call", app_id="subflow", args={"flowId": CHILD, **(calls or {})}, **(layer or {})),
        a_layer("after", index=1, args={"value": "{{ $prev.call.out.value }}"}),
    )
    child = a_flow(*steps, id=CHILD, company_id=COMPANY)
    return World(1, Plan(flows=[parent], subflows=[child], starts=[(0.0, 0, 1)], **plan)).run()


def the_child(world: World) -> Truth:
    return next(truth for play_id, truth in world.laws.plays.items() if play_id != "p0")


def test_a_short_child_is_waited_for_in_memory() -> None:
    world = with_child(a_layer("a", args={"value": 7}))
    assert the_play(world).play.layers["after"].out == {"value": 7, "ref": "after"}
    assert resumes(world) == []
    assert the_child(world).play.trigger == "subflow"


def test_a_long_child_costs_its_parent_nothing() -> None:
    world = with_child(a_touch(ms=30_000))
    assert the_play(world).play.status == "DONE"
    assert [event.reason for event in resumes(world)] == ["child"]


def test_a_child_that_fails_fails_its_step_and_a_retry_starts_another() -> None:
    world = with_child(a_touch(fails=9), layer={"retry": Retry(count=1, delay_ms=10)})
    run = the_play(world).play.layers["call"]
    assert (run.state, run.out["state"]) == ("FAIL", "FAIL")
    assert len(world.laws.plays) == 3


def test_a_child_out_of_time_is_cancelled() -> None:
    world = with_child(a_touch(hangs=True), calls={"timeout": 5})
    run = the_play(world).play.layers["call"]
    assert (run.state, run.error_code) == ("FAIL", "TIMEOUT")
    assert the_child(world).play.error_code == "CANCELLED"


def test_a_cancel_reaches_the_child() -> None:
    world = with_child(a_touch(hangs=True), cancels=[(8.0, 0)])
    assert the_play(world).play.error_code == "CANCELLED"
    assert the_child(world).play.error_code == "CANCELLED"


def test_a_child_nobody_waits_for_goes_its_own_way() -> None:
    world = with_child(a_touch(ms=5_000), calls={"async": True})
    assert the_play(world).play.layers["call"].out["state"] == "RUN"
    assert the_child(world).play.status == "DONE"


# ── slots ───────────────────────────────────────────────────────────────────────────────────────────


def limited(*steps: Layer, plays: int, slots: int, **plan: Any) -> World:
    flow = msgspec.structs.replace(the_flow(*steps), execution=Execution(max_concurrent=slots))
    starts = [(0.01 * n, n, 1) for n in range(plays)]
    return World(1, Plan(flows=[flow] * plays, starts=starts, **plan)).run()


def order_of_starts(world: World) -> list[str]:
    began = {
        truth.key.play_id: commit.sequence
        for truth in world.laws.plays.values()
        for commit in truth.commits
        if any(isinstance(event, m.PlayStarted) for event in commit.events)
    }
    return sorted(began, key=lambda play_id: began[play_id])


def test_plays_above_the_limit_wait_and_start_in_order() -> None:
    world = limited(a_touch(ms=3_000), plays=4, slots=1)
    assert order_of_starts(world) == ["p0", "p1", "p2", "p3"]
    assert world.laws.lines.queued == 3
    assert all(truth.play.status == "DONE" for truth in world.laws.plays.values())


def test_a_cancelled_play_in_line_leaves_it_without_having_started() -> None:
    world = limited(a_touch(ms=6_000), plays=3, slots=1, cancels=[(2.0, 1)])
    waiting = world.laws.plays["p1"].play
    assert (waiting.error_code, waiting.started_at) == ("CANCELLED", None)
    assert order_of_starts(world) == ["p0", "p2"]


def test_slots_are_free_after_the_executors_were_lost() -> None:
    world = limited(
        a_touch(ms=4_000), plays=4, slots=2, executors=3, crashes=[(1.0, 0, 5), (2.0, 1, 5), (8.0, 2, 5)]
    )
    assert all(truth.play.status == "DONE" for truth in world.laws.plays.values())
