"""What a retry of a failed play begins anew, pure: its failed steps, and those that were skipped because of them."""

from services.executor.plan import Plan, Step
from services.executor.play import LayerRun, Play


def restarts(play: Play, plan: Plan) -> tuple[str, ...]:
    """Return the refs of the steps that a retry resets, in their order; everything else keeps what it put out.

    A failure that the flow tolerated (`onError: continue`) stands, unless the end of the play itself stopped the step:
    a cancel or the flow's timeout. After the first failed group a FILTERED step is asked again, for its filters may
    have looked at the failure. A loop begins anew as a whole.
    """
    failed = {ref for ref, step in plan.steps.items() if _has_failed(play, step)}
    first = min((plan.steps[ref].group for ref in failed), default=len(plan.groups))
    undone = {
        ref for ref, step in plan.steps.items() if _is_undone(play.layers.get(ref), after=step.group > first)
    }
    begin = failed | undone
    loops = {loop for ref in begin for loop in plan.steps[ref].place.loops[:1]}
    loops |= {ref for ref in begin if plan.steps[ref].place.body_end}
    whole = {ref for ref, step in plan.steps.items() if any(_holds(plan.steps[loop], step) for loop in loops)}
    # Steps of a loop that was broken off are known of its items alone: those are forgotten as well.
    return tuple(ref for ref in plan.steps if ref in whole or (ref in begin and ref in play.layers))


def _holds(iterator: Step, step: Step) -> bool:
    return step is iterator or iterator.group < step.group < iterator.place.body_end


def _has_failed(play: Play, step: Step) -> bool:
    run = play.layers.get(step.ref)
    if run is None or run.state != "FAIL":
        return False
    stopped = play.failed_ref is None and run.error == play.error
    return step.layer.on_error == "fail" or stopped


def _is_undone(run: LayerRun | None, *, after: bool) -> bool:
    if run is None:
        return False
    never_ran = run.state == "SKIP" and run.started_at is None
    return never_ran or (after and run.state == "FILTERED")
