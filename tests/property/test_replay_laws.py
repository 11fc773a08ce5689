"""Laws of what a replay takes over: it sees of the steps before it what the play saw that it repeats."""

from hypothesis import given
from hypothesis import strategies as st

from libs.common.messages import play as m
from services.executor import steps
from services.executor.plan import Plan
from services.executor.play import Play
from services.executor.play_levels import collected_at
from services.executor.reuse import first_group, missing, taken_over
from tests.builders import AT, a_layer, a_plan
from tests.property.courses import LAWS, moves, plans, play
from tests.spec import Scene

choices = st.integers(0, 20)


def repeated(plan: Plan, course: list[tuple[str, int]]) -> Play:
    """Return a play to repeat, which has come as far as it comes by itself."""
    scene = play(plan, course)
    return scene.settled().play if scene.play.status == "RUN" else scene.play


def replays(source: Play, plan: Plan) -> list[tuple[m.Replay, list[m.PlayEvent]]]:
    """Return the replays of a play that take something over, and all that each of them takes over."""
    found = []
    for ref in plan.steps:
        replay = m.Replay(play_id="source", sequence=1, from_ref=ref)
        before = missing(Scene(plan).started(replay=replay).play, plan)
        events = [list(taken_over(source, step, AT)) for step in before]
        if events and all(events):
            found.append((replay, [event for each in events for event in each]))
    return found


@LAWS
@given(plans, moves)
def test_an_aggregator_gathers_what_it_gathers_in_the_play_that_is_repeated(
    plan: Plan, course: list[tuple[str, int]]
) -> None:
    source = repeated(plan, course)
    for replay, events in replays(source, plan):
        again = Scene(plan).started(replay=replay)
        again.commit(tuple(events))
        assert missing(again.play, plan) == []
        first = first_group(plan, replay.from_ref)
        for step in plan.steps.values():
            sources = step.place.sources
            if not step.place.loops and all(
                plan.steps[key.partition(".")[0]].group < first for key in sources
            ):
                assert collected_at(again.play, (), sources) == collected_at(source, (), sources)


@LAWS
@given(plans, moves, choices)
def test_a_take_over_that_breaks_off_goes_on_to_the_same_end(
    plan: Plan, course: list[tuple[str, int]], cut: int
) -> None:
    source = repeated(plan, course)
    for replay, events in replays(source, plan):
        whole, broken = Scene(plan).started(replay=replay), Scene(plan).started(replay=replay)
        whole.commit(tuple(events))
        broken.commit(tuple(events[: cut % len(events)]))
        rest = [list(taken_over(source, step, AT)) for step in missing(broken.play, plan)]
        broken.commit(tuple(event for each in rest for event in each))
        assert broken.play == whole.play


def test_a_loop_that_is_taken_over_brings_what_it_gathered() -> None:
    sources = {"sourceRef": "b"}
    plan = a_plan(
        a_layer("it", app_id="iterator"),
        a_layer("b", index=1),
        a_layer("all", app_id="aggregator", index=2, args=sources),
        a_layer("later", app_id="aggregator", index=3, args=sources),
    )
    scene = Scene(plan).started().ended("it", steps.Iterates(["x", "y"], 1, 8))
    for index in range(2):
        scene.ended("b", steps.Done({"n": index}, 7), at=(index,)).follow()
    source = scene.settled().play
    found = {replay.from_ref: events for replay, events in replays(source, plan)}
    assert found.keys() == {"all", "later"}
    collected = [event for event in found["later"] if isinstance(event, m.LayerCollected)]
    assert [(event.ref, event.key, event.items) for event in collected] == [("it", "b", [{"n": 0}, {"n": 1}])]


@LAWS
@given(plans, moves, choices)
def test_a_play_that_has_begun_by_itself_takes_nothing_over_any_more(
    plan: Plan, course: list[tuple[str, int]], choice: int
) -> None:
    scene = play(plan, course)
    if not plan.steps:
        return
    ref = list(plan.steps)[choice % len(plan.steps)]
    scene.play.replay = m.Replay(play_id="source", sequence=1, from_ref=ref)
    before = {step.ref for group in plan.groups[: first_group(plan, ref)] for step in group}
    begun = {ref for ref, run in scene.play.layers.items() if run.state != "NEW"}
    if begun & before:
        assert missing(scene.play, plan) == []
