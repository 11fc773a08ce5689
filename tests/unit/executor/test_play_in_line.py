"""A play in line for a slot, before it began and retried, and what it is held to do (spec flow8 9 and 10, ADR 36)."""

from typing import Any

import msgspec
import pytest

from libs.common.messages import play as m
from libs.common.messages.flow import Execution
from services.executor.play_commands import ACK, Admission, Received
from services.executor.play_duties import (
    FreeSlots,
    LookInLine,
    StartErrorFlow,
    TellParent,
    duties,
    has_duties,
    lanes_above,
)
from services.executor.play_snapshot import play_of, snapshot_of
from tests.builders import AT, a_layer, a_plan, a_start
from tests.spec import FAILED, Scene, given, names

LANES = ("f", "_")
SLOT = Admission(lanes=LANES)
THIRD = Admission(lanes=LANES, position=3)
FULL = Admission(lanes=LANES, is_full=True)
HOLD = m.HoldPlay(at=AT, by="ann", note="not now")
RESUME = m.ResumePlay(at=AT, by="ann")
RELEASE = m.ReleasePlay(at=AT)
PARENT = m.Parent(flow_id="g", play_id="above", lanes=("g",))


def a_scene(**execution: Any) -> Scene:
    return given(a_plan(a_layer("a", app_id="touch"), execution=Execution(**execution)))


def told(scene: Scene, command: m.PlayCommand, id: str, **rest: Any) -> Received:
    """Receive a command and commit what it says."""
    received = scene.receive(command, id=id, **rest)
    if received.events:
        scene.commit(received.events, cause=id)
    return received


def in_line(**start: Any) -> Scene:
    """Return a play that waits for a slot before it began."""
    scene = a_scene()
    told(scene, a_start(**start), "start", admission=THIRD)
    return scene


def failed(**start: Any) -> Scene:
    """Return a play that held slots and failed."""
    scene = a_scene(on_fail_flow_id="e")
    told(scene, a_start(**start), "start", admission=SLOT)
    scene.running("a").ended("a", FAILED).settled()
    assert scene.play.status == "FAIL"
    return scene


def retried(scene: Scene, admission: Admission, id: str = "retry") -> Received:
    command = m.RetryPlay(at=AT, after=0, by="ann", note="again")
    return told(scene, command, id, restarts=("a",), admission=admission)


def a_retry_in_line() -> Scene:
    scene = failed()
    retried(scene, THIRD)
    return scene


# ── retries ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_retry_with_a_slot_runs_in_its_lanes() -> None:
    scene = failed()
    received = retried(scene, SLOT)
    assert (received.action, names(received.events)) == ("drive", ["PlayRetried"])
    assert (scene.play.status, scene.play.lanes, scene.play.retries) == ("RUN", LANES, 1)


def test_a_retry_without_a_slot_waits_in_line_and_nobody_drives_it() -> None:
    scene = failed()
    epoch = scene.play.epoch
    received = retried(scene, THIRD)
    assert (received.action, names(received.events)) == ("record", ["RetryDeferred"])
    play = scene.play
    assert (play.status, play.lanes, play.retries, play.epoch) == ("DEFERRED", LANES, 1, epoch)
    assert (play.error, play.failed_ref, play.layers["a"].state) == (None, None, "NEW")


def test_a_retry_for_which_the_line_has_no_room_fails_visibly_and_can_be_tried_again() -> None:
    scene = failed()
    received = retried(scene, FULL)
    assert (received.action, names(received.events)) == ("record", ["PlayRetried", "PlayFailed"])
    assert (scene.play.status, scene.play.error_code) == ("FAIL", "QUEUE_FULL")
    retried(scene, SLOT, "again")
    assert [step.ref for step in scene.look().ready] == ["a"]


def test_a_release_lets_a_retry_go_on_where_it_failed() -> None:
    scene = a_retry_in_line()
    received = told(scene, RELEASE, "release", admission=SLOT)
    assert (received.action, names(received.events)) == ("drive", ["PlayResumed"])
    assert (scene.play.status, scene.play.clock_from) == ("RUN", AT)
    assert [step.ref for step in scene.look().ready] == ["a"]


@pytest.mark.parametrize("scene", [in_line(), a_retry_in_line()], ids=["first", "retry"])
def test_a_release_of_who_has_no_slot_yet_changes_nothing(scene: Scene) -> None:
    assert scene.receive(RELEASE, admission=THIRD) == ACK


@pytest.mark.parametrize("scene", [in_line(), a_retry_in_line()], ids=["first", "retry"])
def test_who_is_let_in_by_one_line_and_finds_no_room_in_the_next_fails_visibly(scene: Scene) -> None:
    received = told(scene, RELEASE, "release", admission=FULL)
    assert (received.action, scene.play.error_code) == ("record", "QUEUE_FULL")


def test_neither_a_start_nor_a_retry_drives_a_play_in_line() -> None:
    scene = a_retry_in_line()
    assert scene.receive(a_start(), id="start", delivery=2, admission=SLOT) == ACK
    assert scene.receive(m.RetryPlay(at=AT, after=0), id="retry", delivery=2, admission=SLOT) == ACK
    assert scene.receive(m.RetryPlay(at=AT, after=0), id="another", admission=SLOT) == ACK


