"""The bookkeeping of a play: what each event changes."""

from datetime import timedelta

from libs.common.messages import play as m
from libs.common.messages.flow import Retry
from libs.expressions import StepView
from services.executor import steps
from services.executor.play import Play, fold
from tests.builders import AT, a_layer, a_plan, a_start, an_approval
from tests.spec import FAILED, Scene, given


def a_scene() -> Scene:
    return given(a_plan(a_layer("a", app_id="touch", retry=Retry(2)), a_layer("b", needs_approval=True)))


def test_the_empty_play_has_not_begun() -> None:
    assert not Play().begun
    assert not Play().ended


def test_a_history_folds_to_the_state_it_was_written_in() -> None:
    scene = a_scene().started(args={"n": 1}).running("a").ended("a").waiting("b", "approval").parked()
    scene.send(an_approval("b"), id="approve")
    scene.ended("b").follow()
    folded = fold(scene.commits)
    folded.cursor = scene.play.cursor  # derived, not in the log
    assert folded == scene.play
    assert folded.status == "DONE"


def test_a_play_knows_every_command_that_was_applied() -> None:
    scene = a_scene().started()
    scene.send(m.CancelPlay(at=AT), id="cancel")
    assert list(scene.play.applied) == ["start", "cancel"]


def test_later_steps_see_output_state_and_error_of_an_earlier_one() -> None:
    scene = a_scene().started().ended("a", steps.Done({"n": 1}, 7))
    assert scene.play.prev["a"] == StepView(out={"n": 1}, state="DONE")


def test_later_steps_see_how_an_approval_was_decided() -> None:
    scene = a_scene().started().waiting("b", "approval")
    scene.send(an_approval("b", note="fine"))
    scene.ended("b")
    assert scene.play.prev["b"].approval == {
        "decision": "approved", "note": "fine", "by": "somebody", "at": "2026-03-01T12:00:00Z",
    }  # fmt: skip


def test_a_retry_counts_the_failure_and_waits() -> None:
    scene = a_scene().started().running("a").ended("a", FAILED)
    run = scene.play.layers["a"]
    assert (run.state, run.waits_for, run.attempts, run.until) == ("WAIT", "retry", 1, AT)


def test_a_step_starts_when_it_first_started() -> None:
    scene = a_scene().started().running("a").ended("a", FAILED).later(5).running("a").ended("a")
    assert scene.play.layers["a"].started_at == AT


def test_a_play_that_goes_on_waits_for_nothing() -> None:
    scene = a_scene().started().waiting("b", "approval").parked("w1", until=AT + timedelta(seconds=9))
    assert (scene.play.wait_id, scene.play.wait_until) == ("w1", AT + timedelta(seconds=9))
    scene.send(an_approval("b"))
    assert (scene.play.status, scene.play.wait_id, scene.play.wait_until) == ("RUN", "", None)


def test_takeovers_are_counted_until_there_is_progress() -> None:
    scene = a_scene().started()
    scene.send(a_start(), id="start", sequence=1, delivery=2)
    scene.send(a_start(), id="start", sequence=1, delivery=3)
    assert scene.play.resumes == 2
    assert scene.running("a").play.resumes == 0
