"""What a delivered command means: the table of design D5, row by row."""

from datetime import timedelta

from libs.common.messages import play as m
from services.executor.play_commands import ACK, LEAVE, RESUMES_WITHOUT_PROGRESS_MAX
from services.executor.play_duties import duties
from services.executor.play_outcomes import waiting
from tests.builders import AT, a_layer, a_plan, a_start, an_approval
from tests.spec import Scene, given, names

CANCEL = m.CancelPlay(at=AT, by="somebody")
REVIVE = m.RevivePlay(at=AT)


def a_scene() -> Scene:
    return given(a_plan(a_layer("a", app_id="touch"), a_layer("b", needs_approval=True)))


def a_parked_scene() -> Scene:
    until = AT + timedelta(seconds=60)
    return a_scene().started().waiting("a", "delay", until=until).waiting("b", "approval").parked(until=until)


# ── no history ──────────────────────────────────────────────────────────────────────────────────────


def test_a_start_begins_the_play_in_epoch_one() -> None:
    received = a_scene().receive(a_start(), sequence=7, delivery=2)
    assert received.action == "drive"
    assert [(e.epoch, e.driver) for e in received.events] == [(1, m.Driver(7, 2))]  # type: ignore[union-attr]


def test_a_cancel_that_overtook_its_start_decides_both_in_one_commit() -> None:
    received = a_scene().receive(CANCEL, start=a_start())
    assert received.action == "drive"
    assert names(received.events) == ["PlayStarted", "CancelRequested"]


def test_a_cancel_of_a_play_nobody_started_is_refused() -> None:
    assert a_scene().receive(CANCEL) == ACK


def test_nothing_can_be_approved_or_woken_or_revived_before_it_began() -> None:
    scene = a_scene()
    commands = (an_approval("b"), m.WakePlay(at=AT, wait_id="w1"), REVIVE)
    assert [scene.receive(command, start=a_start()) for command in commands] == [ACK, ACK, ACK]


# ── terminal ────────────────────────────────────────────────────────────────────────────────────────


def test_an_ended_play_takes_nothing_more_not_even_from_its_driving_command() -> None:
    scene = given(a_plan(a_layer("a"))).started().settled()
    assert scene.play.status == "DONE"
    assert scene.receive(a_start(), id="start", sequence=1, delivery=2) == ACK
    assert scene.receive(CANCEL) == ACK
    assert scene.receive(REVIVE) == ACK


# ── RUN, the driving command ────────────────────────────────────────────────────────────────────────


def test_the_driving_command_takes_over_with_a_higher_delivery_number() -> None:
    received = a_scene().started().receive(a_start(), id="start", sequence=1, delivery=2)
    assert received.action == "drive"
    assert received.events == (m.PlayResumed(at=AT, epoch=2, driver=m.Driver(1, 2), reason="redelivery"),)


def test_a_delivery_that_is_not_above_the_recorded_one_is_left_alone() -> None:
    scene = a_scene().started()
    scene.send(a_start(), id="start", sequence=1, delivery=3)
    assert scene.receive(a_start(), id="start", sequence=1, delivery=2) == LEAVE
    assert scene.receive(a_start(), id="start", sequence=1, delivery=3) == LEAVE


# ── RUN, another command ────────────────────────────────────────────────────────────────────────────


def test_a_cancel_of_a_running_play_is_recorded_redelivered_or_not() -> None:
    scene = a_scene().started()
    assert names(scene.receive(CANCEL, delivery=1).events) == ["CancelRequested"]
    assert scene.receive(CANCEL, delivery=4).action == "record"


def test_an_approval_of_a_running_play_is_recorded_when_its_step_waits() -> None:
    scene = a_scene().started().waiting("b", "approval")
    assert scene.receive(an_approval("b")).action == "record"
    assert scene.receive(an_approval("a")) == ACK


def test_an_approval_names_its_step_by_layer_id_or_by_ref() -> None:
    scene = a_scene().started().waiting("b", "approval")
    assert scene.receive(an_approval("b", layer_id="b")).action == "record"


def test_an_approval_is_decided_once() -> None:
    scene = a_scene().started().waiting("b", "approval")
    scene.send(an_approval("b"), id="first")
    assert scene.receive(an_approval("b", "declined"), id="second") == ACK


def test_a_command_whose_id_is_known_appends_nothing() -> None:
    scene = a_scene().started()
    scene.send(CANCEL, id="cancel")
    assert scene.receive(CANCEL, id="cancel", sequence=55) == ACK


def test_a_second_start_and_a_late_wake_are_acknowledged() -> None:
    scene = a_scene().started()
    assert scene.receive(a_start(), id="other") == ACK
    assert scene.receive(m.WakePlay(at=AT, wait_id="w1")) == ACK


# ── revive ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_revive_asks_for_the_driver_first() -> None:
    received = a_scene().started().receive(REVIVE, sequence=9)
    assert received.action == "ask_driver"
    assert received.events == (m.PlayResumed(at=AT, epoch=2, driver=m.Driver(9, 1), reason="revive"),)


