"""Taking one step as far as it goes without effects: its gates, its args, its pure module; and what an attempt left."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from libs.common import metrics, trace
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from libs.expressions import NeedsValue, Scope
from services.executor import steps
from services.executor.journal import Journal
from services.executor.masking import masked
from services.executor.modules.contract import Step as Call
from services.executor.parts import Parts
from services.executor.plan import Plan, Step
from services.executor.play import run_of
from services.executor.play_levels import LayerRun, collected_at
from services.executor.play_outcomes import failure, gated, skipped, started, waiting
from services.executor.readings import Need, Readings, conflict_of, inherits

# A pure step that took longer than this ended at a time of its own; shorter ones share the time of their turn.
TURN_S = 0.001
# A step that waits for one of these has not passed its filters yet.
_BEFORE_GATES = frozenset({"defer", "kv-filters"})


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
        self.readings = Readings(parts.services.kv, key, plan.flow)

    def begin(self, step: Step, now: datetime) -> tuple[Step, dict[str, Any]] | Need | None:
        """Take a step as far as it goes: return its args when only the effect is left, or what must be read first."""
        journal = self._journal
        run = run_of(journal.play, step.ref, step.iteration)
        if step.broken is not None:
            journal.record(failure(step, run, now, error=step.broken, code=step.broken_code))
            return None
        name = self.name(step)
        read = self.readings.of(name)
        if run is not None and run.read and not read.sealed:
            # An attempt of an earlier driver read it: this one has the same args.
            return Need("kv", sealed=run.read)
        began_at = (run and run.started_at) or now
        scope = steps.scope_of(journal.play, self._plan, self._key.play_id, step, began_at, kv=read.values)
        if run is None or run.state == "NEW" or run.waits_for in _BEFORE_GATES:
            passed = self._passes_gates(step, run, scope, now)
            if passed is not True:
                return passed
            run = run_of(journal.play, step.ref, step.iteration)
        args = steps.evaluate_args(step, scope)
        if isinstance(args, NeedsValue):
            return self._need(step, args, now, in_filters=False)
        if isinstance(args, steps.Failed):
            self.settle(step, args, now)
            return None
        if step.pure:
            self._evaluate(step, args, now)
            return None
        if run is None or run.state != "RUN":
            attempt = (run.attempts if run else 0) + 1
            unread = run is None or not run.read
            journal.record(started(step, now, attempt, read=read.sealed if unread else ()))
        return step, args

    def settle(self, step: Step, outcome: steps.Outcome, now: datetime) -> None:
        """Record how an attempt ended: done, skipped, waiting, to be tried again, or failed."""
        if isinstance(outcome, steps.Done | steps.Iterates):
            self._journal.weigh(outcome.bytes)
        name = self.name(step)
        read = self.readings.of(name)
        if isinstance(outcome, steps.Failed) and read.secrets:
            outcome = outcome._replace(error=masked(outcome.error, read.secrets))
        event = steps.event_of(outcome, step, self._journal.play, now)
        if isinstance(event, m.LayerRetrying):
            if step.pure and read.sealed:
                event = msgspec.structs.replace(event, read=read.sealed)
        elif not isinstance(outcome, steps.Unread):
            self.readings.forget(name)
        if step.pure:
            self._journal.record(event)
        else:
            self._journal.record_outcome(event)

    def call(self, step: Step, now: datetime) -> Call:
        """Return where this attempt stands, as its module sees it."""
        play, flow, sources = self._journal.play, self._plan.flow, step.place.sources
        run = run_of(play, step.ref, step.iteration)
        return Call(
            company_id=self._key.company_id,
            flow_id=self._key.flow_id,
            play_id=self._key.play_id,
            ref=step.ref,
            idempotency_key=self.name(step),
            attempt=(run.attempts if run else 0) + 1,
            retries=play.retries,
            now=now,
            depth=play.depth,
            group_id=flow.group_id,
            kv_inherit=inherits(flow),
            kv_conflict=conflict_of(flow),
            secrets=self.readings.of(self.name(step)).secrets,
            seed=steps.seed_of(play, step),
            collected=collected_at(play, step.iteration, sources) if sources else (),
        )

    def name(self, step: Step) -> str:
        """Return what a step is called in all its attempts, in a loop for one item: its idempotency key."""
        return f"{self._key.play_id}:{step.name}"

    def _need(self, step: Step, error: NeedsValue, now: datetime, *, in_filters: bool) -> Need | None:
        need = self.readings.need(self.name(step), step, error, in_filters=in_filters)
        if isinstance(need, Need):
            return need
        self.settle(step, need, now)
        return None

    def _passes_gates(
        self, step: Step, run: LayerRun | None, scope: Scope, now: datetime
    ) -> Literal[True] | Need | None:
        """Deferral, filters, approval, in this order (spec flow8 section 6): True when the step may run."""
        layer = step.layer
        if layer.defer_after_ms and not (run and run.deferred):
            until = now + timedelta(milliseconds=layer.defer_after_ms)
            self._journal.record(waiting(step, now, "defer", until=until))
            return None
        passes = steps.passes_filters(step, scope)
        if isinstance(passes, NeedsValue):
            return self._need(step, passes, now, in_filters=True)
        if isinstance(passes, steps.Failed):
            self.settle(step, passes, now)
            return None
        if not passes:
            self._journal.record(skipped(step, now, state="FILTERED"))
            self.readings.forget(self.name(step))
            return None
        if layer.needs_approval and not (run and run.approval):
            self._journal.record(gated(step, now))
            # What the args read, they read when the step is approved.
            self.readings.forget(self.name(step))
            return None
        return True

    def _evaluate(self, step: Step, args: dict[str, Any], now: datetime) -> None:
        clock = self._parts.clock
        began = clock.monotonic_s()
        with trace.span(f"step {step.layer.app_id}", ref=step.ref):
            outcome = steps.evaluate(self._parts, step, args, self.call(step, now))
        took_s = clock.monotonic_s() - began
        metrics.STEP_SECONDS.observe((step.layer.app_id, type(outcome).__name__), took_s)
        self.settle(step, outcome, now if took_s < TURN_S else self._now())
