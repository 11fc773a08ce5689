"""Taking one step as far as it goes without effects: its gates, its args, its pure module; and what an attempt left."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec.structs import replace

from libs.common import metrics, trace
from libs.common.messages import play as m
from libs.common.subjects import PlayKey
from libs.expressions import NeedsValue, Scope
from services.executor import steps
from services.executor.journal import Journal
from services.executor.masking import SHOWN_CODE, masked_error, masked_value, read_by, veiled
from services.executor.modules.contract import Step as Call
from services.executor.parts import Parts
from services.executor.plan import Plan, Step
from services.executor.play import run_of
from services.executor.play_levels import LayerRun, collected_at
from services.executor.play_outcomes import failure, gated, skipped, started, waiting
from services.executor.readings import Need, Reading, Readings, conflict_of, inherits

# A pure step that took longer than this ended at a time of its own; shorter ones share the time of their turn.
TURN_S = 0.001
# A step that waits for one of these has not passed its filters yet.
_BEFORE_GATES = frozenset({"defer", "kv-filters"})
_WITH_OUTPUT = (steps.Done, steps.Iterates)


SHOWN = (
    "{app_id}: arg {arg} reads a secret KV entry, which would stand in the play's history; read it in the step that "
    "uses it, compare it in a filter or a router, or let a called flow read it itself"
)


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
        self._traced = trace.enabled()
        self._drive_call: Call | None = None

    def begin(self, step: Step, now: datetime) -> tuple[Step, dict[str, Any]] | Need | None:
        """Take a step as far as it goes: return its args when only the effect is left, or what must be read first."""
        journal = self._journal
        run = run_of(journal.play, step.ref, step.iteration)
        if step.broken is not None:
            journal.record(failure(step, run, now, error=step.broken, code=step.broken_code))
            return None
        read = self.readings.of(step.name)
        if run is not None and run.read and not read.sealed:
            # An attempt of an earlier driver read it: this one has the same args.
            return Need("kv", sealed=run.read)
        began_at = (run and run.started_at) or now
        scope = steps.scope_of(journal.play, self._plan, self._key.play_id, step, began_at, kv=read.values)
        if step.gated and (run is None or run.state == "NEW" or run.waits_for in _BEFORE_GATES):
            passed = self._passes_gates(step, run, scope, now)
            if passed is not True:
                return passed
            run = run_of(journal.play, step.ref, step.iteration)
        args = steps.evaluate_args(step, scope)
        if not isinstance(args, dict):
            if isinstance(args, NeedsValue):
                return self._need(step, args, now, in_filters=False)
            self.settle(step, args, now)
            return None
        if read.secret_keys:
            refused = self._fenced(step, args, scope, read)
            if refused is not None:
                self.settle(step, refused, now)
                return None
        if step.pure:
            self._evaluate(step, self._call(step, run, read, now, scope.seed), args, now)
            return None
        if run is None or run.state != "RUN":
            attempt = (run.attempts if run else 0) + 1
            unread = run is None or not run.read
            journal.record(started(step, now, attempt, read=read.sealed if unread else ()))
        return step, args

    def settle(self, step: Step, outcome: steps.Outcome, now: datetime) -> None:
        """Record how an attempt ended: done, skipped, waiting, to be tried again, or failed."""
        size = outcome.bytes if isinstance(outcome, _WITH_OUTPUT) else 0
        event = self._event_of(step, outcome, now)
        if step.pure:
            self._journal.record(event, size)
        else:
            self._journal.record_outcome(event, size)

    def _event_of(self, step: Step, outcome: steps.Outcome, now: datetime) -> m.PlayEvent:
        """Return the event of an outcome; what the step has read is kept for its next attempt, or forgotten."""
        play = self._journal.play
        if not self.readings:
            return steps.event_of(outcome, step, play, now)
        read = self.readings.of(step.name)
        if read.secret_keys:
            outcome = _masked(outcome, read)
        event = steps.event_of(outcome, step, play, now)
        if isinstance(event, m.LayerRetrying):
            if step.pure and read.sealed:
                return replace(event, read=read.sealed)
        elif not isinstance(outcome, steps.Unread):
            self.readings.forget(step.name)
        return event

    def call(self, step: Step, now: datetime) -> Call:
        """Return where this attempt stands, as its module sees it."""
        play, read = self._journal.play, self.readings.of(step.name)
        return self._call(step, run_of(play, step.ref, step.iteration), read, now, steps.seed_of(play, step))

    def _call(self, step: Step, run: LayerRun | None, read: Reading, now: datetime, seed: str) -> Call:
        if self._drive_call is None:
            self._drive_call = self._call_of_drive(now)
        call = replace(
            self._drive_call,
            ref=step.ref,
            idempotency_key=f"{self._key.play_id}:{step.name}",
            attempt=run.attempts + 1 if run else 1,
            now=now,
            seed=seed,
        )
        if read.secret_keys:
            call = replace(call, secrets=read.secrets, secret_args=read.secret_args)
        sources = step.place.sources
        if sources:
            call = replace(call, collected=collected_at(self._journal.play, step.iteration, sources))
        return call

    def _call_of_drive(self, now: datetime) -> Call:
        # The same for all steps of a drive: a retry of the play has another driver.
        key, play, flow = self._key, self._journal.play, self._plan.flow
        return Call(
            company_id=key.company_id,
            flow_id=key.flow_id,
            play_id=key.play_id,
            ref="",
            idempotency_key="",
            attempt=1,
            now=now,
            started_by=play.by,
            group_id=flow.group_id,
            kv_inherit=inherits(flow),
            kv_conflict=conflict_of(flow),
            depth=play.depth,
            retries=play.retries,
        )

    def _fenced(self, step: Step, args: dict[str, Any], scope: Scope, read: Reading) -> steps.Failed | None:
        """Refuse args that read a secret and stand in the output; veil those that only people read (ADR 38)."""
        module, given = self._parts.registry.get(step.layer.app_id), step.layer.args
        if module is None:
            return None
        keys, raw = read.secret_keys, module.raw_args
        shown = read_by(module.shown(given), scope, keys, raw)
        if shown:
            return steps.Failed(SHOWN.format(app_id=module.app_id, arg=min(shown)), SHOWN_CODE, final=True)
        read.secret_args = frozenset(read_by(given, scope, keys, raw))
        for name in module.veiled_args & read.secret_args:
            args[name] = veiled(name, given[name], scope, keys)
        return None

    def _need(self, step: Step, error: NeedsValue, now: datetime, *, in_filters: bool) -> Need | None:
        need = self.readings.need(step.name, step, error, in_filters=in_filters)
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
            self.readings.forget(step.name)
            return None
        if layer.needs_approval and not (run and run.approval):
            self._journal.record(gated(step, now))
            # What the args read, they read when the step is approved.
            self.readings.forget(step.name)
            return None
        return True

    def _evaluate(self, step: Step, call: Call, args: dict[str, Any], now: datetime) -> None:
        clock, app_id = self._parts.clock, step.layer.app_id
        began = clock.monotonic_s()
        if self._traced:
            with trace.span(f"step {app_id}", ref=step.ref):
                outcome = steps.evaluate(self._parts, step, args, call)
        else:
            outcome = steps.evaluate(self._parts, step, args, call)
        took_s = clock.monotonic_s() - began
        metrics.STEP_SECONDS.observe((app_id, type(outcome).__name__), took_s)
        self.settle(step, outcome, now if took_s < TURN_S else self._now())


def _masked(outcome: steps.Outcome, read: Reading) -> steps.Outcome:
    """Return an outcome as it may be recorded of a step that read secrets."""
    match outcome:
        case steps.Failed(code=code):
            # The refusal is ours, and names what to do.
            ours = code == SHOWN_CODE
            return outcome if ours else replace(outcome, error=masked_error(outcome.error, read.secrets))
        case steps.Done() | steps.Waits():
            return replace(outcome, out=masked_value(outcome.out, read.secrets))
        case steps.Iterates():
            return replace(outcome, items=masked_value(outcome.items, read.secrets))
        case _:
            return outcome