def test_a_play_that_its_driver_hands_over_is_taken_without_asking() -> None:
    received = a_scene().started().receive(m.RevivePlay(at=AT, epoch=1), sequence=9)
    assert received.action == "drive"
    assert received.events == (m.PlayResumed(at=AT, epoch=2, driver=m.Driver(9, 1), reason="resume"),)


def test_a_hand_over_of_an_epoch_that_is_over_is_acknowledged() -> None:
    scene = a_scene().started()
    scene.send(m.RevivePlay(at=AT, epoch=1), id="first", sequence=8)
    assert scene.receive(m.RevivePlay(at=AT, epoch=1), id="second") == ACK


def test_a_parked_play_is_not_revived() -> None:
    assert a_parked_scene().receive(REVIVE) == ACK


# ── takeovers without progress ──────────────────────────────────────────────────────────────────────


def a_crash_loop(scene: Scene) -> Scene:
    for delivery in range(2, 2 + RESUMES_WITHOUT_PROGRESS_MAX):
        scene.send(a_start(), id="start", sequence=1, delivery=delivery)
    return scene


def test_a_step_that_loses_every_executor_fails() -> None:
    scene = a_crash_loop(a_scene().started().running("a"))
    received = scene.send(a_start(), id="start", sequence=1, delivery=9)
    assert names(received.events) == ["PlayResumed", "LayerFailed"]
    assert scene.play.layers["a"].error_code == "EXECUTOR_LOST"
    assert not scene.play.ended


def test_a_play_that_loses_every_executor_between_its_steps_fails() -> None:
    scene = a_crash_loop(a_scene().started())
    received = scene.send(a_start(), id="start", sequence=1, delivery=9)
    assert names(received.events) == ["PlayResumed", "PlayFailed"]
    assert scene.play.status == "FAIL"


def test_a_play_that_loses_every_executor_gives_up_whom_it_waits_for() -> None:
    scene = a_scene().started()
    step = scene.plan.steps["a"]
    child = m.ChildPlay(play_id="c", flow_id="f", definition=1, flow_version=1, seed="s")
    scene.commit((waiting(step, AT, "child", child=child),))
    received = a_crash_loop(scene).send(a_start(), id="start", sequence=1, delivery=9)
    assert names(received.events) == ["PlayResumed", "PlayFailed"]
    assert list(duties(scene.play, scene.plan, play_id="p")) == ["cancel-c"]
    scene.retry("again", sequence=20)
    scene.send(m.ChildEnded(at=AT, child_play_id="c", state="FAIL"), id="ended-c")
    assert scene.play.children == {}


def test_progress_starts_the_count_anew() -> None:
    scene = a_crash_loop(a_scene().started().running("a")).ended("a")
    received = scene.receive(a_start(), id="start", sequence=1, delivery=9)
    assert names(received.events) == ["PlayResumed"]


def test_a_hand_over_is_no_loss() -> None:
    scene = a_crash_loop(a_scene().started().running("a"))
    received = scene.receive(m.RevivePlay(at=AT, epoch=scene.play.epoch))
    assert names(received.events) == ["PlayResumed"]


# ── WAIT ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_wake_of_the_wait_at_hand_drives_in_a_new_epoch() -> None:
    received = a_parked_scene().receive(m.WakePlay(at=AT, wait_id="w1"), sequence=5)
    assert received.action == "drive"
    assert received.events == (m.PlayResumed(at=AT, epoch=2, driver=m.Driver(5, 1), reason="wake"),)


def test_the_wake_of_another_wait_is_acknowledged() -> None:
    assert a_parked_scene().receive(m.WakePlay(at=AT, wait_id="w0")) == ACK


def test_an_approval_un_parks_the_play_and_raises_the_epoch() -> None:
    scene = a_parked_scene()
    received = scene.send(an_approval("b"), id="approve", sequence=5)
    assert names(received.events) == ["ApprovalDecided", "PlayResumed"]
    assert (scene.play.status, scene.play.epoch, scene.play.driver) == ("RUN", 2, m.Driver(5, 1))


def test_an_approval_of_a_step_that_does_not_wait_for_one_is_acknowledged() -> None:
    assert a_parked_scene().receive(an_approval("a")) == ACK


def test_a_cancel_un_parks_the_play() -> None:
    received = a_parked_scene().receive(CANCEL)
    assert received.action == "drive"
    assert names(received.events) == ["CancelRequested", "PlayResumed"]


def test_the_redelivered_command_that_parked_the_play_is_acknowledged() -> None:
    assert a_parked_scene().receive(a_start(), id="start", sequence=1, delivery=2) == ACK


def test_a_command_applied_before_the_wait_is_acknowledged() -> None:
    scene = a_scene().started().waiting("b", "approval")
    scene.send(an_approval("b"), id="approve")
    assert scene.parked().receive(an_approval("b"), id="approve", sequence=60) == ACK
