"""What a replay takes over from the play that it repeats, pure: the ends of the steps before it begins."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from libs.common.messages import play as m
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play


def missing(play: Play, plan: Plan) -> list[Step]:
    """Return the steps whose ends this play takes over and does not have yet; none when it is no replay."""
    if play.replay is None or play.replay.from_ref not in plan.steps:
        return []
    first = first_group(plan, play.replay.from_ref)
    steps = [step for group in plan.groups[:first] for step in group]
    if any(_runs_here(play.layers.get(step.ref)) for step in steps):
        # It began under a release that takes over less: a loop is run again from which an aggregator gathers.
        return []
    return [step for step in steps if (run := play.layers.get(step.ref)) is None or not run.ended]


def _runs_here(run: LayerRun | None) -> bool:
    return run is not None and run.state != "NEW" and not run.reused


def first_group(plan: Plan, from_ref: str) -> int:
    """Return the group with which a replay begins: that of the step, or of the loop around it."""
    step = plan.steps[from_ref]
    return min((plan.steps[loop].group for loop in step.place.loops), default=step.group)


def taken_over(source: Play, step: Step, at: datetime) -> Iterator[m.PlayEvent]:
    """Return the events that give a step the end it had in the source; none when it had none.

    Those of an iterator also tell what its loop gathered for aggregators.
    """
    run = source.layers.get(step.ref)
    if run is None or not run.ended:
        return
    about: dict[str, Any] = {"at": at, "ref": step.ref, "layer_id": step.layer.id, "order": step.order}
    for key in step.place.collects:
        if key in source.collected:
            yield m.LayerCollected(**about, key=key, items=source.collected[key])
    if run.approval is not None:
        yield _decided(run.approval, about)
    yield _ended(run, about, at if run.started_at is not None else None)


def size_of(event: m.PlayEvent) -> int:
    """Return how many bytes of JSON the values of such an event have."""
    match event:
        case m.LayerCompleted():
            return len(msgspec.json.encode(event.out))
        case m.LayerCollected():
            return len(msgspec.json.encode(event.items))
        case _:
            return 0


def _decided(approval: dict[str, Any], about: dict[str, Any]) -> m.ApprovalDecided:
    decided_at = datetime.fromisoformat(approval["at"])
    rest = {name: approval[name] for name in ("decision", "note", "by")}
    return m.ApprovalDecided(**{**about, "at": decided_at}, **rest)


def _ended(run: LayerRun, about: dict[str, Any], started_at: datetime | None) -> m.PlayEvent:
    taken: dict[str, Any] = {**about, "started_at": started_at, "attempts": 0, "reused": True}
    if run.state == "FAIL":
        return m.LayerFailed(**taken, error=run.error or "", error_code=run.error_code or "MODULE_ERROR")
    return m.LayerCompleted(**taken, state=run.state, out=run.out, error=run.error, error_code=run.error_code)
