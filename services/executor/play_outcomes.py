"""The events of steps that ended, pure: done, skipped, filtered, failed by their `onError` (spec flow8 section 11)."""

import zlib
from datetime import datetime, timedelta
from typing import Any

from libs.common.messages import approval
from libs.common.messages import play as m
from services.executor.plan import Step, retry_delay_ms
from services.executor.play import Child, Play, run_of
from services.executor.play_levels import Iteration, LayerRun


def skipped(step: Step, at: datetime, *, state: m.LayerState = "SKIP") -> m.LayerCompleted:
    """Return the event of a step that never ran: SKIP, or FILTERED."""
    return m.LayerCompleted(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        state=state,
        out=None,
        attempts=0,
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
        iteration=step.iteration,
        state=state,
        out=out,
        started_at=(run.started_at if run else None) or at,
        attempts=(run.attempts if run else 0) + 1,
        announced=run.announced if run else False,
    )


def attempt_failed(
    play: Play, step: Step, at: datetime, *, error: str, code: str, final: bool = False, out: Any = None
) -> m.PlayEvent:
    """Return the event of an attempt that failed: another will follow, or the step failed (spec flow8 section 10)."""
    run = run_of(play, step.ref, step.iteration)
    retry = step.layer.retry
    attempt = (run.attempts if run else 0) + 1
    if final or retry is None or attempt > retry.count:
        return failure(step, run, at, error=error, code=code, out=out)
    delay_ms = retry_delay_ms(retry, attempt=attempt, chance=chance_of(play.seed, step.name, attempt))
    return m.LayerRetrying(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        attempt=attempt,
        error=error,
        error_code=code,
        until=at + timedelta(milliseconds=delay_ms),
    )


def chance_of(seed: str, name: str, attempt: int) -> float:
    """Return the number in [0, 1) that spreads this retry; the same whoever computes it (D8)."""
    return zlib.crc32(f"{seed}:{name}:{attempt}".encode()) / 2**32


def child_ended(play: Play, step: Step, run: LayerRun, child: Child, at: datetime) -> m.PlayEvent:
    """Return what the end of the child means for the step that waits for it (spec flow8 section 17.1)."""
    out = {"state": child.state, "playId": child.start.play_id, "out": child.out}
    if child.state != "FAIL":
        return completed(step, run, at, out=out)
    error = f"play {child.start.play_id} failed: {child.error}"
    return attempt_failed(play, step, at, error=error, code="MODULE_ERROR", out=out)


def child_overdue(play: Play, step: Step, child: Child, at: datetime) -> m.PlayEvent:
    """Return what it means that the child has not ended in time."""
    error = f"execution timeout: play {child.start.play_id} has not ended in time and is cancelled"
    out = {"state": "RUN", "playId": child.start.play_id, "out": None}
    return attempt_failed(play, step, at, error=error, code="TIMEOUT", out=out)


def failure(
    step: Step, run: LayerRun | None, at: datetime, *, error: str, code: str, out: Any = None
) -> m.PlayEvent:
    """Return the event of a step that failed for good, by the step's `onError` (spec flow8 section 11)."""
    run = run or LayerRun(step.layer.id, step.order)
    if step.layer.on_error != "skip":
        return failed(step.ref, step.iteration, run, at, error=error, code=code, out=out)
    return m.LayerCompleted(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        state="SKIP",
        started_at=run.started_at or at,
        attempts=run.attempts + 1,
        announced=run.announced,
        error=error,
        error_code=code,
    )


def failed(
    ref: str, iteration: Iteration, run: LayerRun, at: datetime, *, error: str, code: str, out: Any = None
) -> m.LayerFailed:
    """Return the event of a step whose failure stands."""
    return m.LayerFailed(
        at=at,
        ref=ref,
        layer_id=run.layer_id,
        order=run.order,
        iteration=iteration,
        error=error,
        error_code=code,
        started_at=run.started_at or at,
        attempts=run.attempts + 1,
        announced=run.announced,
        out=out,
    )


def started(step: Step, at: datetime, attempt: int, *, read: tuple[str, ...] = ()) -> m.LayerStarted:
    """Return the event of a step with effects that is about to run, with what it has read of KV."""
    return m.LayerStarted(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        attempt=attempt,
        read=read,
    )


def waiting(
    step: Step,
    at: datetime,
    kind: m.WaitKind,
    *,
    until: datetime | None = None,
    out: Any = None,
    child: m.ChildPlay | None = None,
    args: dict[str, Any] | None = None,
) -> m.LayerWaiting:
    """Return the event of a step that waits: for a decision, for a play, or until a time."""
    return m.LayerWaiting(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        kind=kind,
        until=until,
        out=out,
        child=child,
        args=args or {},
    )


def iterating(step: Step, at: datetime, items: list[Any], batch_size: int) -> m.LayerIterating:
    """Return the event of an iterator that begins to hand out its items."""
    return m.LayerIterating(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        items=items,
        batch_size=batch_size,
        collects=step.place.collects,
    )


def item_ended(step: Step, index: int, at: datetime, *, failed: bool) -> m.ItemEnded:
    """Return the event of an item of this iterator whose steps have all ended."""
    return m.ItemEnded(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=(*step.iteration, index),
        failed=failed,
    )


def gated(step: Step, at: datetime) -> m.LayerWaiting:
    """Return the event of a step that waits for an approval, with the rules that the flow gives it."""
    rules = step.layer.approval
    gate = None if rules is None else approval.gate_of(rules, at)
    return m.LayerWaiting(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        kind="approval",
        until=None if gate is None else gate.due_at,
        gate=gate,
    )


def undecided(step: Step, gate: approval.Gate, at: datetime) -> m.PlayEvent:
    """Return the event of an approval whose time is over, or that is due for a reminder."""
    about: dict[str, Any] = {
        "at": at,
        "ref": step.ref,
        "layer_id": step.layer.id,
        "order": step.order,
        "iteration": step.iteration,
    }
    if gate.timeout_at is None or gate.timeout_at > at:
        return m.ApprovalReminded(**about, gate=approval.reminded(gate, at))
    if gate.on_timeout == "escalate":
        return m.ApprovalEscalated(**about, gate=approval.escalated(gate, at))
    decision: m.Decision = "approved" if gate.on_timeout == "approve" else "declined"
    return m.ApprovalDecided(**about, decision=decision, note="nobody decided in time", gate=gate)
