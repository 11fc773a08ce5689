"""A play's bookkeeping, pure: what is known of it, and what each event changes.

One driver owns a Play and evolves it in place; `fold` makes a new one from a history. The rules are in `play_commands`
(what a command means) and `play_order` (what follows by itself); loops are in `play_levels`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, assert_never

import msgspec

from libs.common.codec import Commit
from libs.common.messages import play as m
from libs.expressions import StepView
from services.executor import play_levels
from services.executor.play_levels import Iteration, LayerRun, Level, level_at, level_of

__all__ = ["LayerRun", "Level", "Play", "evolve", "evolve_commit", "fold", "run_of"]

# The first event of a play that has a history.
BEGINNINGS = (m.PlayStarted, m.PlayDeferred)
# A command's copies come within the bus's duplicate window or, redelivered, while it is not acknowledged. One that
# came after so many others would still meet the wait, the gate or the epoch it was meant for closed.
APPLIED_MAX = 10_000


class Child(msgspec.Struct):
    """A play that a step waits for; kept until its end is known, even when the step waits no longer."""

    start: m.ChildPlay
    args: dict[str, Any] = {}
    abandoned: bool = False
    state: m.PlayState | None = None  # its end
    out: Any = None
    error: str | None = None


class Play(Level):
    """All that deciding about a play needs to know. The empty play has not begun."""

    status: m.PlayState = "NEW"
    definition: int = 0
    flow_version: int = 0
    args: dict[str, Any] = msgspec.field(default_factory=dict)
    seed: str = ""
    by: str = ""
    epoch: int = 0
    driver: m.Driver | None = None
    started_at: datetime | None = None
    # The ids of the newest APPLIED_MAX commands, oldest first.
    applied: dict[str, None] = msgspec.field(default_factory=dict)
    # The flow's timeout counts from here: holds move it, a retry sets it anew.
    clock_from: datetime | None = None
    wait_id: str = ""
    wait_until: datetime | None = None
    cancelled_by: str | None = None
    hold: m.Hold | None = None
    held_at: datetime | None = None
    retries: int = 0
    replay: m.Replay | None = None
    resumes: int = 0
    trigger: m.Trigger = "api"
    parent: m.Parent | None = None
    depth: int = 0
    requested_at: datetime | None = None
    parent_play_id: str = ""  # who started it, whether or not somebody waits there
    schedule_id: str = ""
    counted: bool = False  # `counts` are of all items that have ended since the play began
    isolated: bool = False  # its pure modules that can run so get processes of their own
    lanes: tuple[str, ...] = ()  # in which it holds a slot, or waits for one
    start: m.StartPlay | None = None  # what a play in line will begin with
    # By play id, until their end is known and taken in.
    children: dict[str, Child] = msgspec.field(default_factory=dict)
    out: Any = None  # of the whole play, once it ended
    error: str | None = None
    error_code: str | None = None
    failed_ref: str | None = None

    @property
    def begun(self) -> bool:
        """Tell whether the play has a history."""
        return self.epoch > 0 or self.status != "NEW"

    @property
    def ended(self) -> bool:
        """Tell whether the play is in a terminal state."""
        return self.status in m.TERMINAL


def fold(commits: Iterable[Commit]) -> Play:
    """Return the state after these commits."""
    play = Play()
    for commit in commits:
        evolve_commit(play, commit)
    return play


def evolve_commit(play: Play, commit: Commit) -> None:
    """Record one commit: its events, and the command that caused it (R10)."""
    apply(play, commit.causation_id)
    for event in commit.events:
        evolve(play, event)


def apply(play: Play, command_id: str) -> None:
    """Remember that a command was applied; the oldest is forgotten when there are too many."""
    play.applied[command_id] = None
    if len(play.applied) > APPLIED_MAX:
        del play.applied[next(iter(play.applied))]


def evolve(play: Play, event: m.PlayEvent) -> None:  # noqa: C901, PLR0912, PLR0915 - one branch an event
    """Record one event. Accepts every event ever stored and refuses nothing."""
    # The first branch is by far the most frequent one.
    match event:
        case m.LayerCompleted():
            _ended(play, event, state=event.state, out=event.out)
        case m.PlayStarted():
            _started(play, event)
        case m.PlayResumed():
            if play.status == "DEFERRED":
                play.clock_from, play.started_at = event.at, play.started_at or _released_at(event)
            play.status, play.epoch, play.driver = "RUN", event.epoch, event.driver
            play.wait_id, play.wait_until = "", None
            play.resumes = play.resumes + 1 if event.reason in {"redelivery", "revive"} else 0
        case m.PlayDeferred():
            _deferred(play, event)
        case m.PlayWaiting():
            play.status, play.wait_id, play.wait_until = "WAIT", event.wait_id, event.until
        case m.CancelRequested():
            play.cancelled_by = event.by
        case m.ChildReturned():
            _returned(play, event)
        case m.HoldRequested() | m.PlayHeld() | m.HoldLifted() | m.PlayRetried() | m.RetryDeferred():
            _operated(play, event)
        case m.ApprovalDecided() | m.ApprovalVoted() | m.ApprovalEscalated() | m.ApprovalReminded():
            _approval(_run(play, event), event)
        case m.LayerStarted():
            run = _run(play, event)
            run.state, run.announced, run.until, run.waits_for = "RUN", True, None, ""
            run.started_at = run.started_at or event.at
            run.read = event.read or run.read
            play.resumes = 0
        case m.LayerWaiting():
            _waiting(play, event)
        case m.LayerRetrying():
            _retrying(play, event)
        case m.LayerFailed():
            level_of(play, event.iteration).failed.add(event.ref)
            _ended(play, event, state="FAIL", out=event.out)
        case m.LayerIterating():
            run = _run(play, event)
            run.state, run.announced, run.started_at = "RUN", True, run.started_at or event.at
            play_levels.iterating(play, event)
            play.resumes = 0
        case m.ItemEnded():
            play_levels.item_ended(play, event)
        case m.LayerCollected():
            level_of(play, event.iteration).collected[event.key] = event.items
        case m.PlayCompleted():
            play.status, play.out = event.state, event.out
        case m.PlayFailed():
            _failed(play, event)
        case m.PlaySnapshot():
            return
        case _:
            assert_never(event)


def _started(play: Play, event: m.PlayStarted) -> None:
    play.status = "RUN"
    play.definition, play.flow_version = event.definition, event.flow_version
    play.args, play.seed, play.by, play.replay = event.args, event.seed, event.by, event.replay
    play.epoch, play.driver, play.started_at, play.clock_from = event.epoch, event.driver, event.at, event.at
    play.trigger, play.parent, play.depth = event.trigger, event.parent, event.depth
    play.requested_at, play.parent_play_id = event.requested_at, event.parent_play_id
    play.schedule_id = event.schedule_id
    play.lanes, play.start, play.isolated = event.lanes, None, event.isolated
    play.prev, play.counted = {"args": event.args}, True


def _deferred(play: Play, event: m.PlayDeferred) -> None:
    start = msgspec.structs.replace(event.start, args=event.args)
    play.status, play.start, play.lanes = "DEFERRED", start, event.lanes
    play.definition, play.flow_version = start.definition, start.flow_version
    play.args, play.seed, play.by, play.replay = start.args, start.seed, start.by, start.replay
    play.isolated = start.mode == "isolated"
    play.trigger, play.parent, play.depth = start.trigger, start.parent, start.depth
    play.prev, play.counted = {"args": start.args}, True


def _released_at(event: m.PlayResumed) -> datetime | None:
    # A play that is cancelled in line has never started.
    return event.at if event.reason == "released" else None


def _waiting(play: Play, event: m.LayerWaiting) -> None:
    run = _run(play, event)
    run.state, run.waits_for, run.until, run.out = "WAIT", event.kind, event.until, event.out
    run.deferred = run.deferred or event.kind == "defer"
    run.gate = event.gate or run.gate
    if event.child is not None:
        run.child = event.child.play_id
        play.children[run.child] = Child(event.child, event.args)
    run.started_at = run.started_at or event.at
    play.resumes = 0


def _retrying(play: Play, event: m.LayerRetrying) -> None:
    run = _run(play, event)
    run.state, run.waits_for, run.until, run.attempts = "WAIT", "retry", event.until, event.attempt
    run.error, run.error_code = event.error, event.error_code
    run.read = event.read or run.read
    if run.child:
        _leave_child(play, run)
    play.resumes = 0


def _failed(play: Play, event: m.PlayFailed) -> None:
    play.status, play.error, play.error_code = "FAIL", event.error, event.error_code
    play.failed_ref = event.ref
    # Of steps that have not ended: executors were lost between them too often, or a big value of the history is.
    for _, _, run in play_levels.runs(play):
        if run.child:
            _leave_child(play, run)


def run_of(play: Play, ref: str, iteration: Iteration) -> LayerRun | None:
    """Return how far a step is, in this item when it is in a loop; None when it was not reached."""
    level = play if not iteration else level_at(play, iteration)
    return None if level is None else level.layers.get(ref)


def _returned(play: Play, event: m.ChildReturned) -> None:
    child = play.children.get(event.child_play_id)
    if child is None:
        return
    if child.abandoned:
        del play.children[event.child_play_id]
        return
    child.state, child.out, child.error = event.state, event.out, event.error


def _leave_child(play: Play, run: LayerRun) -> None:
    """The step waits for its child no longer: one that has not ended is to be cancelled until it has (D5)."""
    child = play.children[run.child]
    if child.state is None:
        child.abandoned = True
    else:
        del play.children[run.child]
    run.child = ""


def _operated(
    play: Play, event: m.HoldRequested | m.PlayHeld | m.HoldLifted | m.PlayRetried | m.RetryDeferred
) -> None:
    match event:
        case m.HoldRequested():
            play.hold = m.Hold(event.at, event.by, event.note)
        case m.PlayHeld():
            play.status, play.held_at = "ON_HOLD", event.at
            play.wait_id, play.wait_until = "", None
        case m.HoldLifted():
            _lifted(play, event)
        case m.PlayRetried():
            play.status, play.epoch, play.driver = "RUN", event.epoch, event.driver
            play.clock_from, play.started_at = event.at, play.started_at or event.at
            _begun_anew(play, event)
        case m.RetryDeferred():
            play.status = "DEFERRED"
            _begun_anew(play, event)


def _approval(
    run: LayerRun, event: m.ApprovalDecided | m.ApprovalVoted | m.ApprovalEscalated | m.ApprovalReminded
) -> None:
    run.gate = event.gate or run.gate
    if isinstance(event, m.ApprovalDecided):
        run.approval = decision_view(event)
    else:
        run.until = event.gate.due_at


def _lifted(play: Play, event: m.HoldLifted) -> None:
    if play.held_at is not None and play.clock_from is not None:
        # What people pause does not count towards the flow's timeout; clocks of two machines may disagree.
        play.clock_from += max(event.at - play.held_at, timedelta(0))
    play.hold = play.held_at = None


def _begun_anew(play: Play, event: m.PlayRetried | m.RetryDeferred) -> None:
    # The slots of its end are free, and others may have them. One that was retried before limits held for retries
    # has none.
    play.retries, play.lanes = event.number, event.lanes
    # One that was cancelled in line, and never started, goes on as well: with what it was to begin with.
    play.start = None
    play.cancelled_by = play.hold = play.held_at = None
    play.out = play.error = play.error_code = play.failed_ref = None
    play.resumes = play.cursor = 0
    play_levels.forget_collected(play, frozenset(event.refs))
    for ref in event.refs:
        play.failures.pop(ref, None)
        play.counts.pop(ref, None)
        before = play.layers.get(ref)
        if before is None:
            continue
        play.layers[ref] = LayerRun(before.layer_id, before.order, round=event.number)
        # An approval once given stands; a step that was declined is asked for again.
        if before.approval is not None and before.approval["decision"] == "approved":
            play.layers[ref].approval = before.approval
        play.prev.pop(ref, None)
        play.failed.discard(ref)


def decision_view(event: m.ApprovalDecided) -> dict[str, Any]:
    """Return a decision as the API shows it and expressions see it (spec flow8 section 12)."""
    view = {"decision": event.decision, "note": event.note, "by": event.by, "at": _shown(event.at)}
    if event.gate is None:
        return view
    votes = [{**msgspec.structs.asdict(vote), "at": _shown(vote.at)} for vote in event.gate.votes]
    return {**view, "votes": votes}


def _shown(at: datetime) -> str:
    # Times that people see are whole seconds (spec flow8 section 2).
    return at.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _run(play: Play, event: m.LayerEvent) -> LayerRun:
    return _run_at(level_of(play, event.iteration), event)


def _run_at(level: Level, event: m.LayerEvent) -> LayerRun:
    run = level.layers.get(event.ref)
    if run is None:
        run = level.layers[event.ref] = LayerRun(event.layer_id, event.order, iteration=event.iteration)
    return run


def _ended(play: Play, event: m.LayerCompleted | m.LayerFailed, *, state: m.LayerState, out: Any) -> None:
    level = play if not event.iteration else level_of(play, event.iteration)
    if level.loop is not None:
        play_levels.close(level, event.ref)
    run = level.layers.get(event.ref)
    if run is None:
        # All that is known of a pure step; made at once it costs a third.
        run = level.layers[event.ref] = LayerRun(
            event.layer_id,
            event.order,
            state,
            event.attempts,
            started_at=event.started_at,
            out=out,
            error=event.error,
            error_code=event.error_code,
            ended_at=event.at,
            iteration=event.iteration,
            reused=event.reused,
        )
    else:
        run.state, run.out, run.until, run.waits_for, run.read = state, out, None, "", ()
        run.error, run.error_code = event.error, event.error_code
        run.started_at, run.ended_at = event.started_at, event.at
        run.attempts, run.reused = event.attempts, event.reused
        if run.child:
            _leave_child(play, run)
    # A skipped or filtered step has no output; its state can still be asked for (spec flow8 sections 6 and 7).
    level.prev[event.ref] = StepView(out=out, state=state, error=event.error, approval=run.approval)
    play.resumes = 0