def test_a_retry_that_is_cancelled_in_line_ends_and_frees_its_own_seat() -> None:
    scene = a_retry_in_line()
    received = told(scene, m.CancelPlay(at=AT, by="ann"), "cancel")
    assert (received.action, names(received.events)) == ("drive", ["CancelRequested", "PlayResumed"])
    scene.follow()
    assert (scene.play.status, scene.play.error_code) == ("FAIL", "CANCELLED")
    assert duties(scene.play, None, play_id="p")["slots"] == FreeSlots(LANES, 1)


def test_a_play_that_never_started_is_retried_with_what_it_was_to_begin_with() -> None:
    scene = in_line(args={"n": 7}, by="bob", mode="isolated")
    told(scene, m.CancelPlay(at=AT), "cancel")
    scene.follow()
    retried(scene, THIRD)
    received = told(scene, RELEASE, "release", admission=SLOT)
    assert names(received.events) == ["PlayResumed"]
    play = scene.play
    assert (play.args, play.by, play.isolated, play.started_at) == ({"n": 7}, "bob", True, AT)


def test_a_retry_in_line_survives_its_carrying_over() -> None:
    scene = a_retry_in_line()
    told(scene, HOLD, "hold")
    received = scene.receive(m.CarryOverPlay(at=AT), id="carry")
    assert (received.action, names(received.events)) == ("record", ["PlaySnapshot"])
    again = play_of(snapshot_of(scene.play, AT))
    assert (again.status, again.retries, again.lanes, again.hold) == ("DEFERRED", 1, LANES, scene.play.hold)
    assert msgspec.structs.asdict(again)["layers"] == scene.play.layers


def test_a_retry_stored_before_retries_took_slots_has_none() -> None:
    scene = failed()
    old = m.PlayRetried(at=AT, epoch=scene.play.epoch + 1, driver=m.Driver(9, 1), refs=("a",))
    scene.commit((old,))
    assert scene.play.lanes == ()


# ── holds ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("make", [in_line, a_retry_in_line], ids=["first", "retry"])
def test_a_hold_in_line_keeps_the_place_and_parks_the_play_when_its_turn_comes(make: Any) -> None:
    scene = make()
    received = told(scene, HOLD, "hold")
    assert (received.action, names(received.events)) == ("record", ["HoldRequested"])
    assert scene.play.status == "DEFERRED"
    assert scene.receive(HOLD, id="another") == ACK
    assert told(scene, RELEASE, "release", admission=SLOT).action == "drive"
    todo = scene.look()
    assert (scene.play.hold, todo.ready, todo.events, todo.held) == (
        m.Hold(AT, "ann", "not now"),
        [],
        [],
        True,
    )


@pytest.mark.parametrize("make", [in_line, a_retry_in_line], ids=["first", "retry"])
def test_a_resume_in_line_lifts_the_hold_and_nothing_else(make: Any) -> None:
    scene = make()
    assert scene.receive(RESUME) == ACK
    told(scene, HOLD, "hold")
    received = told(scene, RESUME, "resume")
    assert received == Received("record", (m.HoldLifted(at=AT, by="ann", in_line=True),))
    assert (scene.play.status, scene.play.hold) == ("DEFERRED", None)


def test_a_hold_that_overtakes_the_start_stands_in_line_with_it() -> None:
    scene = a_scene()
    received = told(scene, HOLD, "hold", start=a_start(), admission=THIRD)
    assert (received.action, names(received.events)) == ("record", ["PlayDeferred", "HoldRequested"])
    assert (scene.play.status, scene.play.hold is not None) == ("DEFERRED", True)


def test_a_hold_that_overtakes_the_start_finds_the_line_full() -> None:
    received = a_scene().receive(HOLD, start=a_start(), admission=FULL)
    assert (received.action, names(received.events)) == ("record", ["PlayStarted", "PlayFailed"])


# ── duties ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_play_in_line_obliges_to_nothing_before_it_began_and_to_a_look_when_it_is_retried() -> None:
    assert not has_duties(in_line().play)
    play = a_retry_in_line().play
    assert has_duties(play)
    assert duties(play, None, play_id="p") == {"line": LookInLine(LANES, 1)}


def test_a_retry_that_no_limit_held_back_frees_what_an_earlier_try_of_it_may_have_taken() -> None:
    scene = failed()
    retried(scene, Admission())
    scene.running("a").ended("a").settled()
    assert (scene.play.status, scene.play.lanes) == ("DONE", ())
    assert has_duties(scene.play)
    assert duties(scene.play, scene.plan, play_id="p") == {"slots": FreeSlots((), 1)}


def test_an_end_frees_the_seat_of_its_own_retry_and_tells_of_each_failure() -> None:
    scene = failed(parent=PARENT)
    first = duties(scene.play, scene.plan, play_id="p")
    retried(scene, SLOT)
    scene.running("a").ended("a", FAILED).settled()
    second = duties(scene.play, scene.plan, play_id="p")
    assert (first["slots"], second["slots"]) == (FreeSlots(LANES, 0), FreeSlots(LANES, 1))
    assert isinstance(second["parent"], TellParent)
    one, other = first["error"], second["error"]
    assert isinstance(one, StartErrorFlow)
    assert isinstance(other, StartErrorFlow)
    assert one.play_id != other.play_id


def test_a_child_shares_the_slots_of_those_above_it_but_not_of_who_waits_no_more() -> None:
    scene = failed(parent=PARENT)
    assert lanes_above(scene.play) == ("g", *LANES)
    retried(scene, SLOT)
    assert lanes_above(scene.play) == LANES
