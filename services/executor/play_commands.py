"""What a delivered command means for a play, pure: the table of design D5."""

from datetime import datetime
from typing import Literal, NamedTuple, assert_never

import msgspec

from libs.common.messages import play as m
from services.executor.play import Play
from services.executor.play_levels import runs
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


def receive(
    play: Play, command: m.PlayCommand, *, id: str, driver: m.Driver, start: m.StartPlay | None = None
) -> Received:
    """Decide what a delivered command means for this play: the table of design D5.

    `driver` is this delivery; `start` the play's start command when the play has no history yet (R9).
    """
    if not play.begun:
        return _receive_unborn(command, driver, start)
    if play.ended:
        return ACK
    if play.status == "RUN":
        return _receive_running(play, command, id, driver)
    return _receive_parked(play, command, id, driver)


def _receive_unborn(command: m.PlayCommand, driver: m.Driver, start: m.StartPlay | None) -> Received:
    match command:
        case m.StartPlay():
            return Received("drive", (_start(command, command.at, driver),))
        case m.CancelPlay() if start is not None:
            # The cancel overtook the start: both are decided here, in one commit (R9).
            cancel = m.CancelRequested(at=command.at, by=command.by)
            return Received("drive", (_start(start, command.at, driver), cancel))
        case _:
            # Nothing can wait for an approval, a timer or a new driver before it began.
            return ACK


def _start(command: m.StartPlay, at: datetime, driver: m.Driver) -> m.PlayStarted:
    return m.PlayStarted(
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
        parent_play_id=command.parent_play_id,
        schedule_id=command.schedule_id,
        parent=command.parent,
        depth=command.depth,
    )


def _receive_running(play: Play, command: m.PlayCommand, id: str, driver: m.Driver) -> Received:
    drives = play.driver
    if drives is not None and drives.sequence == driver.sequence:
        if driver.delivery <= drives.delivery:
            return LEAVE
        return Received("drive", _take_over(play, command.at, driver, "redelivery"))
    if id in play.applied:
        return ACK
    match command:
        case m.CancelPlay():
            return Received("record", (m.CancelRequested(at=command.at, by=command.by),))
        case m.ApprovePlay():
            decided = _approval(play, command)
            return Received("record", (decided,)) if decided is not None else ACK
        case m.ChildEnded():
            returned = _returned(play, command)
            return Received("record", (returned,)) if returned is not None else ACK
        case m.RevivePlay(epoch=0):
            return Received("ask_driver", _take_over(play, command.at, driver, "revive"))
        case m.RevivePlay():
            if command.epoch != play.epoch:
                return ACK
            return Received("drive", _take_over(play, command.at, driver, "resume"))
        case m.StartPlay() | m.WakePlay() | m.CarryOverPlay():
            return ACK
        case _:
            assert_never(command)


def _receive_parked(play: Play, command: m.PlayCommand, id: str, driver: m.Driver) -> Received:
    if id in play.applied:
        return ACK
    facts: tuple[m.PlayEvent, ...]
    reason: m.ResumeReason
    match command:
        case m.WakePlay():
            if command.wait_id != play.wait_id:
                return ACK
            facts, reason = (), "wake"
        case m.CancelPlay():
            facts, reason = (m.CancelRequested(at=command.at, by=command.by),), "cancel"
        case m.ApprovePlay():
            decided = _approval(play, command)
            if decided is None:
                return ACK
            facts, reason = (decided,), "approval"
        case m.CarryOverPlay():
            carried = msgspec.structs.replace(play, applied={**play.applied, id: None})
            return Received("record", (snapshot_of(carried, command.at),))
        case m.ChildEnded():
            returned = _returned(play, command)
            if returned is None:
                return ACK
            facts, reason = (returned,), "child"
        case m.StartPlay() | m.RevivePlay():
            return ACK
        case _:
            assert_never(command)
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


def _approval(play: Play, command: m.ApprovePlay) -> m.ApprovalDecided | None:
    for ref, iteration, run in runs(play):
        pending = run.state == "WAIT" and run.waits_for == "approval" and run.approval is None
        meant = command.layer_id in {run.layer_id, ref} and command.iteration in ((), iteration)
        if pending and meant:
            return m.ApprovalDecided(
                at=command.at,
                ref=ref,
                layer_id=run.layer_id,
                order=run.order,
                iteration=iteration,
                decision=command.decision,
                note=command.note,
                by=command.by,
            )
    return None
