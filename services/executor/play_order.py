"""What follows by itself in a play, pure: the order of its steps and how it ends (spec flow8 sections 9 to 12)."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.common.messages import play as m
from services.executor.plan import Plan, Step
from services.executor.play import Play, run_of
from services.executor.play_levels import Iteration, LayerRun, Level, Loop, levels, runs
from services.executor.play_outcomes import (
    child_ended,
    child_overdue,
    completed,
    failed,
    failure,
    item_ended,
    skipped,
    undecided,
)

_NONE: frozenset[str] = frozenset()


class Todo(msgspec.Struct, frozen=True):
    """What follows: events to record, steps that can run now, and when the next waiting one is due.

    `ended` tells that the events end the play; `until` is None when only decisions are awaited; `held` tells that once
    what is ready has ended, the play is parked on hold.
    """

    events: list[m.PlayEvent]
    ready: list[Step]
    ended: bool
    until: datetime | None
    held: bool = False


NOTHING_FOLLOWS = Todo([], [], ended=True, until=None)


def advance(play: Play, plan: Plan, now: datetime) -> Todo:
    """Return what follows from the state of this play, by the order of its flow.

    Steps in RUN are in `ready` as well: their driver knows whether it runs them already.
    """
    deadline = _deadline(play, plan) if plan.flow.execution.timeout else None
    if play.cancelled_by is not None:
        return Todo(_abort(play, plan, now, error="CANCELLED", code="CANCELLED"), [], ended=True, until=None)
    if deadline is not None and now >= deadline:
        error = f"execution timeout: the flow ran for more than {plan.flow.execution.timeout} s"
        return Todo(_abort(play, plan, now, error=error, code="TIMEOUT"), [], ended=True, until=None)
    look = _Look(play, plan, now, [], [], [] if deadline is None else [deadline])
    if _advance_level(look, play, _Span((), "", 0, len(plan.groups))):
        return Todo([_end(play, plan, now)], [], ended=True, until=None)
    if play.hold is not None:
        # What runs may end; nothing else begins. A play whose last step has ended has nothing left to hold.
        running = [step for step in look.ready if _runs(play, step)]
        return Todo([], running, ended=False, until=deadline if running else None, held=True)
    return Todo(look.events, look.ready, ended=False, until=min(look.due) if look.due else None)


class _Look(msgspec.Struct, frozen=True):
    """What one look at a play finds. A struct is made three times as fast as a tuple with names."""

    play: Play
    plan: Plan
    now: datetime
    events: list[m.PlayEvent]
    ready: list[Step]
    due: list[datetime]


class _Span(msgspec.Struct, frozen=True):
    """The groups that one level runs through: of the flow, or of one item of the iterator `within`."""

    iteration: Iteration
    within: str
    begin: int
    end: int


def _deadline(play: Play, plan: Plan) -> datetime | None:
    if play.clock_from is None:
        return None
    return play.clock_from + timedelta(seconds=plan.flow.execution.timeout)


def _advance_level(look: _Look, level: Level, span: _Span) -> bool:
    """Find what follows at this level; tell whether all of its groups have ended."""
    groups, layers = look.plan.groups, level.layers
    for position in range(level.cursor or span.begin, span.end):
        # Written out: every step of every play passes here, and a comprehension is a call.
        still_open = []
        for step in groups[position]:
            run = layers.get(step.ref)
            if run is None or run.state not in m.TERMINAL:
                still_open.append(step)
        if still_open:
            level.cursor = position
            _advance_group(look, level, span, still_open)
            return False
    level.cursor = span.end
    return True


def _advance_group(look: _Look, level: Level, span: _Span, group: list[Step]) -> None:
    failed_refs = _failed_before(level, look.plan, group[0].group) if level.failed else _NONE
    for each in group:
        run = level.layers.get(each.ref)
        step = each.at(span.iteration) if span.iteration else each
        if run is None or run.state == "NEW":
            # The body of a loop whose items do not run is skipped, too; who looks at the failure is the exception.
            idle = failed_refs or step.place.within != span.within
            if idle and not step.handles & failed_refs:
                look.events.append(skipped(step, look.now))
            else:
                look.ready.append(step)
        elif run.state != "RUN":
            _advance_waiting(look, step, run)
        elif level.loop is None or level.loop.ref != step.ref:
            look.ready.append(step)
        elif len(group) == 1:
            _advance_loop(look, level, level.loop, step, run)


def _advance_loop(look: _Look, level: Level, loop: Loop, step: Step, run: LayerRun) -> None:
    """Find what follows in the batch at hand; end the loop after its last one (spec flow8 section 17.1, Q17)."""
    body = step.group + 1
    if loop.finished or _failed_before(level, look.plan, body):
        look.events.append(completed(step, run, look.now, out=loop.out))
        return
    for index in range(loop.start, loop.batch_end):
        if index in loop.ended:
            continue
        item = loop.open.get(index) or Level()
        span = _Span((*step.iteration, index), step.ref, body, step.place.body_end)
        if _advance_level(look, item, span):
            stands = bool(_failed_before(item, look.plan, span.end))
            look.events.append(item_ended(step, index, look.now, failed=stands))


def _advance_waiting(look: _Look, step: Step, run: LayerRun) -> None:
    now = look.now
    child = look.play.children.get(run.child) if run.waits_for == "child" else None
    if child is not None and child.state is not None:
        look.events.append(child_ended(look.play, step, run, child, now))
        return
    if run.waits_for == "approval":
        if run.approval is None:
            _advance_gate(look, step, run)
            return
        if run.approval["decision"] == "approved":
            look.ready.append(step)
            return
        note = run.approval["note"]
        error = f"approval declined: {note}" if note else "approval declined"
        look.events.append(failure(step, run, now, error=error, code="APPROVAL_DECLINED"))
        return
    if run.until is not None and run.until > now:
        look.due.append(run.until)
    elif child is not None:
        look.events.append(child_overdue(look.play, step, child, now))
    elif run.waits_for == "delay":
        look.events.append(completed(step, run, now, out=run.out))
    else:
        look.ready.append(step)


def _runs(play: Play, step: Step) -> bool:
    run = run_of(play, step.ref, step.iteration)
    return run is not None and run.state == "RUN"


def _advance_gate(look: _Look, step: Step, run: LayerRun) -> None:
    """What happens by itself to an approval that nobody decided: its time is over, or a reminder is due."""
    gate = run.gate
    if gate is None or gate.due_at is None:
        return
    if gate.due_at > look.now:
        look.due.append(gate.due_at)
    else:
        look.events.append(undecided(step, gate, look.now))


def _failed_before(level: Level, plan: Plan, group: int) -> frozenset[str]:
    if not level.failed:
        return _NONE
    return frozenset(
        ref
        for ref in level.failed
        if plan.steps[ref].group < group and plan.steps[ref].layer.on_error == "fail"
    )


def _end(play: Play, plan: Plan, now: datetime) -> m.PlayEvent:
    """Return how the play ends (spec flow8 section 9, Q9 and Q23)."""
    layers = play.layers
    # By index, then as listed: the last one that is DONE is the flow's output (Q20).
    out: Any = {}
    found: set[str] = set()
    for step in plan.steps.values():
        run = layers[step.ref]
        found.add(run.state)
        if run.state == "DONE":
            out = run.out
        elif run.state == "FAIL" and step.layer.on_error == "fail":
            return m.PlayFailed(
                at=now,
                error=run.error or "",
                error_code=run.error_code or "MODULE_ERROR",
                ref=step.ref,
                layer_id=step.layer.id,
                started_at=play.started_at,
            )
    state: m.PlayState = "DONE"
    if found == {"FILTERED"}:
        state = "FILTERED"
    elif found and found <= {"FILTERED", "SKIP"}:
        state = "SKIP"
    return m.PlayCompleted(at=now, state=state, out=out, started_at=play.started_at)


def _abort(play: Play, plan: Plan, now: datetime, *, error: str, code: str) -> list[m.PlayEvent]:
    """Return the end of everything: what is under way fails, what was not reached is skipped."""
    events: list[m.PlayEvent] = [
        failed(ref, iteration, run, now, error=error, code=code)
        for ref, iteration, run in runs(play)
        if iteration and not run.ended
    ]
    # Innermost first: nobody ends before those it goes around.
    events.reverse()
    events += [
        failed(level.loop.ref, iteration, level.layers[level.loop.ref], now, error=error, code=code)
        for iteration, level in reversed(list(levels(play)))
        if iteration and level.loop is not None
    ]
    in_loop = range(0)
    if play.loop is not None:
        iterator = plan.steps[play.loop.ref]
        in_loop = range(iterator.group + 1, iterator.place.body_end)
    for step in plan.steps.values():
        run = play.layers.get(step.ref)
        if run is None or run.state == "NEW":
            if step.group not in in_loop:
                events.append(skipped(step, now))
        elif not run.ended:
            events.append(failed(step.ref, (), run, now, error=error, code=code))
    return [*events, m.PlayFailed(at=now, error=error, error_code=code, started_at=play.started_at)]
