"""Taking one step as far as it goes without effects: its gates, its args, its pure module; and what an attempt left."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from libs.common import metrics, trace
from libs.common.messages import play as m
from libs.common.messages.kv import KvConflict
from libs.common.subjects import PlayKey
from libs.expressions import Scope
from services.executor import steps
from services.executor.journal import Journal
from services.executor.modules.contract import Step as Call
from services.executor.parts import Parts
from services.executor.plan import Plan, Step
from services.executor.play import LayerRun
from services.executor.play_outcomes import failure, skipped, waiting

# A pure step that took longer than this ended at a time of its own; shorter ones share the time of their turn.
TURN_S = 0.001
_KV_CONFLICTS: dict[str, KvConflict] = {"parent": "parent", "merge": "merge"}


class Attempts:
    """The attempts at the steps of one driven play; everything they find out goes into its journal."""

    def __init__(
        self, parts: Parts, key: PlayKey, plan: Plan, journal: Journal, now: Callable[[], datetime]
    ) -> None:
        self._parts = parts
        self._key = key
        self._plan = plan
        self._journal = journal
        self._now = now

    def begin(self, step: Step, now: datetime) -> tuple[Step, dict[str, Any]] | None:
        """Take a step as far as it goes without effects; return its args when only the effect is left."""
        journal = self._journal
        run = journal.play.layers.get(step.ref)
        if step.broken is not None:
            journal.record(failure(step, run, now, error=step.broken, code=step.broken_code))
            return None
        began_at = (run and run.started_at) or now
        scope = steps.scope_of(journal.play, self._plan, self._key.play_id, step.ref, began_at)
        if run is None or run.state == "NEW" or run.waits_for == "defer":
            if not self._passes_gates(step, run, scope, now):
                return None
            run = journal.play.layers.get(step.ref)
        args = steps.evaluate_args(step, scope)
        if isinstance(args, steps.Failed):
            self.settle(step, args, now)
            return None
        if step.pure:
            self._evaluate(step, args, now)
            return None
        if run is None or run.state != "RUN":
            attempt = (run.attempts if run else 0) + 1
            started = m.LayerStarted(
                at=now, ref=step.ref, layer_id=step.layer.id, order=step.order, attempt=attempt
            )
            journal.record(started)
        return step, args

    def settle(self, step: Step, outcome: steps.Outcome, now: datetime) -> None:
        """Record how an attempt ended: done, skipped, waiting, to be tried again, or failed."""
        if isinstance(outcome, steps.Done):
            self._journal.weigh(outcome.bytes)
        event = steps.event_of(outcome, step, self._journal.play, now)
        if step.pure:
            self._journal.record(event)
        else:
            self._journal.record_outcome(event)

    def call(self, step: Step, now: datetime) -> Call:
        """Return where this attempt stands, as its module sees it."""
        play, flow = self._journal.play, self._plan.flow
        run = play.layers.get(step.ref)
        return Call(
            company_id=self._key.company_id,
            flow_id=self._key.flow_id,
            play_id=self._key.play_id,
            ref=step.ref,
            idempotency_key=f"{self._key.play_id}:{step.ref}",
            attempt=(run.attempts if run else 0) + 1,
            now=now,
            seed=steps.seed_of(play, step.ref),
            group_id=flow.group_id,
            kv_inherit=flow.kv_inherit != "false",
            kv_conflict=_KV_CONFLICTS.get(flow.kv_conflict, "child"),
        )

    def _passes_gates(self, step: Step, run: LayerRun | None, scope: Scope, now: datetime) -> bool:
        """Deferral, filters, approval, in this order (spec flow8 section 6); tell whether the step may run."""
        layer = step.layer
        if layer.defer_after_ms and not (run and run.deferred):
            until = now + timedelta(milliseconds=layer.defer_after_ms)
            self._journal.record(waiting(step, now, "defer", until=until))
            return False
        passes = steps.passes_filters(step, scope)
        if isinstance(passes, steps.Failed):
            self.settle(step, passes, now)
            return False
        if not passes:
            self._journal.record(skipped(step, now, state="FILTERED"))
            return False
        if layer.needs_approval:
            self._journal.record(waiting(step, now, "approval"))
            return False
        return True

    def _evaluate(self, step: Step, args: dict[str, Any], now: datetime) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        with trace.span(f"step {step.layer.app_id}", ref=step.ref):
            outcome = steps.evaluate(self._parts, step, args, self.call(step, now))
        took_s = clock.monotonic_s() - began
        metrics.STEP_SECONDS.observe((step.layer.app_id, type(outcome).__name__), took_s)
        self.settle(step, outcome, now if took_s < TURN_S else self._now())
