"""A play's rules and bookkeeping, pure: what a command means, what follows by itself, what an event changes.

`receive` is the table of design D5, `advance` the order of steps (spec flow8 sections 9 to 12), `evolve` the fold. One
driver owns a Play and evolves it in place; `fold` makes a new one from a history.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, assert_never

import msgspec

from libs.common.codec import Commit
from libs.common.messages import play as m
from libs.expressions import StepView
from services.executor.plan import Plan, Step

RESUMES_WITHOUT_PROGRESS_MAX = 3


class LayerRun(msgspec.Struct):
    """How far one step is."""

    layer_id: str
    order: int
    state: m.LayerState = "NEW"
    attempts: int = 0  # attempts that ended in failure
    announced: bool = False
    started_at: datetime | None = None
    waits_for: str = ""  # approval, delay, defer or retry while in WAIT
    until: datetime | None = None
    out: Any = None
    error: str | None = None
    error_code: str | None = None
    approval: dict[str, Any] | None = None
    deferred: bool = False

    @property
    def ended(self) -> bool:
        """Tell whether nothing can happen to this step any more."""
        return self.state in m.TERMINAL


class Play(msgspec.Struct):
    """All that deciding about a play needs to know. The empty play has not begun."""

    status: m.PlayState = "NEW"
    definition: int = 0
    flow_version: int = 0
    args: dict[str, Any] = {}
    seed: str = ""
    epoch: int = 0
    driver: m.Driver | None = None
    started_at: datetime | None = None
    layers: dict[str, LayerRun] = {}
    prev: dict[str, Any] = {}
    applied: set[str] = set()
    wait_id: str = ""
    wait_until: datetime | None = None
    cancelled_by: str | None = None
    resumes: int = 0
    cursor: int = 0  # groups before this one have ended; a memory of `advance`, derived

    @property
    def begun(self) -> bool:
        """Tell whether the play has a history."""
        return self.epoch > 0

    @property
    def ended(self) -> bool:
        """Tell whether the play is in a terminal state."""
        return self.status in m.TERMINAL


# ── bookkeeping ─────────────────────────────────────────────────────────────────────────────────────


def fold(commits: Iterable[Commit]) -> Play:
    """Return the state after these commits."""
    play = Play()
    for commit in commits:
        evolve_commit(play, commit)
    return play


def evolve_commit(play: Play, commit: Commit) -> None:
    """Record one commit: its events, and the command that caused it (R10)."""
    play.applied.add(commit.causation_id)
    for event in commit.events:
        evolve(play, event)


def evolve(play: Play, event: m.PlayEvent) -> None:  # noqa: C901, PLR0912 - one branch an event, nothing else
    """Record one event. Accepts every event ever stored and refuses nothing."""
    match event:
        case m.PlayStarted():
            _started(play, event)
        case m.PlayResumed():
            play.status, play.epoch, play.driver = "RUN", event.epoch, event.driver
            play.wait_id, play.wait_until = "", None
            play.resumes = play.resumes + 1 if event.reason in {"redelivery", "revive"} else 0
        case m.PlayWaiting():
            play.status, play.wait_id, play.wait_until = "WAIT", event.wait_id, event.until
        case m.CancelRequested():
            play.cancelled_by = event.by
        case m.ApprovalDecided():
            run = _run(play, event)
            run.approval = {
                "decision": event.decision,
                "note": event.note,
                "by": event.by,
                "at": event.at.isoformat().replace("+00:00", "Z"),
            }
        case m.LayerStarted():
            run = _run(play, event)
            run.state, run.announced, run.until, run.waits_for = "RUN", True, None, ""
            run.started_at = run.started_at or event.at
            play.resumes = 0
        case m.LayerWaiting():
            run = _run(play, event)
            run.state, run.waits_for, run.until, run.out = "WAIT", event.kind, event.until, event.out
            run.deferred = run.deferred or event.kind == "defer"
            run.started_at = run.started_at or event.at
            play.resumes = 0
        case m.LayerRetrying():
            run = _run(play, event)
            run.state, run.waits_for, run.until, run.attempts = "WAIT", "retry", event.until, event.attempt
            run.error, run.error_code = event.error, event.error_code
            play.resumes = 0
        case m.LayerCompleted():
            _ended(play, event, state=event.state, out=event.out)
        case m.LayerFailed():
            _ended(play, event, state="FAIL", out=None)
        case m.PlayCompleted():
            play.status = event.state
        case m.PlayFailed():
            play.status = "FAIL"
        case _:
            assert_never(event)


def _started(play: Play, event: m.PlayStarted) -> None:
    play.status = "RUN"
    play.definition, play.flow_version = event.definition, event.flow_version
    play.args, play.seed = event.args, event.seed
    play.epoch, play.driver, play.started_at = event.epoch, event.driver, event.at
    play.prev = {"args": event.args}


def _run(play: Play, event: m.LayerEvent) -> LayerRun:
    run = play.layers.get(event.ref)
    if run is None:
        run = play.layers[event.ref] = LayerRun(event.layer_id, event.order)
    return run


def _ended(play: Play, event: m.LayerCompleted | m.LayerFailed, *, state: m.LayerState, out: Any) -> None:
    run = _run(play, event)
    run.state, run.out, run.until, run.waits_for = state, out, None, ""
    run.error, run.error_code = event.error, event.error_code
    run.started_at = event.started_at
    # A skipped or filtered step has no output; its state can still be asked for (spec flow8 sections 6 and 7).
    play.prev[event.ref] = StepView(out=out, state=state, error=event.error, approval=run.approval)
    play.resumes = 0


# ── commands ────────────────────────────────────────────────────────────────────────────────────────


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
        case m.RevivePlay():
            return Received("ask_driver", _take_over(play, command.at, driver, "revive"))
        case m.StartPlay() | m.WakePlay():
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
        case m.StartPlay() | m.RevivePlay():
            return ACK
        case _:
            assert_never(command)
    resumed = m.PlayResumed(at=command.at, epoch=play.epoch + 1, driver=driver, reason=reason)
    return Received("drive", (*facts, resumed))


def _take_over(
    play: Play, at: datetime, driver: m.Driver, reason: Literal["redelivery", "revive"]
) -> tuple[m.PlayEvent, ...]:
    resumed = m.PlayResumed(at=at, epoch=play.epoch + 1, driver=driver, reason=reason)
    if play.resumes < RESUMES_WITHOUT_PROGRESS_MAX:
        return (resumed,)
    error = f"{play.resumes} executors in a row were lost while they ran this"
    running = [(ref, run) for ref, run in play.layers.items() if run.state == "RUN"]
    if not running:
        return (resumed, m.PlayFailed(at=at, error=error, error_code="EXECUTOR_LOST"))
    failed = tuple(_failed(ref, run, at, error, "EXECUTOR_LOST") for ref, run in running)
    return (resumed, *failed)


def _approval(play: Play, command: m.ApprovePlay) -> m.ApprovalDecided | None:
    for ref, run in play.layers.items():
        pending = run.state == "WAIT" and run.waits_for == "approval" and run.approval is None
        if pending and command.layer_id in {run.layer_id, ref}:
            return m.ApprovalDecided(
                at=command.at,
                ref=ref,
                layer_id=run.layer_id,
                order=run.order,
                decision=command.decision,
                note=command.note,
                by=command.by,
            )
    return None


# ── what follows by itself ──────────────────────────────────────────────────────────────────────────


class Todo(NamedTuple):
    """What follows: events to record, steps that can run now, and when the next waiting one is due.

    `ended` tells that the events end the play; `until` is None when only decisions are awaited.
    """

    events: list[m.PlayEvent]
    ready: list[Step]
    ended: bool
    until: datetime | None


def advance(play: Play, plan: Plan, now: datetime) -> Todo:
    """Return what follows from the state of this play, by the order of its flow.

    Steps in RUN are in `ready` as well: their driver knows whether it runs them already.
    """
    deadline = _deadline(play, plan)
    if play.cancelled_by is not None:
        return Todo(_abort(play, plan, now, error="CANCELLED", code="CANCELLED"), [], ended=True, until=None)
    if deadline is not None and now >= deadline:
        error = f"execution timeout: the flow ran for more than {plan.flow.execution.timeout} s"
        return Todo(_abort(play, plan, now, error=error, code="TIMEOUT"), [], ended=True, until=None)
    for position in range(play.cursor, len(plan.groups)):
        group = plan.groups[position]
        still_open = [step for step in group if not _has_ended(play, step)]
        if still_open:
            play.cursor = position
            return _advance_group(play, plan, still_open, now, deadline)
    play.cursor = len(plan.groups)
    return Todo([_end(play, plan, now)], [], ended=True, until=None)


def _deadline(play: Play, plan: Plan) -> datetime | None:
    timeout = plan.flow.execution.timeout
    if not timeout or play.started_at is None:
        return None
    return play.started_at + timedelta(seconds=timeout)


def _has_ended(play: Play, step: Step) -> bool:
    run = play.layers.get(step.ref)
    return run is not None and run.ended


def _advance_group(play: Play, plan: Plan, group: list[Step], now: datetime, deadline: datetime | None) -> Todo:
    events: list[m.PlayEvent] = []
    ready: list[Step] = []
    due: list[datetime] = [] if deadline is None else [deadline]
    failed = _failed_before(play, plan, group[0].group)
    for step in group:
        run = play.layers.get(step.ref)
        if run is None or run.state == "NEW":
            if failed and not step.handles & failed:
                events.append(skipped(step, now))
            else:
                ready.append(step)
        elif run.state == "RUN":
            ready.append(step)
        else:
            _advance_waiting(step, run, now, Todo(events, ready, ended=False, until=None), due)
    return Todo(events, ready, ended=False, until=min(due, default=None))


def _advance_waiting(step: Step, run: LayerRun, now: datetime, todo: Todo, due: list[datetime]) -> None:
    if run.waits_for == "approval":
        if run.approval is None:
            return
        if run.approval["decision"] == "approved":
            todo.ready.append(step)
            return
        note = run.approval["note"]
        error = f"approval declined: {note}" if note else "approval declined"
        todo.events.append(failure(step, run, now, error=error, code="APPROVAL_DECLINED"))
        return
    if run.until is not None and run.until > now:
        due.append(run.until)
    elif run.waits_for == "delay":
        todo.events.append(completed(step, run, now, out=run.out))
    else:
        todo.ready.append(step)


def _failed_before(play: Play, plan: Plan, group: int) -> frozenset[str]:
    return frozenset(
        ref
        for ref, run in play.layers.items()
        if run.state == "FAIL" and plan.steps[ref].group < group and plan.steps[ref].layer.on_error == "fail"
    )


def _end(play: Play, plan: Plan, now: datetime) -> m.PlayEvent:
    """Return how the play ends (spec flow8 section 9, Q9 and Q23)."""
    steps = [step for group in plan.groups for step in group]
    for step in steps:
        run = play.layers[step.ref]
        if run.state == "FAIL" and step.layer.on_error == "fail":
            return m.PlayFailed(
                at=now,
                error=run.error or "",
                error_code=run.error_code or "MODULE_ERROR",
                ref=step.ref,
                layer_id=step.layer.id,
                started_at=play.started_at,
            )
    states = [play.layers[step.ref].state for step in steps]
    done = [step for step in steps if play.layers[step.ref].state == "DONE"]
    state: m.PlayState = "DONE"
    if states and all(s == "FILTERED" for s in states):
        state = "FILTERED"
    elif states and all(s in {"FILTERED", "SKIP"} for s in states):
        state = "SKIP"
    # `steps` stand by index, then as listed: the last one that is DONE is the flow's output (Q20).
    out = play.layers[done[-1].ref].out if done else {}
    return m.PlayCompleted(at=now, state=state, out=out, started_at=play.started_at)


def _abort(play: Play, plan: Plan, now: datetime, *, error: str, code: str) -> list[m.PlayEvent]:
    events: list[m.PlayEvent] = []
    for step in plan.steps.values():
        run = play.layers.get(step.ref)
        if run is None or run.state == "NEW":
            events.append(skipped(step, now))
        elif not run.ended:
            events.append(_failed(step.ref, run, now, error, code))
    return [*events, m.PlayFailed(at=now, error=error, error_code=code, started_at=play.started_at)]


# ── outcomes of steps ───────────────────────────────────────────────────────────────────────────────


def skipped(step: Step, at: datetime, *, state: m.LayerState = "SKIP") -> m.LayerCompleted:
    """Return the event of a step that never ran: SKIP, or FILTERED."""
    return m.LayerCompleted(
        at=at, ref=step.ref, layer_id=step.layer.id, order=step.order, state=state, out=None, attempts=0
    )


def completed(
    step: Step, run: LayerRun | None, at: datetime, *, out: Any, state: m.LayerState = "DONE"
) -> m.LayerCompleted:
    """Return the event of a step that ran and ended well."""
    return m.LayerCompleted(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        state=state,
        out=out,
        started_at=(run.started_at if run else None) or at,
        attempts=(run.attempts if run else 0) + 1,
        announced=run.announced if run else False,
    )


def failure(step: Step, run: LayerRun | None, at: datetime, *, error: str, code: str) -> m.PlayEvent:
    """Return the event of a step that failed for good, by the step's `onError` (spec flow8 section 11)."""
    run = run or LayerRun(step.layer.id, step.order)
    if step.layer.on_error != "skip":
        return _failed(step.ref, run, at, error, code)
    return m.LayerCompleted(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        state="SKIP",
        started_at=run.started_at or at,
        attempts=run.attempts + 1,
        announced=run.announced,
        error=error,
        error_code=code,
    )


def _failed(ref: str, run: LayerRun, at: datetime, error: str, code: str) -> m.LayerFailed:
    return m.LayerFailed(
        at=at,
        ref=ref,
        layer_id=run.layer_id,
        order=run.order,
        error=error,
        error_code=code,
        started_at=run.started_at or at,
        attempts=run.attempts + 1,
        announced=run.announced,
    )
