"""The events of steps that ended, pure: done, skipped, filtered, failed by their `onError` (spec flow8 section 11)."""

from datetime import datetime
from typing import Any

from libs.common.messages import play as m
from services.executor.plan import Step
from services.executor.play import LayerRun


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
        return failed(step.ref, run, at, error, code)
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


def failed(ref: str, run: LayerRun, at: datetime, error: str, code: str) -> m.LayerFailed:
    """Return the event of a step whose failure stands."""
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


def waiting(
    step: Step, at: datetime, kind: m.WaitKind, *, until: datetime | None = None, out: Any = None
) -> m.LayerWaiting:
    """Return the event of a step that waits for a decision, or until a time."""
    return m.LayerWaiting(
        at=at, ref=step.ref, layer_id=step.layer.id, order=step.order, kind=kind, until=until, out=out
    )
