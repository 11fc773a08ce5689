"""The events of steps that ended, pure: done, skipped, filtered, failed by their `onError` (spec flow8 section 11)."""

from datetime import datetime
from typing import Any

from libs.common.messages import play as m
from services.executor.plan import Step
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


def failure(step: Step, run: LayerRun | None, at: datetime, *, error: str, code: str) -> m.PlayEvent:
    """Return the event of a step that failed for good, by the step's `onError` (spec flow8 section 11)."""
    run = run or LayerRun(step.layer.id, step.order)
    if step.layer.on_error != "skip":
        return failed(step.ref, step.iteration, run, at, error=error, code=code)
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
    ref: str, iteration: Iteration, run: LayerRun, at: datetime, *, error: str, code: str
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
    step: Step, at: datetime, kind: m.WaitKind, *, until: datetime | None = None, out: Any = None
) -> m.LayerWaiting:
    """Return the event of a step that waits for a decision, or until a time."""
    return m.LayerWaiting(
        at=at,
        ref=step.ref,
        layer_id=step.layer.id,
        order=step.order,
        iteration=step.iteration,
        kind=kind,
        until=until,
        out=out,
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
