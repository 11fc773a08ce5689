"""Laws of the decider: whatever comes in whatever order, a play keeps its word."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.messages import play as m
from services.executor import steps
from services.executor.play import Play, evolve, evolve_commit, fold, run_of
from services.executor.play_commands import ACK, LEAVE
from services.executor.play_duties import duties, has_duties
from services.executor.play_levels import collected_at, runs
from tests.builders import AT, a_layer, a_plan, a_start, an_approval
from tests.property.courses import LAWS, REFS, end_child, follow, moves, plans, play, run_step
from tests.spec import Scene, names, without_memory


@LAWS
@given(plans, moves)
def test_every_prefix_of_a_history_folds(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    epochs = [fold(scene.commits[:length]).epoch for length in range(len(scene.commits) + 1)]
    assert epochs == sorted(epochs)


@LAWS
@given(plans, moves)
def test_no_state_with_duties_is_taken_for_one_without(plan: Any, course: list[tuple[str, int]]) -> None:
    # The cheap question that each commit asks must never spare the work.
    twin = Play()
    for commit in play(plan, course).commits:
        evolve_commit(twin, commit)
        assert has_duties(twin) or not duties(twin, plan, play_id="p")


@LAWS
@given(plans, moves)
def test_live_is_replay(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    assert without_memory(fold(scene.commits)) == without_memory(scene.play)


@LAWS
@given(plans, moves)
def test_each_step_ends_once_and_only_a_retry_follows_the_end(
    plan: Any, course: list[tuple[str, int]]
) -> None:
    ended: set[tuple[str, tuple[int, ...]]] = set()
    over = False
    for event in (event for commit in play(plan, course).commits for event in commit.events):
        assert isinstance(event, m.PlayRetried) == over
        if isinstance(event, m.PlayRetried):
            ended = {(ref, item) for ref, item in ended if not item and ref not in event.refs}
        if isinstance(event, m.LayerCompleted | m.LayerFailed):
            assert (event.ref, event.iteration) not in ended
            ended.add((event.ref, event.iteration))
        over = isinstance(event, m.PlayCompleted | m.PlayFailed)


@LAWS
@given(plans, moves)
def test_a_held_play_begins_nothing(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    twin = Play()
    for commit in scene.commits:
        ends = isinstance(commit.events[-1], m.PlayFailed)
        for event in commit.events:
            begins = isinstance(event, m.LayerStarted | m.LayerWaiting | m.LayerIterating)
            assert ends or not begins or twin.hold is None
            assert not isinstance(event, m.PlayResumed) or twin.hold is None or event.reason != "wake"
            evolve(twin, event)


@LAWS
@given(plans, moves)
def test_a_step_is_decided_once_and_by_as_many_different_people_as_it_takes(
    plan: Any, course: list[tuple[str, int]]
) -> None:
    scene = play(plan, course)
    twin = Play()
    for event in (event for commit in scene.commits for event in commit.events):
        if isinstance(event, m.ApprovalDecided):
            run = run_of(twin, event.ref, event.iteration)
            assert run is not None
            assert run.approval is None
            by = [vote.by for vote in event.gate.votes] if event.gate is not None else [event.by]
            assert len(by) == len(set(by))
            rules = plan.steps[event.ref].layer.approval
            if event.by and event.decision == "approved" and rules is not None:
                assert len(by) == rules.count
        evolve(twin, event)


@LAWS
@given(plans, moves)
def test_every_item_that_began_ends_once_and_before_its_iterator(
    plan: Any, course: list[tuple[str, int]]
) -> None:
    events = [event for commit in play(plan, course).commits for event in commit.events]
    over: set[tuple[str, tuple[int, ...]]] = set()
    for event in events:
        if isinstance(event, m.PlayRetried):
            over = set()
        if not isinstance(event, m.LayerEvent):
            continue
        around = plan.steps[event.ref].place.loops[-len(event.iteration) :] if event.iteration else ()
        item = (event.ref if isinstance(event, m.ItemEnded) else (around or ("",))[-1], event.iteration)
        assert item not in over
        if isinstance(event, m.ItemEnded):
            over.add(item)


@LAWS
@given(st.lists(st.booleans(), max_size=6), st.integers(1, 3), st.lists(st.integers(0, 5), max_size=6))
def test_an_aggregator_gathers_what_the_items_put_out_in_their_order(
    puts_out: list[bool], at_once: int, order: list[int]
) -> None:
    loop = a_layer("loop", app_id="iterator", index=1)
    gatherer = a_layer("all", app_id="aggregator", index=3, args={"sourceRef": "body"})
    scene = Scene(a_plan(loop, a_layer("body", index=2), gatherer)).started()
    scene.ended("loop", steps.Iterates(puts_out, at_once, 2))
    chosen = iter(order)
    while (todo := scene.follow()).events or todo.ready[0].ref == "body":
        if todo.ready:
            step = todo.ready[next(chosen, 0) % len(todo.ready)]
            (item,) = step.iteration
            outcome = steps.Done({"n": item}, 7) if puts_out[item] else steps.Skipped()
            scene.ended("body", outcome, at=(item,))
    assert [step.ref for step in scene.look().ready] == ["all"]
    assert collected_at(scene.play, (), ("body",)) == [
        {"n": item} for item, has_put_out in enumerate(puts_out) if has_put_out
    ]


@LAWS
@given(plans, moves)
def test_an_ended_play_absorbs_everything(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, [*course, ("cancel", 0), ("follow", 0)])
    assert scene.play.ended
    commands = (
        m.CancelPlay(at=AT),
        m.RevivePlay(at=AT),
        m.RevivePlay(at=AT, epoch=1),
        a_start(),
        an_approval("a"),
        m.HoldPlay(at=AT),
        m.ResumePlay(at=AT),
        m.RetryPlay(at=AT, after=1),
        m.WakePlay(at=AT, wait_id=scene.play.wait_id),
    )
    assert {scene.receive(command, delivery=9) for command in commands} == {ACK}


@LAWS
@given(plans, moves)
def test_a_command_that_was_applied_changes_nothing(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    commands = (
        *(m.CancelPlay(at=AT), m.HoldPlay(at=AT), m.ResumePlay(at=AT), an_approval("a"), an_approval("b")),
        m.WakePlay(at=AT, wait_id=scene.play.wait_id),
        m.RetryPlay(at=AT, after=1),
    )
    again = {
        scene.receive(command, id=id, sequence=900, restarts=("a",)).action
        for id in scene.play.applied
        for command in commands
    }
    assert again == {"ack"}


@LAWS
@given(plans, moves)
def test_a_command_whose_time_is_over_changes_nothing(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    held = scene.play.hold is not None
    stale = [
        m.HoldPlay(at=AT) if held else m.ResumePlay(at=AT),
        m.WakePlay(at=AT, wait_id="of another wait"),
        m.RetryPlay(at=AT, after=1),
        m.ChildEnded(at=AT, child_play_id="nobody", state="DONE"),
        *(
            m.ChildEnded(at=AT, child_play_id=child_id, state="DONE")
            for child_id, child in scene.play.children.items()
            if child.state is not None
        ),
    ]
    voted = [
        an_approval(run.layer_id, by=vote.by, iteration=iteration)
        for _, iteration, run in runs(scene.play)
        if run.gate is not None and run.approval is None
        for vote in run.gate.votes
    ]
    assert {scene.receive(command, sequence=900) for command in (*stale, *voted)} == {ACK}


@LAWS
@given(plans, moves)
def test_only_a_retry_that_names_the_end_begins_it_anew(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, [*course, ("lift", 0), ("cancel", 0), ("follow", 0)])
    assert scene.play.ended
    if scene.play.status != "FAIL":
        assert scene.retry("again", sequence=800) == ACK
        return
    number = scene.play.retries
    assert scene.retry("again", sequence=800).action == "drive"
    assert (scene.play.status, scene.play.retries) == ("RUN", number + 1)
    assert scene.retry("other", sequence=801) == ACK


@LAWS
@given(plans, moves, st.integers(-3, 0))
def test_a_stale_delivery_of_the_driving_command_is_left_alone(
    plan: Any, course: list[tuple[str, int]], older: int
) -> None:
    scene = play(plan, course)
    driver = scene.play.driver
    assert driver is not None
    received = scene.receive(
        a_start(), id="start", sequence=driver.sequence, delivery=driver.delivery + older
    )
    assert received == (LEAVE if scene.play.status == "RUN" else ACK)


@LAWS
@given(plans, moves)
def test_the_same_history_is_the_same_decision(plan: Any, course: list[tuple[str, int]]) -> None:
    scene, twin = play(plan, course), play(plan, course)
    assert scene.commits == twin.commits
    assert scene.play.ended or scene.look() == twin.look()


@LAWS
@given(plans, moves)
def test_whoever_takes_a_play_raises_its_epoch(plan: Any, course: list[tuple[str, int]]) -> None:
    scene = play(plan, course)
    events = [event for commit in scene.commits for event in commit.events]
    drivers = [
        event.epoch for event in events if isinstance(event, m.PlayStarted | m.PlayResumed | m.PlayRetried)
    ]
    assert drivers == list(range(1, len(drivers) + 1))


@LAWS
@given(plans, moves)
def test_every_play_ends_when_all_its_steps_run_and_all_approvals_are_given(
    plan: Any, course: list[tuple[str, int]]
) -> None:
    scene = play(plan, course)
    for number in range(400):
        if scene.play.ended:
            break
        scene.send(m.ResumePlay(at=scene.now), id=f"lift-{number}", sequence=9_000 + number)
        if scene.play.status == "WAIT":
            scene.send(
                m.WakePlay(at=scene.now, wait_id=scene.play.wait_id),
                id=f"wake-{number}",
                sequence=400 + number,
            )
        end_child(scene, 0, f"child-{number}")
        for ref in REFS:
            for again in range(9):
                id = f"final-{number}-{ref}-{again}"
                command = an_approval(ref, at=scene.now, by=f"late {again}")
                scene.send(command, id=id, sequence=500 + 9 * number)
        scene.now += timedelta(seconds=10)
        follow(scene)
        run_step(scene, 0)
    assert scene.play.ended, names(scene.commits[-1].events)
