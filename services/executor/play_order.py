"""What follows by itself in a play, pure: the order of its steps and how it ends (spec flow8 sections 9 to 12)."""

from datetime import datetime, timedelta
from typing import NamedTuple

from libs.common.messages import play as m
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play
from services.executor.play_outcomes import completed, failed, failure, skipped

_NONE: frozenset[str] = frozenset()


class Todo(NamedTuple):
    """What follows: events to record, steps that can run now, and when the next waiting one is due.

    `ended` tells that the events end the play; `until` is None when only decisions are awaited.
    """

    events: list[m.PlayEvent]
    ready: list[Step]
    ended: bool
    until: datetime | None


NOTHING_FOLLOWS = Todo([], [], ended=True, until=None)


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


def _advance_group(
    play: Play, plan: Plan, group: list[Step], now: datetime, deadline: datetime | None
) -> Todo:
    events: list[m.PlayEvent] = []
    ready: list[Step] = []
    due: list[datetime] = [] if deadline is None else [deadline]
    failed_refs = _failed_before(play, plan, group[0].group)
    for step in group:
        run = play.layers.get(step.ref)
        if run is None or run.state == "NEW":
            if failed_refs and not step.handles & failed_refs:
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
    if not play.failed:
        return _NONE
    return frozenset(
        ref
        for ref in play.failed
        if plan.steps[ref].group < group and plan.steps[ref].layer.on_error == "fail"
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
            events.append(failed(step.ref, run, now, error, code))
    return [*events, m.PlayFailed(at=now, error=error, error_code=code, started_at=play.started_at)]
