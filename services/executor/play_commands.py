"""What a delivered command means for a play, pure: the table of design D5."""

from datetime import datetime
from typing import Any, Literal, NamedTuple, assert_never

import msgspec

from libs.common.messages import approval
from libs.common.messages import play as m
from services.executor.play import Play
from services.executor.play_levels import Iteration, LayerRun, runs
from services.executor.play_outcomes import failed
from services.executor.play_snapshot import snapshot_of

RESUMES_WITHOUT_PROGRESS_MAX = 3


class Received(NamedTuple):
    """What a command means: `drive` with these first events, `record` them for the driver, `ack`, or `leave` it.

    `ack` of a play that waits publishes the wait's timer again first (R7). `leave` neither acks nor naks (R4).
    """

    action: Literal["drive", "record", "ack", "leave", "ask_driver"]
    events: tuple[m.PlayEvent, ...] = ()


ACK = Received("ack")
LEAVE = Received("leave")


class Admission(NamedTuple):
    """Whether a play may start: with slots of these lanes, from this place in line (0: now), or not when it is full."""

    lanes: tuple[str, ...] = ()
    position: int = 0
    is_full: bool = False


FREE = Admission()


def receive(
    play: Play,
    command: m.PlayCommand,
    *,
    id: str,
    driver: m.Driver,
    start: m.StartPlay | None = None,
    restarts: tuple[str, ...] | None = None,
    admission: Admission = FREE,
) -> Received:
    """Decide what a delivered command means for this play: the table of design D5.

    `driver` is this delivery; `start` the play's start command when the play has no history yet (R9); `restarts` the
    steps that begin anew if this command retries the end that the play came to, None when it does not; `admission`
    tells whether the play may begin.
    """
    if not play.begun:
        return _receive_unborn(command, driver, start, admission)
    if play.status == "DEFERRED":
        return _receive_deferred(play, command, id, driver, admission)
    if play.ended:
        return _receive_ended(play, command, id, driver, restarts, admission)
    if play.status == "RUN":
        return _receive_running(play, command, id, driver)
    return _receive_parked(play, command, id, driver)


def _receive_unborn(
    command: m.PlayCommand, driver: m.Driver, start: m.StartPlay | None, admission: Admission
) -> Received:
    match command:
        case m.StartPlay():
            return _begin(command, command.at, driver, admission)
        case m.ReleasePlay() if start is not None:
            # Its slot was free before it was put in line (R9).
            return _begin(start, command.at, driver, admission)
        case m.CancelPlay() if start is not None:
            # The cancel overtook the start: both are decided here, in one commit (R9).
            cancel = m.CancelRequested(at=command.at, by=command.by)
            return Received("drive", (_start(start, command.at, driver, admission.lanes), cancel))
        case m.HoldPlay() if start is not None:
            begun = _begin(start, command.at, driver, admission)
            return begun if admission.is_full else begun._replace(events=(*begun.events, _hold(command)))
        case _:
            # Nothing can wait for an approval, a timer or a new driver before it began.
            return ACK


def _begin(start: m.StartPlay, at: datetime, driver: m.Driver, admission: Admission) -> Received:
    if admission.is_full:
        return Received("record", (_start(start, at, driver, admission.lanes), _queue_full(at, at)))
    if admission.position:
        bare = msgspec.structs.replace(start, args={}, payloads=None)
        deferred = m.PlayDeferred(
            at=at, start=bare, args=start.args, lanes=admission.lanes, position=admission.position
        )
        return Received("record", (deferred,))
    return Received("drive", (_start(start, at, driver, admission.lanes),))


def _queue_full(at: datetime, started_at: datetime | None) -> m.PlayFailed:
    error = "too many plays wait for a slot already"
    return m.PlayFailed(at=at, error=error, error_code="QUEUE_FULL", started_at=started_at)


def _receive_deferred(
    play: Play, command: m.PlayCommand, id: str, driver: m.Driver, admission: Admission
) -> Received:
    if id in play.applied:
        return ACK
    match command:
        case m.ReleasePlay() if not admission.position:
            return _released(play, command.at, driver, admission)
        case m.CancelPlay():
            return _unpark(play, command, driver, "cancel", m.CancelRequested(at=command.at, by=command.by))
        case m.CarryOverPlay():
            return _carry_over(play, command, id)
        case m.HoldPlay() | m.ResumePlay() | m.ChildEnded():
            # Held, it keeps its place, and parks when its turn has come.
            fact = _fact(play, command)
            return Received("record", (fact,)) if fact is not None else ACK
        case _:
            # A start or a retry never drives a play in line: whoever put it there may be frozen before he
            # acknowledges that very command.
            return ACK


