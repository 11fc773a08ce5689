"""What a replay takes over from the play that it repeats, pure: the ends of the steps before it begins."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from libs.common.messages import play as m
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play


def missing(play: Play, plan: Plan) -> list[Step]:
    """Return the steps whose ends this play takes over and does not have yet; none when it is no replay."""
    if play.replay is None or play.replay.from_ref not in plan.steps:
        return []
    first = first_group(plan, play.replay.from_ref)
    steps = [step for group in plan.groups[:first] for step in group]
    return [step for step in steps if (run := play.layers.get(step.ref)) is None or not run.ended]


def first_group(plan: Plan, from_ref: str) -> int:
    """Return the group with which a replay begins: that of the step, or of the loop around it.

    Where its group gathers from a loop, the replay begins with that: what its items left is not taken over.
    """
    step = plan.steps[from_ref]
    loops = step.place.loops[:1] or tuple(
        source.place.loops[0] for each in plan.groups[step.group] for source in _gathered(plan, each)
    )
    return min((plan.steps[loop].group for loop in loops), default=step.group)


def lost_source(plan: Plan, from_ref: str) -> str | None:
    """Return the step that would gather from a loop whose items are not taken over, None when there is none."""
    first = first_group(plan, from_ref)
    for step in plan.steps.values():
        if step.group >= first and any(source.group < first for source in _gathered(plan, step)):
            return step.ref
    return None


def _gathered(plan: Plan, step: Step) -> list[Step]:
    """Return the steps of loops that a step gathers from."""
    sources = (plan.steps.get(source.partition(".")[0]) for source in step.place.sources)
    return [source for source in sources if source is not None and source.place.loops]


def taken_over(source: Play, step: Step, at: datetime) -> Iterator[m.PlayEvent]:
    """Return the events that give a step the end it had in the source; none when it had none."""
    run = source.layers.get(step.ref)
    if run is None or not run.ended:
        return
    about: dict[str, Any] = {"at": at, "ref": step.ref, "layer_id": step.layer.id, "order": step.order}
    if run.approval is not None:
        yield _decided(run.approval, about)
    yield _ended(run, about, at if run.started_at is not None else None)


def _decided(approval: dict[str, Any], about: dict[str, Any]) -> m.ApprovalDecided:
    decided_at = datetime.fromisoformat(approval["at"])
    rest = {name: approval[name] for name in ("decision", "note", "by")}
    return m.ApprovalDecided(**{**about, "at": decided_at}, **rest)


def _ended(run: LayerRun, about: dict[str, Any], started_at: datetime | None) -> m.PlayEvent:
    taken: dict[str, Any] = {**about, "started_at": started_at, "attempts": 0, "reused": True}
    if run.state == "FAIL":
        return m.LayerFailed(**taken, error=run.error or "", error_code=run.error_code or "MODULE_ERROR")
    return m.LayerCompleted(**taken, state=run.state, out=run.out, error=run.error, error_code=run.error_code)
