"""A loop over as many items as there may be: memory of one batch, and no look at a play looks at all of them."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from libs.common.messages import play as m
from services.executor import steps
from services.executor.modules.control import ITEMS_MAX
from services.executor.plan import Plan
from services.executor.play import Play, evolve
from services.executor.play_levels import runs
from services.executor.play_order import advance
from tests.builders import AT, a_layer, a_plan

# Tracing every allocation takes long; the structures of the longest loop are counted instead.
TRACED_ITEMS = 5_000
GROWTH_BYTES_MAX = 200_000


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def a_play(plan: Plan, items: list[Any], *, batch_size: int) -> Play:
    play = Play()
    started = m.PlayStarted(at=AT, definition=1, flow_version=1, driver=m.Driver(1, 1))
    outcome = steps.Iterates(items, batch_size, 0)
    for event in (started, steps.event_of(outcome, plan.steps["it"], play, AT)):
        evolve(play, event)
    return play


def looked_through(play: Play, plan: Plan) -> Iterator[tuple[int, int]]:
    """Drive a play to its end with pure steps; yield how much each look found, and how many steps are held."""
    while not play.ended:
        todo = advance(play, plan, AT)
        events = [*todo.events]
        for step in todo.ready:
            index = step.iteration[0] if step.iteration else 0
            events.append(steps.event_of(steps.Done({"n": index}, 9), step, play, AT))
        for event in events:
            evolve(play, event)
        yield len(events), sum(1 for _ in runs(play))


def test_the_longest_loop_holds_one_batch_and_what_it_gathers() -> None:
    gathers = a_layer("all", app_id="aggregator", index=2, args={"sourceRef": "b", "field": "n"})
    plan = a_plan(a_layer("it", app_id="iterator"), a_layer("b", index=1), gathers)
    play = a_play(plan, list(range(ITEMS_MAX)), batch_size=100)
    found_max = held_max = 0
    for found, held in looked_through(play, plan):
        found_max, held_max = max(found_max, found), max(held_max, held)
    assert (play.status, found_max, held_max) == ("DONE", 100, 100)
    assert play.collected == {"b.n": list(range(ITEMS_MAX))}


@pytest.mark.usefixtures("traced")
def test_a_loop_that_gathers_nothing_grows_no_memory() -> None:
    plan = a_plan(a_layer("it", app_id="iterator"), a_layer("b", index=1))
    play = a_play(plan, list(range(TRACED_ITEMS)), batch_size=10)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    assert max(held for _, held in looked_through(play, plan)) <= 10
    assert play.status == "DONE"
    assert tracemalloc.get_traced_memory()[1] - before < GROWTH_BYTES_MAX
