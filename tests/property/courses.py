"""Plays drawn by Hypothesis: of any flow, through any course of commands, steps, children and time."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from libs.common.messages import play as m
from libs.common.messages.approval import Approval
from libs.common.messages.flow import Execution, Layer, Retry
from services.executor import steps
from services.executor.play import run_of
from services.executor.play_outcomes import gated
from tests.builders import a_layer, a_plan, a_start, an_approval
from tests.spec import FAILED, Scene

LAWS = settings(max_examples=100)
REFS = ("a", "b", "c", "d")
# The choices with which a step with effects calls another play.
CALLS = (2, 4)
COMMANDS = ("cancel", "approve", "revive", "hold", "lift", "carry")


@st.composite
def layers(draw: st.DrawFn) -> tuple[Layer, ...]:
    made = draw(steps_of_a_flow())
    if draw(st.booleans()):
        made = (*made, a_layer("loop", app_id="iterator", index=draw(st.integers(-1, 1))))
    if draw(st.booleans()) and made:
        made = (*made, a_layer("inner", app_id="iterator", index=draw(st.integers(0, 1))))
    if draw(st.booleans()) and made:
        sources = draw(st.lists(st.sampled_from([layer.ref for layer in made]), min_size=1, max_size=2))
        index = draw(st.integers(1, 4))
        made = (*made, a_layer("all", app_id="aggregator", index=index, args={"sourceRef": sources}))
    return made


@st.composite
def steps_of_a_flow(draw: st.DrawFn) -> tuple[Layer, ...]:
    return tuple(
        a_layer(
            ref,
            app_id=draw(st.sampled_from(("note", "touch"))),
            index=draw(st.integers(0, 2)),
            needs_approval=draw(st.sampled_from((False, False, True))),
            approval=draw(st.sampled_from((None, None, Approval(count=2), Approval(timeout=30)))),
            on_error=draw(st.sampled_from(("fail", "continue", "skip"))),
            retry=draw(st.sampled_from((None, Retry(2, 1000)))),
            filters=draw(st.sampled_from(((), (), _looks_at("a")))),
        )
        for ref in REFS[: draw(st.integers(0, len(REFS)))]
    )


def _looks_at(ref: str) -> tuple[dict[str, str], ...]:
    return ({"leftValue": f"{{{{ $prev.{ref}.state }}}}", "operator": "eq", "rightValue": "FAIL"},)


plans = st.builds(
    lambda made, timeout: a_plan(*made, execution=Execution(timeout=timeout)),
    layers(),
    st.sampled_from((0, 0, 60)),
)
moves = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("follow", "run", "run", "run", "later", "park", "cancel", "approve", "revive", "again"),
                *("follow", "run", "approve", "hold", "lift", "retry", "retry", "child", "child", "carry"),
                *(
                    "follow",
                    "follow",
                    "run",
                    "run",
                    "run",
                    "run",
                    "run",
                    "run",
                    "approve",
                    "approve",
                    "lift",
                    "lift",
                ),
            )
        ),
        st.integers(0, 5),
    ),
    # Hypothesis draws short lists, and in a few moves nothing comes to its end.
    min_size=12,
    max_size=60,
)


def play(plan: Any, course: list[tuple[str, int]]) -> Scene:
    """Let a play of this plan go through these moves, as far as they are possible when their turn comes."""
    scene = Scene(plan).started()
    for number, (move, choice) in enumerate(course):
        if not scene.play.ended:
            _make(scene, move, choice, f"command-{number}")
        elif move == "retry" and scene.play.status == "FAIL":
            scene.retry(f"command-{number}", sequence=700 + number)
    return scene


def _make(scene: Scene, move: str, choice: int, id: str) -> None:
    match move:
        case "follow":
            follow(scene)
        case "run":
            run_step(scene, choice)
        case "later":
            scene.later(choice * 10)
        case "park":
            _park(scene, id)
        case "retry":
            assert scene.retry(id, sequence=700 + choice).action in {"ack", "leave"}
        case "again":
            driver = scene.play.driver
            assert driver is not None
            scene.send(a_start(), id="start", sequence=driver.sequence, delivery=driver.delivery + choice)
        case "child":
            end_child(scene, choice, id)
        case _:
            sequence = 100 * (1 + COMMANDS.index(move)) + choice
            scene.send(_command(scene, move, choice), id=id, sequence=sequence)


def _command(scene: Scene, move: str, choice: int) -> m.PlayCommand:
    match move:
        case "cancel":
            return m.CancelPlay(at=scene.now)
        case "approve":
            decision: m.Decision = "declined" if choice == 0 else "approved"
            gates = [ref for ref, run in scene.play.layers.items() if run.waits_for == "approval"] or REFS
            ref = gates[choice % len(gates)]
            return an_approval(ref, decision, at=scene.now, by=f"person {choice}")
        case "hold":
            return m.HoldPlay(at=scene.now)
        case "lift":
            return m.ResumePlay(at=scene.now)
        case "carry":
            return m.CarryOverPlay(at=scene.now)
        case _:
            return m.RevivePlay(at=scene.now)


def end_child(scene: Scene, choice: int, id: str) -> None:
    """Let a play that a step waits for, or waited for, have ended."""
    open_ones = [child_id for child_id, child in scene.play.children.items() if child.state is None]
    if not open_ones:
        return
    state: m.PlayState = ("DONE", "DONE", "FAIL")[choice % 3]
    ended = m.ChildEnded(
        at=scene.now, child_play_id=open_ones[choice % len(open_ones)], state=state, out={"n": choice}
    )
    scene.send(ended, id=id, sequence=850 + choice)


def follow(scene: Scene) -> None:
    if scene.play.status == "RUN":
        scene.follow()


def _park(scene: Scene, id: str) -> None:
    if scene.play.status != "RUN":
        return
    todo = scene.look()
    if todo.held and not todo.ready:
        scene.commit((m.PlayHeld(at=scene.now),))
    elif not todo.held and not todo.ended:
        scene.parked(id, until=todo.until)


def run_step(scene: Scene, choice: int) -> None:
    ready = scene.look().ready
    if scene.play.status != "RUN" or not ready:
        return
    step = ready[choice % len(ready)]
    run = run_of(scene.play, step.ref, step.iteration)
    if step.broken is not None:
        scene.ended(step.ref, steps.Failed(step.broken, "MODULE_ERROR", final=True), at=step.iteration)
    elif step.layer.needs_approval and (run is None or run.state == "NEW") and not (run and run.approval):
        scene.commit((gated(step, scene.now),))
    elif step.layer.app_id == "iterator":
        scene.ended(step.ref, steps.Iterates(list(range(choice)), 1 + choice % 3, 2), at=step.iteration)
    else:
        done = steps.Done({"n": choice}, 7)
        outcome: steps.Outcome = (done, FAILED, done, steps.Skipped(), done, steps.Waits(5_000, 1))[choice]
        if choice in CALLS and not step.pure:
            child = m.ChildPlay(
                flow_id="g", play_id=f"child-{len(scene.commits)}", definition=2, flow_version=1
            )
            outcome = steps.Calls(child, {"n": choice}, 20)
        scene.ended(step.ref, outcome, at=step.iteration)