def _released(play: Play, at: datetime, driver: m.Driver, admission: Admission) -> Received:
    if play.start is not None:
        return _begin(play.start, at, driver, admission._replace(lanes=play.lanes))
    resumed = m.PlayResumed(at=at, epoch=play.epoch + 1, driver=driver, reason="released")
    if admission.is_full:
        return Received("record", (resumed, _queue_full(at, play.started_at)))
    return Received("drive", (resumed,))


def _carry_over(play: Play, command: m.CarryOverPlay, id: str) -> Received:
    carried = msgspec.structs.replace(play, applied={**play.applied, id: None})
    return Received("record", (snapshot_of(carried, command.at),))


def _start(
    command: m.StartPlay, at: datetime, driver: m.Driver, lanes: tuple[str, ...] = ()
) -> m.PlayStarted:
    started = m.PlayStarted(
        at=at,
        definition=command.definition,
        flow_version=command.flow_version,
        driver=driver,
        requested_at=command.at,
        args=command.args,
        trigger=command.trigger,
        by=command.by,
        seed=command.seed,
        idempotency_key=command.idempotency_key,
        isolated=command.mode == "isolated",
        lanes=lanes,
    )
    # Where it comes from. By itself, for CPython takes five times as long for a call with more than fifteen names.
    return msgspec.structs.replace(
        started,
        parent_play_id=command.parent_play_id,
        schedule_id=command.schedule_id,
        parent=command.parent,
        depth=command.depth,
        replay=command.replay,
    )


def _receive_ended(
    play: Play,
    command: m.PlayCommand,
    id: str,
    driver: m.Driver,
    restarts: tuple[str, ...] | None,
    admission: Admission,
) -> Received:
    """An end absorbs every command but one: the retry that means this very end."""
    if (
        not isinstance(command, m.RetryPlay)
        or play.status != "FAIL"
        or restarts is None
        or id in play.applied
    ):
        return ACK
    about: dict[str, Any] = {
        "at": command.at,
        "number": play.retries + 1,
        "refs": restarts,
        "by": command.by,
        "note": command.note,
        "lanes": admission.lanes,
    }
    if admission.position:
        return Received("record", (m.RetryDeferred(**about, position=admission.position),))
    retried = m.PlayRetried(**about, epoch=play.epoch + 1, driver=driver)
    if admission.is_full:
        return Received("record", (retried, _queue_full(command.at, play.started_at)))
    return Received("drive", (retried,))


def _receive_running(play: Play, command: m.PlayCommand, id: str, driver: m.Driver) -> Received:
    drives = play.driver
    if drives is not None and drives.sequence == driver.sequence:
        if driver.delivery <= drives.delivery:
            return LEAVE
        return Received("drive", _take_over(play, command.at, driver, "redelivery"))
    if id in play.applied:
        return ACK
    match command:
        case m.RevivePlay(epoch=0):
            return Received("ask_driver", _take_over(play, command.at, driver, "revive"))
        case m.RevivePlay():
            if command.epoch != play.epoch:
                return ACK
            return Received("drive", _take_over(play, command.at, driver, "resume"))
        case _:
            fact = _fact(play, command)
            return Received("record", (fact,)) if fact is not None else ACK


def _fact(play: Play, command: m.PlayCommand) -> m.PlayEvent | None:
    """Return what a command tells the driver of a play, None when it tells nothing (any more)."""
    match command:
        case m.CancelPlay():
            return m.CancelRequested(at=command.at, by=command.by)
        case m.ApprovePlay():
            return _approval(play, command)
        case m.ChildEnded():
            return _returned(play, command)
        case m.HoldPlay():
            return _hold(command) if play.hold is None else None
        case m.ResumePlay():
            return _lift(command, in_line=play.status == "DEFERRED") if play.hold is not None else None
        case (
            m.StartPlay()
            | m.WakePlay()
            | m.RetryPlay()
            | m.RevivePlay()
            | m.CarryOverPlay()
            | m.ReleasePlay()
        ):
            return None
        case _:
            assert_never(command)


def _hold(command: m.HoldPlay) -> m.HoldRequested:
    return m.HoldRequested(at=command.at, by=command.by, note=command.note)


def _lift(command: m.ResumePlay, *, in_line: bool = False) -> m.HoldLifted:
    return m.HoldLifted(at=command.at, by=command.by, note=command.note, in_line=in_line)


