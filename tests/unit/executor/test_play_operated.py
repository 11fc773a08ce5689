"""A play that people hold, resume and retry, and approvals that have rules (spec flow8 sections 9 and 12)."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.messages import play as m
from libs.common.messages.approval import Approval
from libs.common.messages.flow import Execution
from services.executor.play_outcomes import gated
from services.executor.play_retry import restarts
from tests.builders import AT, a_layer, a_plan, an_approval
from tests.spec import FAILED, Scene, given, names


def a_gate(**rules: Any) -> Scene:
    """Return a play whose step `a` waits for an approval with these rules, parked."""
    plan = a_plan(a_layer("a", needs_approval=True, approval=Approval(**rules)), a_layer("b", index=1))
    scene = given(plan).started(by="starter")
    scene.commit((gated(plan.steps["a"], scene.now),))
    return scene.parked(until=scene.look().until)


def says(scene: Scene, by: str, decision: m.Decision = "approved", **who: str) -> list[str]:
    """Let somebody decide on `a`; return what is written down."""
    command = an_approval("a", decision, at=scene.now, by=by, **who)
    return names(
        scene.send(command, id=f"{by}-{len(scene.commits)}", sequence=200 + len(scene.commits)).events
    )


# ── holds ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_lets_running_steps_end_and_begins_nothing() -> None:
    scene = given(a_plan(a_layer("a", app_id="touch"), a_layer("b", index=1))).started().running("a")
    assert names(scene.send(m.HoldPlay(at=AT, by="ann"), id="hold").events) == ["HoldRequested"]
    todo = scene.look()
    assert ([step.ref for step in todo.ready], todo.held) == (["a"], True)
    todo = scene.ended("a").look()
    assert (todo.ready, todo.events, todo.held) == ([], [], True)


def test_a_play_whose_last_step_has_ended_has_nothing_left_to_hold() -> None:
    scene = given(a_plan(a_layer("a", app_id="touch"))).started().running("a")
    scene.send(m.HoldPlay(at=AT), id="hold")
    assert scene.ended("a").look().ended


def test_the_time_on_hold_does_not_count_towards_the_timeout_of_the_flow() -> None:
    plan = a_plan(a_layer("a", needs_approval=True), execution=Execution(timeout=60))
    scene = given(plan).started().waiting("a", "approval").parked()
    scene.later(30).send(m.HoldPlay(at=scene.now), id="hold")
    scene.later(3_600).send(m.ResumePlay(at=scene.now), id="resume", sequence=101)
    assert scene.look().until == scene.now + timedelta(seconds=30)
    assert scene.later(30).look().ended


def test_a_wake_of_a_held_play_runs_nothing_and_its_time_is_looked_at_after_the_resume() -> None:
    scene = given(a_plan(a_layer("a"))).started()
    scene.waiting("a", "delay", until=AT + timedelta(seconds=5)).parked("w1", until=AT + timedelta(seconds=5))
    scene.send(m.HoldPlay(at=AT), id="hold")
    assert scene.later(9).send(m.WakePlay(at=scene.now, wait_id="w1"), id="wake").action == "ack"
    scene.send(m.ResumePlay(at=scene.now), id="resume", sequence=101)
    assert names(scene.look().events) == ["LayerCompleted"]


# ── retries ─────────────────────────────────────────────────────────────────────────────────────────


def a_failure() -> Scene:
    plan = a_plan(a_layer("a"), a_layer("b", index=1), a_layer("c", index=2))
    scene = given(plan).started().ended("a").ended("b", FAILED)
    scene.follow()
    scene.follow()
    assert scene.play.status == "FAIL"
    return scene


def test_a_retry_begins_anew_what_failed_and_what_was_skipped() -> None:
    scene = a_failure()
    assert restarts(scene.play, scene.plan) == ("b", "c")
    scene.retry("again", sequence=300)
    assert [step.ref for step in scene.look().ready] == ["b"]
    assert (scene.play.layers["a"].state, scene.play.layers["b"].attempts) == ("DONE", 0)
    assert scene.settled().play.status == "DONE"


def test_the_same_end_is_retried_once() -> None:
    scene = a_failure()
    command = m.RetryPlay(at=AT, after=1)
    assert scene.receive(command, id="late", restarts=None).action == "ack"
    scene.retry("again", sequence=300)
    assert scene.receive(command, id="other", restarts=("b",)).action == "ack"


def test_the_driving_command_of_before_a_retry_is_acknowledged() -> None:
    scene = a_failure()
    scene.retry("again", sequence=300)
    assert scene.play.driver == m.Driver(300, 1)
    received = scene.receive(
        m.StartPlay(at=AT, definition=1, flow_version=1), id="start", sequence=1, delivery=7
    )
    assert received.action == "ack"


def test_a_tolerated_failure_stands_and_one_that_the_cancel_made_does_not() -> None:
    plan = a_plan(a_layer("a", on_error="continue"), a_layer("b", index=1, on_error="continue"))
    scene = given(plan).started().ended("a", FAILED).waiting("b", "approval")
    scene.send(m.CancelPlay(at=AT, by="ann"), id="cancel")
    scene.follow()
    assert restarts(scene.play, plan) == ("b",)


def test_an_approval_that_was_given_stands_after_a_retry_and_a_declined_one_is_asked_for_again() -> None:
    plan = a_plan(a_layer("a", needs_approval=True), a_layer("b", needs_approval=True))
    scene = given(plan).started().waiting("a", "approval").waiting("b", "approval")
    scene.send(an_approval("a"), id="yes")
    scene.send(an_approval("b", "declined"), id="no")
    scene.ended("a", FAILED)
    scene.follow()
    scene.follow()
    scene.retry("again", sequence=300)
    assert scene.play.layers["a"].approval is not None
    assert scene.play.layers["b"].approval is None


# ── approvals with rules ────────────────────────────────────────────────────────────────────────────


def test_as_many_different_people_must_approve_as_the_rules_ask_for() -> None:
    scene = a_gate(count=2)
    assert says(scene, "ann") == ["ApprovalVoted", "PlayResumed"]
    assert says(scene, "ann") == []
    assert says(scene, "bob") == ["ApprovalDecided"]
    votes = (scene.play.layers["a"].approval or {})["votes"]
    assert [vote["by"] for vote in votes] == ["ann", "bob"]


def test_one_who_declines_declines_for_all() -> None:
    scene = a_gate(count=3)
    assert says(scene, "ann", "declined") == ["ApprovalDecided", "PlayResumed"]
    assert names(scene.look().events) == ["LayerFailed"]


@pytest.mark.parametrize(
    ("who", "counts"),
    [
        ({"by": "u1", "role": "admin"}, True),
        ({"by": "u1", "role": "operator"}, False),
        ({"by": "u1", "role": "operator", "email": "Ada@Example.test"}, True),
        ({"by": "0" * 24}, True),
    ],
)
def test_only_those_whom_the_rules_name_decide(who: Any, counts: bool) -> None:
    scene = a_gate(approvers=("admin", "ada@example.test", "0" * 24))
    assert bool(says(scene, **who)) == counts


def test_whoever_started_the_play_does_not_decide_when_asked_not_to() -> None:
    scene = a_gate(no_self_approval=True)
    assert says(scene, "starter") == []
    assert says(scene, "ann") == ["ApprovalDecided", "PlayResumed"]


@pytest.mark.parametrize(("on_timeout", "state"), [("approve", "approved"), ("decline", "declined")])
def test_a_decision_that_nobody_takes_in_time_is_taken_by_the_rules(on_timeout: Any, state: str) -> None:
    scene = a_gate(timeout=60, on_timeout=on_timeout)
    assert scene.look().until == AT + timedelta(seconds=60)
    todo = scene.later(60).follow()
    assert [(event.decision, event.by) for event in todo.events if isinstance(event, m.ApprovalDecided)] == [
        (state, "")
    ]


def test_an_escalation_lets_more_people_decide_and_waits_on() -> None:
    scene = a_gate(approvers=("operator",), timeout=60, on_timeout="escalate")
    assert names(scene.later(60).follow().events) == ["ApprovalEscalated"]
    assert (scene.look().events, scene.look().until) == ([], None)
    assert says(scene, "boss", role="admin") == ["ApprovalDecided", "PlayResumed"]


def test_reminders_come_at_their_times_and_missed_ones_are_not_made_up_for() -> None:
    scene = a_gate(remind_every_seconds=60)
    assert names(scene.later(200).follow().events) == ["ApprovalReminded"]
    assert scene.look().until == AT + timedelta(seconds=260)


def test_a_decision_is_final_whatever_time_passes() -> None:
    scene = a_gate(timeout=60, remind_every_seconds=10)
    says(scene, "ann")
    assert [step.ref for step in scene.later(600).look().ready] == ["a"]