def _receive_parked(play: Play, command: m.PlayCommand, id: str, driver: m.Driver) -> Received:
    if id in play.applied:
        return ACK
    if play.hold is not None:
        return _receive_on_hold(play, command, id, driver)
    match command:
        case m.WakePlay():
            return _unpark(play, command, driver, "wake") if command.wait_id == play.wait_id else ACK
        case m.CancelPlay():
            return _unpark(play, command, driver, "cancel", m.CancelRequested(at=command.at, by=command.by))
        case m.ApprovePlay():
            decided = _approval(play, command)
            return _unpark(play, command, driver, "approval", decided) if decided is not None else ACK
        case m.HoldPlay():
            # Nobody drives it, so nothing runs: it is held at once.
            return Received("record", (_hold(command), m.PlayHeld(at=command.at)))
        case m.CarryOverPlay():
            return _carry_over(play, command, id)
        case m.ChildEnded():
            returned = _returned(play, command)
            return _unpark(play, command, driver, "child", returned) if returned is not None else ACK
        case m.StartPlay() | m.RevivePlay() | m.ResumePlay() | m.RetryPlay() | m.ReleasePlay():
            return ACK
        case _:
            assert_never(command)


def _receive_on_hold(play: Play, command: m.PlayCommand, id: str, driver: m.Driver) -> Received:
    match command:
        case m.ResumePlay():
            return _unpark(play, command, driver, "lifted", _lift(command))
        case m.CancelPlay():
            return _unpark(play, command, driver, "cancel", m.CancelRequested(at=command.at, by=command.by))
        case m.CarryOverPlay():
            return _carry_over(play, command, id)
        case _:
            # Decisions and ends of children are kept. Whether a time is over is looked at when the hold is lifted.
            fact = _fact(play, command)
            return Received("record", (fact,)) if fact is not None else ACK


def _unpark(
    play: Play, command: m.Command, driver: m.Driver, reason: m.ResumeReason, *facts: m.PlayEvent
) -> Received:
    resumed = m.PlayResumed(at=command.at, epoch=play.epoch + 1, driver=driver, reason=reason)
    return Received("drive", (*facts, resumed))


def _returned(play: Play, command: m.ChildEnded) -> m.ChildReturned | None:
    child = play.children.get(command.child_play_id)
    if child is None or child.state is not None:
        return None
    return m.ChildReturned(
        at=command.at,
        child_play_id=command.child_play_id,
        state=command.state,
        out=command.out,
        error=command.error,
    )


def _take_over(
    play: Play, at: datetime, driver: m.Driver, reason: Literal["redelivery", "revive", "resume"]
) -> tuple[m.PlayEvent, ...]:
    resumed = m.PlayResumed(at=at, epoch=play.epoch + 1, driver=driver, reason=reason)
    if play.resumes < RESUMES_WITHOUT_PROGRESS_MAX or reason == "resume":
        return (resumed,)
    error = f"{play.resumes} executors in a row were lost while they ran this"
    running = [found for found in runs(play) if found[2].state == "RUN"]
    if not running:
        return (resumed, m.PlayFailed(at=at, error=error, error_code="EXECUTOR_LOST"))
    lost = (failed(*found, at, error=error, code="EXECUTOR_LOST") for found in running)
    return (resumed, *lost)


def _approval(play: Play, command: m.ApprovePlay) -> m.ApprovalDecided | m.ApprovalVoted | None:
    for ref, iteration, run in runs(play):
        pending = run.state == "WAIT" and run.waits_for == "approval" and run.approval is None
        meant = command.layer_id in {run.layer_id, ref} and command.iteration in ((), iteration)
        if pending and meant:
            return _word(play, ref, iteration, run, command)
    return None


def _word(
    play: Play, ref: str, iteration: Iteration, run: LayerRun, command: m.ApprovePlay
) -> m.ApprovalDecided | m.ApprovalVoted | None:
    """Return what one person's word means: the decision, one more vote, or nothing when it does not count."""
    gate = run.gate
    person = approval.Person(command.by, command.role, command.email)
    if approval.forbids(gate, person, started_by=play.by) or approval.has_voted(gate, command.by):
        return None
    step: dict[str, Any] = {
        "at": command.at,
        "ref": ref,
        "layer_id": run.layer_id,
        "order": run.order,
        "iteration": iteration,
    }
    if gate is not None:
        vote = approval.Vote(command.by, command.at, command.decision, command.note)
        gate = msgspec.structs.replace(gate, votes=(*gate.votes, vote))
        if command.decision == "approved" and len(gate.votes) < gate.count:
            return m.ApprovalVoted(**step, gate=gate)
    return m.ApprovalDecided(**step, decision=command.decision, note=command.note, by=command.by, gate=gate)
